"""Saved machines: the SUT booted once, with the extensions loaded, and restored from then on.

A snapshot is three files: the guest's memory (mapped by every VM that is restored from it, which
copies only the pages it changes), its devices' state and its disk's changes since the image. It is
keyed by all that it depends on: image, extension code, QEMU, accelerator, machine, and the host's
processor, whose counter rate the guest measured when it booted.

There are two layers, so that new extension code costs no boot: the booted machine, and that machine
with the extensions loaded.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path

from testbed.deadline import Deadline
from testbed.drivers import store
from testbed.drivers.cache import Family
from testbed.drivers.process import run
from testbed.events import Events
from testbed.sut import qemu
from testbed.sut.channel import Channel
from testbed.sut.extension import Extension
from testbed.sut.image import KNOWN_AS, ImageFiles
from testbed.sut.machine import Machine
from testbed.sut.qemu import Hardware, Memory, Wiring
from testbed.sut.ssh_config import Account

# A gigabyte of address space each, of which about a quarter is on disk.
_KEPT = 6
_BUILD_LIMIT_S = 400.0
_BOOT_LIMIT_S = 180.0
_ANSWER_LIMIT_S = 30.0
_CPUINFO = Path("/proc/cpuinfo")

DATA_NIC = "eth0"
"""The data NIC's name in a snapshot."""
MAKING = "make the SUT's snapshot, or wait for who makes it"
"""The step that only an `up` has whose snapshot was not there."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The files of a saved machine; they are never written to."""

    directory: Path

    @property
    def memory(self) -> Path:
        """The guest's memory, as a sparse file."""
        return self.directory / "memory"

    @property
    def state(self) -> Path:
        """QEMU's migration stream of the devices."""
        return self.directory / "state"

    @property
    def disk(self) -> Path:
        """The disk's changes since the image, as qcow2."""
        return self.directory / "disk.qcow2"


@dataclass(frozen=True, slots=True)
class Workshop:
    """Where a snapshot is made: the deployment that happens to need it lends folder and address."""

    deployment: str
    folder: Path
    ssh_address: IPv4Address

    @property
    def owner(self) -> str:
        """The owner mark of the VM that is going to be saved."""
        return f"{self.deployment}/build"

    @property
    def channel(self) -> Channel:
        """The channel into that VM."""
        return Channel(self.folder, f"{self.deployment}/build-ssh")

    def machine(self, disk: Path) -> Machine:
        """Return the VM that is going to be saved; not started."""
        wiring = wiring_in(self.folder, self.deployment, disk, self.ssh_address)
        return Machine(self.owner, wiring, self.folder / "qemu.log")


def wiring_in(
    folder: Path, deployment: str, disk: Path, ssh_address: IPv4Address, *, tap: str = ""
) -> Wiring:
    """Return the host's ends of a VM whose sockets and console log are in `folder`."""
    return Wiring(
        name=f"testbed-{deployment}",
        disk=disk,
        control=folder / "qmp.sock",
        agent=folder / "agent.sock",
        console=folder / "console.log",
        ssh_address=ssh_address,
        tap=tap,
    )


def account(image: ImageFiles, ssh_address: IPv4Address) -> Account:
    """Return root's account in a VM of `image`."""
    return Account(
        address=str(ssh_address),
        port=22,
        user="root",
        key=image.client_key,
        known_hosts=image.known_hosts,
        key_alias=KNOWN_AS,
    )


