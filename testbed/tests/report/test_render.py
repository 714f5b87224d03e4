from __future__ import annotations

import json
import re
from dataclasses import asdict
from html.parser import HTMLParser
from pathlib import Path

import pytest

from testbed.report.picture import view_of
from testbed.report.record import (
    Lease,
    MatrixCell,
    Moment,
    Packet,
    Phase,
    TestRecord,
    append,
    read,
)
from testbed.report.render import RECORDS, render
from testbed.tests.plan.topologies import plan_of

EVIL = "<script>alert('x')</script>"


def record(nodeid: str, outcome: str, *, start_s: float = 1000.0) -> TestRecord:
    return TestRecord(
        nodeid=nodeid,
        worker="gw0",
        phases=[
            Phase("setup", start_s, 0.5, "passed"),
            Phase("call", start_s + 0.5, 1.0, outcome),
            Phase("teardown", start_s + 1.5, 0.1, "passed"),
        ],
        lease=Lease("aaaaaa", "proposal", ["alpha"], False, start_s, start_s + 0.25),  # noqa: FBT003
        moments=[Moment(start_s + 0.6, 0.1, "question", f"ping {EVIL}", agrees=False)],
        packets=[Packet(start_s + 0.7, "alpha", "SUT", f"IP {EVIL}", 60)],
    )


class Audit(HTMLParser):
    """Finds tags that are not closed, and whatever a browser would fetch."""

    VOID = frozenset({"meta", "input", "rect", "path", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []
        self.scripts = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        names = dict(attrs)
        if tag in {"link", "img", "iframe"} or "src" in names:
            self.fetched.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "20260101-000000-abcd"
    (folder / RECORDS).mkdir(parents=True)
    view = view_of(plan_of("tenants: {many: {count: 30}, one: {servers: 5}}"))
    (folder / RECORDS / "aaaaaa.topology.json").write_text(json.dumps(asdict(view)))
    return folder


def report_of(run: Path, *records: TestRecord) -> str:
    for one in records:
        append(run / RECORDS / "gw0.jsonl", one)
    path = render(run, seed=7)
    assert path.stat().st_mode & 0o077 == 0
    text = path.read_text()
    audit = Audit()
    audit.feed(text)
    assert audit.open == []
    assert audit.fetched == []
    assert audit.scripts == 1
    assert not re.search(r"url\(|@import|https?://", text)
    return text


def test_failure_stands_first_with_everything_escaped(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(run.parent)  # where pytest was started
    failed = record("scenarios/test_x.py::test_bad", "failed", start_s=1010)
    failed.failure, failed.headline = f"E {EVIL}", f"headline {EVIL}"
    failed.artefacts, failed.bundle = "test_bad-123456", "test_bad.testbed.tar.gz"
    text = report_of(run, record("scenarios/test_x.py::test_good", "passed"), failed)
    assert "1 of 2 scenarios failed" in text
    assert EVIL not in text
    bundle = f"{run.name}/test_bad-123456/test_bad.testbed.tar.gz"
    assert f"testbed replay {bundle}" in text
    assert text.index("test_bad") < text.index("test_good")
    assert "--seed 7" in text
    assert "18 more" not in text  # of 31 tenants, 12 are drawn
    assert "19 more tenants" in text


def test_matrix_shows_leaks_and_lack_of_proof(run: Path) -> None:
    one = record("scenarios/test_x.py::test_matrix", "passed")
    one.cells = [
        MatrixCell("a", "a", "tcp", "inbound", 4, ok=True),
        MatrixCell("a", "b", "tcp", "inbound", 2, ok=False),
        MatrixCell("b", "b", "tcp", "inbound", 0, ok=False),
        MatrixCell("b", "a", "tcp", "inbound", 0, ok=True),
    ]
    text = report_of(run, one)
    squares = re.findall(r'class="sq (\w+)" title="[^"]*">(\d+|·)<', text)
    assert squares == [("own", "4"), ("leak", "2"), ("silent", "·"), ("lacks", "·")]
    (heading,) = re.findall(r"<h3>(inbound tcp.*?)</h3>", text)
    assert "proposal" in heading, "tenants of another topology may be called alike"


def test_run_without_any_whole_record_has_a_report(run: Path) -> None:
    (run / RECORDS / "gw1.jsonl").write_text('{"nodeid": "killed ha')
    assert "All 0 scenarios as expected" in report_of(run)


def test_records_are_read_as_written(tmp_path: Path) -> None:
    one = record("scenarios/test_x.py::test_x", "xfailed")
    append(tmp_path / "a", one)
    append(tmp_path / "a", one)
    assert list(read([tmp_path / "a"])) == [one, one]
    assert one.outcome == "xfailed"
    assert one.lease is not None
    assert one.lease.waited_s == 0.25


def test_a_phases_error_outweighs_success() -> None:
    one = record("scenarios/test_x.py::test_x", "passed")
    one.phases[2].outcome = "error"
    assert one.outcome == "error"
    assert TestRecord("x", "gw0").outcome == "unfinished"
