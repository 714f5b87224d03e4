"""Which accelerator this host has: asked by booting a kernel, for /dev/kvm may be there and useless.

Seen: a device that opens, makes a VM and then never runs it. The answer holds until the host boots
again.
"""

from __future__ import annotations

from pathlib import Path

from testbed.drivers import store
from testbed.drivers.cache import Folder
from testbed.drivers.process import run
from testbed.events import Events
from testbed.sut.qemu import BINARY, Accelerator, Boot, accelerator_arguments

_DEVICE = Path("/dev/kvm")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
# A processor boots the kernel in under a second; one that takes this long is no gain.
_PROBE_LIMIT_S = 8.0
_KILLED = (-9, 124, 137)  # by timeout(1), which shares its command's fate with --signal=KILL
_PROOF = "testbed: booted"


def choose_accelerator(cache: Path, boot: Boot, events: Events) -> Accelerator:
    """Return the accelerator to use, booting `boot` once to find out, and say which and why."""
    answers = cache / Folder.ACCELERATOR
    answer = answers / f"{_BOOT_ID.read_text().strip()}-{boot.kernel.parent.name}"
    with store.locked(answer, limit_s=2 * _PROBE_LIMIT_S):
        if not answer.is_file():
            with events.step("try the accelerator KVM"):
                reason = _why_not_kvm(boot)
            _remember(answer, reason)
    reason = answer.read_text()
    if reason:
        events.note("accelerator", f"TCG (emulation), because KVM does not work: {reason}")
        return Accelerator.TCG
    events.note("accelerator", "KVM")
    return Accelerator.KVM


def _why_not_kvm(boot: Boot) -> str:
    """Return why KVM cannot be used; nothing when it booted the kernel."""
    if not _DEVICE.exists():
        return f"{_DEVICE} is missing"
    # fmt: off
    argv = [
        # Not our own time limit, whose error would not tell a slow guest from a missing QEMU.
        "timeout", "--signal=KILL", str(_PROBE_LIMIT_S),
        BINARY, "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
        "-machine", "q35", *accelerator_arguments(Accelerator.KVM), "-m", "256M",
        "-kernel", str(boot.kernel), "-initrd", str(boot.initrd),
        "-append", "console=ttyS0 quiet panic=-1 testbed.probe",
        "-serial", "stdio",
    ]
    # fmt: on
    # With its tree: timeout(1) that is killed would leave QEMU behind.
    finished = run(argv, timeout_s=2 * _PROBE_LIMIT_S, check=False, whole_tree=True)
    if _PROOF in finished.stdout:
        return ""
    if finished.returncode in _KILLED:
        return f"a kernel does not boot with it within {_PROBE_LIMIT_S:g} s"
    said = finished.stderr.strip().splitlines()
    return said[-1] if said else "a kernel ends there before it is up"


def _remember(answer: Path, reason: str) -> None:
    partial = answer.with_suffix(".partial")
    partial.write_text(reason)
    partial.rename(answer)