@dataclass(frozen=True, slots=True)
class Snapshots:
    """The snapshots for one image and one kind of machine, in `cache`."""

    cache: Path
    image: ImageFiles
    hardware: Hardware

    @property
    def _machine_key(self) -> str:
        version = run([qemu.BINARY, "--version"]).stdout
        return machine_key(
            self.image.key, version, host_processor(_CPUINFO.read_text()), self.hardware
        )

    def key(self, extension: Extension) -> str:
        """Return what tells the snapshot with `extension` from any other."""
        return store.key_of([self._machine_key, extension.key])

    def obtain(self, extension: Extension, workshop: Workshop, events: Events) -> Snapshot:
        """Return the machine with the extensions loaded, making it first when it is not there."""
        layers = self.cache / Family.SNAPSHOT
        booted = layers / self._machine_key
        loaded = layers / self.key(extension)

        def load(directory: Path) -> None:
            built = extension.build(events)
            base = store.obtain(
                booted, partial(self._boot, workshop, events), limit_s=_BUILD_LIMIT_S
            )
            with events.step("load the FIB extensions and save the SUT"):
                self._load(Snapshot(base), extension, built, workshop, Snapshot(directory))

        if not loaded.is_dir():
            store.prune(layers, keep=_KEPT - 2)
            with events.step(MAKING):
                store.obtain(loaded, load, limit_s=_BUILD_LIMIT_S)
        return Snapshot(store.obtain(loaded, load, limit_s=_BUILD_LIMIT_S))

    def _boot(self, workshop: Workshop, events: Events, directory: Path) -> None:
        snapshot = Snapshot(directory)
        create_overlay(self.image.disk, "raw", snapshot.disk)
        with events.step("boot the SUT for the first time"):
            self._make(workshop, snapshot, None, lambda channel: channel.run(["sync"]))

    def _load(
        self,
        base: Snapshot,
        extension: Extension,
        built: Path,
        workshop: Workshop,
        snapshot: Snapshot,
    ) -> None:
        # Copies, so that the base may be removed; both are small where they are not holes.
        copy = ["cp", "--sparse=always", "--reflink=auto"]
        run([*copy, str(base.memory), str(base.disk), str(snapshot.directory)])

        def install(channel: Channel) -> None:
            extension.install(channel, built)
            extension.load(channel, DATA_NIC)
            channel.run(["sync"])

        self._make(workshop, snapshot, base.state, install)

    def _make(
        self,
        workshop: Workshop,
        snapshot: Snapshot,
        saved: Path | None,
        prepare: Callable[[Channel], object],
    ) -> None:
        """Start a VM, from its kernel or from the `saved` state, prepare it and save it."""
        workshop.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        machine, channel = workshop.machine(snapshot.disk), workshop.channel
        channel.close()
        machine.quit()  # one that a kill left behind holds the address
        argv = qemu.command(
            self.hardware,
            self.image.boot,
            Memory(snapshot.memory, is_shared=True),
            machine.wiring,
            is_restored=saved is not None,
        )
        try:
            machine.launch(argv)
            with machine.agent() as agent:
                if saved is not None:
                    machine.load(saved)
                machine.resume()
                if saved is None:
                    agent.await_start(Deadline.after(_BOOT_LIMIT_S))
                agent.set_clock(Deadline.after(_ANSWER_LIMIT_S))
                channel.configure(account(self.image, workshop.ssh_address))
                channel.open(limit_s=_BOOT_LIMIT_S)
                prepare(channel)
                channel.close()
                # QEMU's network forgets connections through a restore, the guest would not.
                agent.await_logouts(Deadline.after(_ANSWER_LIMIT_S))
            machine.save(snapshot.state)
        finally:
            channel.close()
            machine.quit()


def machine_key(image_key: str, qemu_version: str, processor: str, hardware: Hardware) -> str:
    """Return what tells a booted machine from any other."""
    arguments = [*qemu.machine_arguments(hardware), *qemu.device_arguments()]
    return store.key_of([image_key, qemu_version, processor, DATA_NIC, *arguments])


def create_overlay(base: Path, base_format: str, overlay: Path) -> None:
    """Create the qcow2 file `overlay`, empty, on top of `base`.

    It refers to its base by a relative path, so that a cache may be moved as a whole.
    """
    relative = os.path.relpath(base, overlay.parent)
    # fmt: off
    run([
        "qemu-img", "create", "-q", "-f", "qcow2",
        "-F", base_format, "-b", relative, str(overlay),
    ])
    # fmt: on


def host_processor(cpuinfo: str) -> str:
    r"""Return model and counter rate of the host's processor from the text of /proc/cpuinfo.

    The kernel's BogoMIPS are twice the rate of the time stamp counter in MHz. Rounded, because the
    kernel measures it at each boot; 1 in 5,000 is less than a second an hour.

    >>> host_processor("model name\t: Some CPU\nbogomips\t: 5192.27\n")
    'Some CPU, 5192'
    """
    found: dict[str, str] = {}
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        found.setdefault(name.strip(), value.strip())
    model, rate = found.get("model name", ""), found.get("bogomips", "0")
    return f"{model}, {round(float(rate))}"
