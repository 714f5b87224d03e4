"""The report in a real browser."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

import pytest

from testbed.drivers import process
from testbed.report.record import MatrixCell
from testbed.tests.report.test_render import record, report_of, run

__all__ = ["run"]

CHROMIUM = (
    *("chromium-headless-shell", "--no-sandbox", "--disable-gpu", "--disable-quic"),
    *("--no-first-run", "--disable-background-networking", "--disable-component-update"),
    *("--disable-sync", "--dump-dom"),
)
LONG = "scenarios/isolation/test_matrix.py::test_" + "very_long_name_" * 12 + "[proposal]"


def seen(page: Path, width: int, script: str) -> Any:
    """Return what `script` returns when the page is shown `width` pixels wide."""
    probe = f"<script>document.title = JSON.stringify((() => {{ {script} }})())</script>"
    looked = page.with_name(f"looked-{width}.html")
    looked.write_text(page.read_text().replace("</body>", f"{probe}</body>"))
    profile = page.with_name("profile")
    options = (f"--window-size={width},900", f"--user-data-dir={profile}")
    dom = process.run([*CHROMIUM, *options, looked.as_uri()], timeout_s=60).stdout
    title = re.search(r"<title>(.*?)</title>", dom)
    assert title
    return json.loads(html.unescape(title[1]))


@pytest.fixture
def page(run: Path) -> Path:
    one = record(LONG, "failed")
    one.failure, one.headline = "E " + "x" * 500, "assert " + "y" * 400
    one.artefacts, one.bundle = "folder", "b" * 120
    tenants = [f"customer-{n:04}" for n in range(32)]
    one.cells = [
        MatrixCell(a, b, "tcp", "inbound", int(a == b), ok=True) for a in tenants for b in tenants
    ]
    report_of(run, one, *(record(f"scenarios/test_x.py::test_{n}", "passed") for n in range(5)))
    return run / "index.html"


# Chromium's window is at least 500 wide.
@pytest.mark.parametrize("width", [1280, 500])
def test_page_is_no_wider_than_its_window(page: Path, width: int) -> None:
    script = "return [document.documentElement.scrollWidth, innerWidth]"
    needed, given = seen(page, width, script)
    assert needed <= given
    assert given == width


def test_filter_leaves_what_was_asked_for(page: Path) -> None:
    script = """
    const box = document.getElementById("filter");
    box.value = "TEST_3"; box.dispatchEvent(new Event("input"));
    return [...document.querySelectorAll("details.test")].filter(t => t.checkVisibility())
        .map(t => t.querySelector(".name").textContent);
    """
    assert seen(page, 1280, script) == ["scenarios/test_x.py::test_3"]


def test_every_text_of_the_picture_is_inside_it(page: Path) -> None:
    script = """
    const frame = document.querySelector("svg").getBoundingClientRect();
    return [...document.querySelectorAll("svg text")].filter(t => {
        const box = t.getBoundingClientRect();
        return box.right > frame.right + 1 || box.bottom > frame.bottom + 1;
    }).map(t => t.textContent);
    """
    assert seen(page, 1280, script) == []
