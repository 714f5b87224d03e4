"""Commands of the README, the guides and the other pages that need a deployment work as shown, one block after another.

The blocks are those that are fenced as `sh deployment`; testbed/tests/docs runs the others.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from testbed.api import Running

ROOT = Path(__file__).parents[2]
SHOWN = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
BLOCK = re.compile(r"^```sh deployment\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = [
    pytest.param(text, id=f"{path.stem}-{number}")
    for path in SHOWN
    for number, text in enumerate(BLOCK.findall(path.read_text(encoding="utf-8")))
]
SAID = {
    "greeter.py": (
        "FIB 1: app.corp.test is 192.168.0.101",
        "FIB 2: app.corp.test is 192.168.0.102",
    ),
    "login ann": (
        '"verdict": "accepted"',
        '"tenant": "alpha"',
    ),
    "inspect alpha": ("base DN", "dc=alpha,dc=test"),
    "tcpdump -nr alpha.pcap": ("192.168.0.1 > 10.64.0.1: ICMP echo request",),
}


@pytest.mark.exclusive
@pytest.mark.topology("proposal")
@pytest.mark.parametrize("text", BLOCKS)
def test_command_works_as_shown(text: str, deployment: Running, tmp_path: Path) -> None:
    for entry in ROOT.iterdir():
        (tmp_path / entry.name).symlink_to(entry)
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "TESTBED_DEPLOYMENT": deployment.plan.deployment,
    }
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text],
        cwd=tmp_path,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    told = done.stdout + done.stderr
    assert done.returncode == 0, told
    for command, words in SAID.items():
        if command in text:
            for word in words:
                assert word in told
