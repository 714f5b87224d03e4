"""Our own SUT: a Linux VM that is restored from a snapshot, and thrown away when stopped."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from testbed.deadline import Deadline
from testbed.drivers.process import Finished
from testbed.errors import ResourceError, TestbedError
from testbed.events import Events
from testbed.plan.resources import Plan, VmPlan
from testbed.sut import capabilities, qemu
from testbed.sut.accelerator import choose_accelerator
from testbed.sut.agent import MARK, Nic
from testbed.sut.channel import Channel
from testbed.sut.extension import Extension
from testbed.sut.image import ImageFiles, build_image
from testbed.sut.machine import IO_ERROR, RUNNING, Machine
from testbed.sut.protocol import Capability, Health
from testbed.sut.qemu import Accelerator, Hardware, Memory
from testbed.sut.snapshot import (
    Snapshot,
    Snapshots,
    Workshop,
    account,
    create_overlay,
    wiring_in,
)

_AGENT_LIMIT_S = 30.0
# With the 10 s that QEMU has: who asks the SUT knows within 30 s that it hangs.
_GUEST_LIMIT_S = 20.0
_FACTS = ("/proc/sys/kernel/osrelease", "/proc/uptime")


@dataclass(frozen=True, slots=True)
class LinuxVm:
    """The VM of `plan`; its own files are in `state`, what all deployments share in `cache`.

    `extension` is testbed/fib unless given.
    """

    plan: Plan
    state: Path
    cache: Path
    extension_source: Path | None = None

    @property
    def _vm(self) -> VmPlan:
        if not isinstance(self.plan.sut.machine, VmPlan):
            raise TypeError("the plan's SUT is a machine of the user's, not a VM of ours")
        return self.plan.sut.machine

    @property
    def channel(self) -> Channel:
        """Commands and files, over the management NIC."""
        return Channel(self.state, f"{self.plan.deployment}/ssh")

    @property
    def ssh_config(self) -> Path:
        """For people and testinfra: `ssh -F FILE sut`."""
        return self.channel.config

    @property
    def _machine(self) -> Machine:
        disk, vm = self.state / "disk.qcow2", self._vm
        wiring = wiring_in(self.state, self.plan.deployment, disk, vm.ssh_address, tap=vm.tap)
        return Machine(f"{self.plan.deployment}/qemu", wiring, self.state / "qemu.log")

    @property
    def _workshop(self) -> Workshop:
        return Workshop(self.plan.deployment, self.state / "build", self._vm.ssh_address)

    @property
    def _extension(self) -> Extension:
        source = self.extension_source or Path(str(files("testbed") / "fib"))
        return Extension(source, self.cache)

    def start(self, events: Events) -> None:
        """Make the VM run and be healthy. One that is, and of today's code, is left alone.

        Raises:
            TestbedError: when something on the way fails; the next call starts afresh.
        """
        image = build_image(self.cache, events)
        accelerator = (
            Accelerator.COUNTED
            if self._vm.counts_instructions
            else choose_accelerator(self.cache, image.boot, events)
        )
        hardware = Hardware(accelerator, self._vm.memory_mib, self._vm.cpus)
        snapshots = Snapshots(self.cache, image, hardware)
        extension = self._extension
        mark = {
            "deployment": self.plan.deployment,
            "snapshot": snapshots.key(extension),
            "accelerator": accelerator.value,
        }
        health, found = self._examine()
        if health.ok and found == mark:
            events.note("SUT runs", health.detail)
            return
        if self.is_running() and not health.ok:
            events.note("the SUT is replaced", health.detail)
        self.stop()
        snapshot = snapshots.obtain(extension, self._workshop, events)
        with events.step("restore the SUT"):
            self._restore(image, hardware, snapshot, mark)
            health = self.health()
            if not health.ok:
                raise ResourceError(f"the restored SUT is not healthy: {health.detail}")
        events.note("SUT runs", health.detail)

    def _restore(
        self, image: ImageFiles, hardware: Hardware, snapshot: Snapshot, mark: dict[str, str]
    ) -> None:
        machine = self._machine
        machine.wiring.disk.unlink(missing_ok=True)
        create_overlay(snapshot.disk, "qcow2", machine.wiring.disk)
        memory = Memory(snapshot.memory, is_shared=False)
        machine.launch(qemu.command(hardware, image.boot, memory, machine.wiring, is_restored=True))
        machine.load(snapshot.state)
        with machine.agent() as agent:
            machine.resume()
            deadline = Deadline.after(_AGENT_LIMIT_S)
            agent.set_clock(deadline)
            agent.set_up(Nic(self.plan.sut.interface, self._vm.mac), mark, deadline)
        self.channel.configure(account(image, self._vm.ssh_address))
        self.channel.open()

    def stop(self) -> None:
        """End the VM, and one that was being saved. Its disk and memory are thrown away."""
        self.channel.close()
        self._machine.quit()
        workshop = self._workshop
        workshop.channel.close()
        workshop.machine(Path()).quit()
        self._machine.wiring.disk.unlink(missing_ok=True)

    def is_running(self) -> bool:
        """Whether QEMU is there."""
        return bool(self._machine.pids)

    def health(self) -> Health:
        """Ask QEMU and, through ssh, the guest."""
        return self._examine()[0]

    def require_answer(self) -> None:
        """Ask QEMU and, through ssh, the guest for no more than an answer.

        Raises:
            ResourceError: when there is none, with the end of the guest's console.
        """
        self._ask(["true"])

    def _ask(self, argv: Sequence[str]) -> Finished:
        """Return what `argv` told in the guest.

        Raises:
            ResourceError: when it cannot be run there.
        """
        try:
            if not self.is_running():
                raise ResourceError("not running")
            self._require_processors()
            return self.channel.run(argv, check=False, timeout_s=_GUEST_LIMIT_S)
        except TestbedError as error:
            said = self._machine.console_tail()
            lines = ["; its console ended with", *said] if said else [""]
            raise ResourceError(error.message + "\n    ".join(lines)) from error

    def _require_processors(self) -> None:
        state = self._machine.run_state()
        if state == IO_ERROR:
            disk = self._machine.wiring.disk
            free_mib = shutil.disk_usage(disk.parent).free >> 20
            raise ResourceError(f"QEMU cannot write {disk}: {free_mib} MiB are free there")
        if state != RUNNING:
            raise ResourceError(f"QEMU has stopped its processors ({state})")

    def _examine(self) -> tuple[Health, Mapping[str, str]]:
        """Return the health and the mark that the last step of a start leaves in the guest."""
        try:
            finished = self._ask(["cat", *_FACTS, MARK])
        except ResourceError as error:
            return Health(ok=False, detail=error.message), {}
        kernel, uptime, *rest = [*finished.stdout.splitlines(), "", ""]
        if not uptime:
            return Health(ok=False, detail=f"cannot run a command: {finished.stderr.strip()}"), {}
        mark: dict[str, str] = json.loads(rest[0] or "{}")
        if mark.get("deployment") != self.plan.deployment:
            return Health(ok=False, detail="started, and never finished", kernel=kernel), mark
        accelerator = mark["accelerator"]
        up_s = float(uptime.split(maxsplit=1)[0])
        detail = f"Linux {kernel} under {accelerator.upper()}, up {up_s:.0f} s"
        return Health(ok=True, detail=detail, accel=accelerator, kernel=kernel), mark

    def capabilities(self) -> tuple[Capability, ...]:
        """Ask the guest, as any other machine is asked."""
        return capabilities.ask(self.channel, self.plan.sut.interface)

    def apply(self, fib_state_json: str) -> None:
        """Give the guest the state of all FIBs.

        Raises:
            GuestError: with what fibctl found wrong.
        """
        self._extension.apply(self.channel, fib_state_json)

    def set_clock(self) -> None:
        """Set the guest's clock to ours.

        Raises:
            GuestError: when the clocks stay apart.
        """
        with self._machine.agent() as agent:
            agent.set_clock(Deadline.after(_AGENT_LIMIT_S))
