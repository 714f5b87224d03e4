"""A private host takes everything along when it ends, whatever its containers were doing."""

from __future__ import annotations

import re
import secrets
from pathlib import Path

import pytest

from scenarios.resilience.test_neighbours import client_image
from testbed.api import private_host


def outside(word: str) -> list[str]:
    """Return the control groups of the processes, as this host sees them, that are called `word`."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if (folder / "cmdline").read_bytes() == f"sleep\0{word}\0".encode():
                found.append((folder / "cgroup").read_text())
        except OSError:  # it has just ended
            continue
    return found


@pytest.mark.timeout(400)
def test_frozen_container_ends_with_its_host() -> None:
    """As runc leaves one when it is killed at its work, and `docker pause` for good."""
    word = str(10**9 + secrets.randbelow(10**9))
    with private_host() as host:
        host.start_foreign_dockerd()
        host.run(
            *("docker", "run", "--detach", "--name", "frozen", "--network", "none"),
            *("--entrypoint", "sleep", client_image(host), word),
        )
        host.run("docker", "pause", "frozen")
        (groups,) = outside(word)
    assert not outside(word)
    (name,) = set(re.findall(r"testbed-host-[\w-]+", groups))
    assert not list(Path("/sys/fs/cgroup").glob(f"**/{name}"))
