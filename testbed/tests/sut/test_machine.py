from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path

import pytest

from testbed.sut.machine import Machine
from testbed.sut.snapshot import wiring_in

BOOT = [f"[0.{n}] booting {n}" for n in range(9)]
PANIC = ["[9.1] Kernel panic - not syncing: crash", "[9.2] CPU: 0", "[9.3] Call Trace:"]
REGISTERS = [f"[9.{n}] R{n}: 0" for n in range(4, 19)]


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ([], []),
        (BOOT[:2], BOOT[:2]),
        (BOOT, BOOT[-5:]),
        ([*BOOT, *PANIC, *REGISTERS], [*PANIC, *REGISTERS[:2]]),
    ],
)
def test_end_of_the_console_tells_why_a_kernel_died(
    tmp_path: Path, said: list[str], shown: list[str]
) -> None:
    wiring = wiring_in(tmp_path, "abcdef", tmp_path / "disk", IPv4Address("127.0.0.2"))
    wiring.console.write_text("".join(f"{line}\r\n" for line in said))
    assert list(Machine("abcdef/qemu", wiring, tmp_path / "log").console_tail()) == shown
