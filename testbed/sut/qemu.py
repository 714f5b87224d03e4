"""QEMU's command line for the SUT, as a pure function of what it is to be.

A snapshot can be restored only by the same machine: whatever changes the guest's view is in
`machine_arguments`, whose output is part of the snapshot's key. What a deployment chooses for itself
(tap, ssh address, files) is outside the guest's view.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

BINARY = "qemu-system-x86_64"

# RFC 2544 benchmarking addresses: no tenant or site is expected to use them.
MANAGEMENT = IPv4Interface("198.19.255.15/24")
_MANAGEMENT_MAC = "52:54:00:f1:b0:01"
# Part of the saved machine; each deployment's own MAC is set inside the guest.
_DATA_MAC = "52:54:00:f1:b0:02"
_SSH_PORT = 22

# Frames on the tap are as they would be on a wire: no frame above the MTU, no checksum left to
# whoever comes next. Captures, PMTU scenarios and userspace forwarders depend on it, and a machine
# saved without a tap can be restored with one.
_OFFLOADS = (
    *("csum", "guest_csum", "gso"),
    *("guest_tso4", "guest_tso6", "guest_ecn", "guest_ufo"),
    *("host_tso4", "host_tso6", "host_ecn", "host_ufo"),
    "guest_announce",  # after a restore no frame of the saved MAC may appear on the tap
)


class Accelerator(StrEnum):
    """Who runs the guest's instructions: the processor, or QEMU's translator.

    With `COUNTED` the translator counts them, and the guest's time goes by that, 4 ns each (about its
    usual pace): how long something takes then depends on the work alone, not on the host.
    """

    KVM = "kvm"
    TCG = "tcg"
    COUNTED = "tcg, counted"


@dataclass(frozen=True, slots=True)
class Hardware:
    """What the guest sees of the machine's size and processor."""

    accelerator: Accelerator
    memory_mib: int
    cpus: int


@dataclass(frozen=True, slots=True)
class Boot:
    """What firmware loads: kept through a restore, when nothing is loaded any more."""

    kernel: Path
    initrd: Path


@dataclass(frozen=True, slots=True)
class Memory:
    """The file behind the guest's memory.

    Shared: what the guest writes ends up in the file, which is how a snapshot is made. Not shared:
    the file stays as it is and is read page by page when the guest first touches it, which makes a
    restore quick, and one copy of it serves all VMs restored from it.
    """

    file: Path
    is_shared: bool


@dataclass(frozen=True, slots=True)
class Wiring:
    """Where the host's ends are. Without a tap the data NIC has a carrier and no wire."""

    name: str
    disk: Path
    control: Path
    agent: Path
    console: Path
    ssh_address: IPv4Address
    tap: str = ""


def kernel_command_line() -> str:
    """Return the kernel's command line.

    The time stamp counter is trusted: emulated or not it runs with the host's, and under load the
    kernel's watchdog would mistake a late timer for a bad counter. What defends a processor against
    its guests' neighbours only slows an emulated one down.
    """
    return " ".join(
        (
            "console=ttyS0 quiet panic=-1 net.ifnames=0",
            "tsc=reliable clocksource=tsc mitigations=off",
            f"testbed.mac={_MANAGEMENT_MAC} testbed.address={MANAGEMENT.with_prefixlen}",
        )
    )


def accelerator_arguments(accelerator: Accelerator) -> list[str]:
    """Return the options that choose the accelerator and the processor to go with it."""
    if accelerator is Accelerator.KVM:
        return ["-accel", "kvm", "-cpu", "host"]
    # Translated code would get a gigabyte, where a kernel and its daemons fill a tenth. Five-level
    # page tables would add a step to each emulated page walk; with ERMS the kernel clears and copies memory
    # byte by byte, each an emulated step (a page is cleared in half the time without).
    processor = ["-cpu", "max,la57=off,erms=off"]
    if accelerator is Accelerator.COUNTED:
        return ["-accel", "tcg,thread=single,tb-size=256", "-icount", "shift=2", *processor]
    return ["-accel", "tcg,thread=multi,tb-size=256", *processor]


