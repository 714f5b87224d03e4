"""One QEMU process: starting it, from its kernel or from a saved state, saving and ending it.

What it runs is decided elsewhere (`qemu` for the command line, `snapshot` for what is saved). It is
started with its processors stopped, so that nothing is missed: they run once its control socket and
its agent are connected.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from testbed.deadline import Deadline, NotYet, wait_for
from testbed.drivers import process
from testbed.errors import ResourceError, WaitTimeoutError
from testbed.sut.agent import Agent
from testbed.sut.procfs import has_ended
from testbed.sut.qemu import Wiring
from testbed.sut.qmp import ANSWER_LIMIT_S, Qmp

_START_LIMIT_S = 20.0
_STATE_LIMIT_S = 60.0
_QUIT_LIMIT_S = 2.0
_LOG_TAIL = 2000
_CONSOLE_TAIL = 5
RUNNING, IO_ERROR = "running", "io-error"
"""Run states: all is well; the file of the guest's disk could not be written."""

# Guest memory is in a file that both sides map: only the devices' state goes through the stream.
_CAPABILITIES = [{"capability": "x-ignore-shared", "state": True}]
# After a restore QEMU would announce the NICs' saved MACs on the tap.
_PARAMETERS: Mapping[str, object] = {"announce-rounds": 0}


@dataclass(frozen=True, slots=True)
class Machine:
    """The QEMU process with owner mark `owner`, whose sockets and logs are `wiring`'s."""

    owner: str
    wiring: Wiring
    log: Path

    @property
    def pids(self) -> tuple[int, ...]:
        """The processes that carry the owner mark; normally one or none."""
        return tuple(process.owned(self.owner))

    def launch(self, argv: list[str]) -> None:
        """Start QEMU, its processors stopped.

        Raises:
            ResourceError: when it ends at once, with what it said.
        """
        for path in (self.wiring.control, self.wiring.agent):
            path.unlink(missing_ok=True)
        for path in (self.wiring.console, self.log):
            if path.exists():  # what the one before said may be why we are here
                path.replace(path.with_name(f"{path.name}.previous"))
        pid = process.spawn(argv, owner=self.owner, log=self.log)

        def listening() -> bool:
            if has_ended(pid):
                raise ResourceError(f"QEMU ended at once: {self._last_words()}")
            return self.wiring.control.exists() and self.wiring.agent.exists()

        wait_for(listening, Deadline.after(_START_LIMIT_S), what="QEMU's start")

    def control(self, *, limit_s: float = _START_LIMIT_S) -> Qmp:
        """Connect to QEMU's control socket; the caller closes."""
        return Qmp.connect(self.wiring.control, Deadline.after(limit_s))

    def agent(self) -> Agent:
        """Connect to the guest agent; the caller closes."""
        return Agent(self.wiring.agent, Deadline.after(_START_LIMIT_S))

    def load(self, state: Path) -> None:
        """Load the saved `state` into a QEMU that was launched to wait for it."""
        with self.control() as control, state.open("rb") as stream:
            _prepare(control)
            control.execute("getfd", {"fdname": "state"}, pass_fd=stream.fileno())
            control.execute("migrate-incoming", {"uri": "fd:state"})
            self._await_migration(control, "load the saved state")

    def save(self, state: Path) -> None:
        """Stop the processors and save the machine's state; memory is in its own file already."""
        handle = os.open(state, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with self.control() as control:
                control.execute("stop")
                _prepare(control)
                control.execute("getfd", {"fdname": "state"}, pass_fd=handle)
                control.execute("migrate", {"uri": "fd:state"})
                self._await_migration(control, "save the state")
        finally:
            os.close(handle)

    def resume(self) -> None:
        """Let the processors run."""
        with self.control() as control:
            control.execute("cont")

    def run_state(self) -> str:
        """Return what QEMU says of its processors: RUNNING, or why they stand (QMP's RunState).

        Raises:
            ResourceError: when it does not answer within 10 s.
        """
        try:
            with self.control(limit_s=ANSWER_LIMIT_S) as control:
                return str(control.execute("query-status")["status"])
        except WaitTimeoutError as error:  # it does not even take the connection
            raise ResourceError(f"QEMU does not answer within {ANSWER_LIMIT_S:g} s") from error

    def console_tail(self) -> tuple[str, ...]:
        """Return the last lines that the guest's kernel has said, none when it said nothing.

        Of a kernel that panicked those in which it says why: registers are the last that it tells.
        """
        path = self.wiring.console
        text = path.read_text(errors="replace") if path.exists() else ""
        lines = [line.rstrip() for line in text.splitlines() if line.strip()]
        why = (number for number, line in enumerate(lines) if "Kernel panic" in line)
        first = next(why, len(lines) - _CONSOLE_TAIL)
        return tuple(lines[max(0, first) :][:_CONSOLE_TAIL])

    def quit(self) -> None:
        """End QEMU. Ended already is fine."""
        # The guest has nothing to save: a signal ends QEMU as cleanly as a command, even a QEMU
        # that was killed half-way through its start; a stuck one is killed.
        for pid in self.pids:
            process.stop(pid, grace_s=_QUIT_LIMIT_S)

    def _await_migration(self, control: Qmp, what: str) -> None:
        def finished() -> bool:
            status = control.execute("query-migrate").get("status", "none")
            if status == "failed":
                raise ResourceError(f"QEMU could not {what}: {self._last_words()}")
            if status != "completed":
                raise NotYet(status)
            return True

        wait_for(finished, Deadline.after(_STATE_LIMIT_S), what=what)

    def _last_words(self) -> str:
        said = self.log.read_text(errors="replace") if self.log.exists() else ""
        return said.strip()[-_LOG_TAIL:] or "it said nothing"


def _prepare(control: Qmp) -> None:
    control.execute("migrate-set-capabilities", {"capabilities": _CAPABILITIES})
    control.execute("migrate-set-parameters", _PARAMETERS)
