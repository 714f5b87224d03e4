from __future__ import annotations

import struct
from pathlib import Path

import pytest

from testbed.probe.capture import Frame
from testbed.probe.recorder import Step, filter_of, save
from testbed.probe.scapy_loading import load_scapy
from testbed.tests.plan.topologies import plan_of

PLAN = plan_of("tenants: {alpha: {}, bravo: {servers: 2}, charlie: {}}")
SUT = PLAN.sut.machine.mac


def accepts(steps: list[Step], frame: bytes) -> bool:
    """Run a program as the kernel does: loads beyond the end leave the frame."""
    at = value = 0
    while True:
        code, if_true, if_false, operand = steps[at]
        size = {0x20: 4, 0x28: 2, 0x30: 1}.get(code)
        if size:
            if operand + size > len(frame):
                return False
            value = int.from_bytes(frame[operand : operand + size])
        elif code in {0x15, 0x45}:
            holds = value == operand if code == 0x15 else bool(value & operand)
            at += if_true if holds else if_false
        else:
            assert code == 0x06
            return operand != 0
        at += 1


def frame(source_mac: str, destination_mac: str, source: str = "", destination: str = "") -> bytes:
    load_scapy()
    from scapy.layers.inet import IP, UDP  # noqa: PLC0415 - scapy takes a second to load
    from scapy.layers.inet6 import IPv6  # noqa: PLC0415
    from scapy.layers.l2 import Ether  # noqa: PLC0415

    ethernet = Ether(src=source_mac, dst=destination_mac)
    if not source:
        return bytes(ethernet / (b"x" * 60))
    layer = IPv6 if ":" in source else IP
    return bytes(ethernet / layer(src=source, dst=destination) / UDP() / b"hello")


def router(name: str) -> str:
    return PLAN.tenant(name).router.uplink.mac


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (frame(router("bravo"), SUT, "192.168.0.1", "10.64.0.9"), True),
        (frame(SUT, router("bravo"), "10.64.0.10", "192.168.0.1"), True),
        (frame(router("alpha"), SUT, "192.168.0.1", "10.64.0.1"), False),
        (frame(SUT, router("charlie"), "10.64.0.17", "192.168.0.1"), False),
        # A leak: what is bravo's, at another's router.
        (frame(SUT, router("alpha"), "10.64.0.9", "192.168.0.1"), True),
        (frame(router("alpha"), SUT, "192.168.0.1", "10.64.0.10"), True),
        (frame(SUT, router("alpha"), "fd00:64:0:2::2", "fd00:c0a8::1"), True),
        (frame(SUT, router("alpha"), "fd00:64:0:1::1", "fd00:c0a8::1"), False),
        (frame(router("alpha"), "ff:ff:ff:ff:ff:ff"), True),
        (b"\x02short", False),
    ],
)
def test_filter_takes_the_tenants_frames_and_its_leaks(seen: bytes, expected: bool) -> None:  # noqa: FBT001 - a case's result
    assert accepts(filter_of([PLAN.tenant("bravo")]), seen) is expected


def test_filter_of_many_tenants_jumps_no_further_than_the_kernel_can() -> None:
    plan = plan_of("tenants: {many: {count: 32}}")
    steps = filter_of(plan.tenants)
    assert len(steps) <= 4096
    assert all(0 <= jump < 256 for step in steps for jump in step[1:3])
    address = str(plan.tenants[-1].server_addresses[0].ip)
    assert accepts(steps, frame(SUT, "02:fb:00:00:00:77", address, "192.168.0.1"))


def test_saved_file_is_private_and_read_by_others(tmp_path: Path) -> None:
    from scapy.utils import rdpcap  # noqa: PLC0415 - scapy takes a second to load

    path = tmp_path / "wire.pcap"
    raw = frame(router("bravo"), SUT, "192.168.0.1", "10.64.0.9")
    save([Frame(1700000000.25, raw)], path)
    assert path.stat().st_mode & 0o077 == 0
    assert struct.unpack("=I", path.read_bytes()[:4]) == (0xA1B23C4D,)
    (packet,) = rdpcap(str(path))
    assert bytes(packet) == raw
    assert float(packet.time) == pytest.approx(1700000000.25, abs=1e-6)