def machine_arguments(hardware: Hardware) -> list[str]:
    """Return the options that make the machine as the guest sees it, devices excepted."""
    # fmt: off
    return [
        "-nodefaults", "-no-user-config", "-no-reboot",
        "-display", "none",
        "-machine", "q35,memory-backend=ram,vmport=off",
        *accelerator_arguments(hardware.accelerator),
        "-smp", str(hardware.cpus),
        "-m", f"{hardware.memory_mib}M",
        # The clock chip tells the host's time even after a restore.
        "-rtc", "base=utc,clock=host",
        "-append", kernel_command_line(),
    ]
    # fmt: on


def device_arguments() -> list[str]:
    """Return the options for the devices; their host's ends are named by `wiring_arguments`."""
    offloads = ",".join(f"{offload}=off" for offload in _OFFLOADS)
    nic = "disable-legacy=on,romfile="
    # fmt: off
    return [
        "-device", "virtio-blk-pci,drive=disk,disable-legacy=on",
        "-object", "rng-random,id=random,filename=/dev/urandom",
        "-device", "virtio-rng-pci,rng=random,disable-legacy=on",
        "-device", f"virtio-net-pci,netdev=management,mac={_MANAGEMENT_MAC},{nic}",
        # The longest queue there is: bursts of thousands of tenants arrive on it.
        "-device", f"virtio-net-pci,netdev=data,mac={_DATA_MAC},{nic},rx_queue_size=1024,{offloads}",
        "-serial", "chardev:console",
        "-serial", "chardev:agent",
        "-qmp", "chardev:control",
    ]
    # fmt: on


def wiring_arguments(wiring: Wiring) -> list[str]:
    """Return the options for the host's ends of the devices."""
    forward = f"tcp:{wiring.ssh_address}:{_SSH_PORT}-{MANAGEMENT.ip}:{_SSH_PORT}"
    user = f"user,id=management,net={MANAGEMENT.network},ipv6=off,restrict=on,hostfwd={forward}"
    data = "hubport,id=data,hubid=0"
    if wiring.tap:
        data = f"tap,id=data,ifname={wiring.tap},script=no,downscript=no,vhost=off,vnet_hdr=off"
    disk = "if=none,id=disk,format=qcow2,cache=unsafe,discard=unmap"
    # fmt: off
    return [
        "-name", wiring.name,
        "-drive", f"{disk},file={_escaped(wiring.disk)}",
        "-netdev", user,
        "-netdev", data,
        "-chardev", f"file,id=console,append=on,path={_escaped(wiring.console)}",
        "-chardev", f"socket,id=agent,server=on,wait=off,path={_escaped(wiring.agent)}",
        "-chardev", f"socket,id=control,server=on,wait=off,path={_escaped(wiring.control)}",
    ]
    # fmt: on


def command(
    hardware: Hardware, boot: Boot, memory: Memory, wiring: Wiring, *, is_restored: bool
) -> list[str]:
    """Return QEMU's argument list for a VM that waits: for `cont`, or for its saved state."""
    sharing = "on" if memory.is_shared else "off"
    backend = f"memory-backend-file,id=ram,size={hardware.memory_mib}M,share={sharing}"
    # fmt: off
    argv = [
        BINARY,
        *machine_arguments(hardware),
        *device_arguments(),
        *wiring_arguments(wiring),
        "-object", f"{backend},mem-path={_escaped(memory.file)}",
        "-kernel", str(boot.kernel),
        "-initrd", str(boot.initrd),
        "-S",
    ]
    # fmt: on
    return [*argv, "-incoming", "defer"] if is_restored else argv


def _escaped(path: Path) -> str:
    """Double the commas: QEMU takes a single one for the end of the value."""
    return str(path).replace(",", ",,")
