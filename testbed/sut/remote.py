"""A SUT that is a machine of the user's, Linux or FreeBSD, reached by ssh as the user reaches it.

We neither start nor stop it, and change nothing there before the FIBs' state is applied. What it
lacks is reported, extension by extension.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from testbed.drivers.process import run
from testbed.errors import PreflightError, TestbedError
from testbed.events import Events
from testbed.plan.resources import Plan, RemotePlan
from testbed.sut import capabilities
from testbed.sut.channel import Channel
from testbed.sut.extension import Extension
from testbed.sut.protocol import Capability, Health
from testbed.sut.ssh_config import Account

_REACH_LIMIT_S = 20.0

# What the user may have set for the machine and we keep. Names and forms as `ssh -G` prints them.
_KEPT_OPTIONS = frozenset(
    {
        *("ciphers", "hostkeyalgorithms", "kexalgorithms", "macs", "pubkeyacceptedalgorithms"),
        *("certificatefile", "identitiesonly", "identityagent", "identityfile"),
        *("globalknownhostsfile", "hostkeyalias", "stricthostkeychecking", "userknownhostsfile"),
        *("proxycommand", "proxyjump"),
    }
)


@dataclass(frozen=True, slots=True)
class RemoteMachine:
    """The machine that `plan` names. `account` replaces what the user's ssh configuration says."""

    plan: Plan
    state: Path
    account: Account | None = None

    @property
    def _remote(self) -> RemotePlan:
        if not isinstance(self.plan.sut.machine, RemotePlan):
            raise TypeError("the plan's SUT is a VM of ours, not a machine of the user's")
        return self.plan.sut.machine

    @property
    def channel(self) -> Channel:
        """Commands and files."""
        return Channel(self.state, f"{self.plan.deployment}/ssh")

    @property
    def ssh_config(self) -> Path:
        """For people and testinfra: `ssh -F FILE sut`."""
        return self.channel.config

    def start(self, events: Events) -> None:
        """Reach the machine and report what it is and what it lacks; nothing is changed there.

        Raises:
            PreflightError: when it cannot be reached, is another system than the topology says, or
                has not the interface.
        """
        remote = self._remote
        with events.step(f"reach {remote.host}"):
            self._connect()
            facts = capabilities.ask_facts(self.channel, remote.interface)
        where = f"{remote.user}@{remote.host}"
        if facts["system"].lower() != remote.system.lower():
            raise PreflightError(
                f"{where} runs {facts['system']}, the topology says {remote.system!r}",
                hint="correct 'system:' in the topology",
            )
        if facts["interface"] != "yes":
            raise PreflightError(
                f"{where} has no interface {remote.interface!r}",
                hint="correct 'interface:' in the topology",
            )
        events.note("SUT runs", f"{where}: {facts['system']} {facts['release']}")
        for capability in capabilities.judge(facts):
            if not capability.supported:
                events.note("SUT lacks", f"{capability.extension}: {capability.reason}")

    def _connect(self) -> None:
        remote = self._remote
        self.channel.configure(self.account or _users_account(remote))
        try:
            self.channel.open(limit_s=_REACH_LIMIT_S)
        except TestbedError as error:
            target = f"{remote.user}@{remote.host}"
            raise PreflightError(
                f"cannot reach {target}: {error.message}",
                hint=f"make this work without a question: ssh -p {remote.port} {target} true",
            ) from error

    def stop(self) -> None:
        """End our connection; the machine is the user's and goes on."""
        self.channel.close()

    def is_running(self) -> bool:
        """Whether it can be reached."""
        return self.health().ok

    def health(self) -> Health:
        """Ask it for its name and release."""
        try:
            self._connect()
            told = self.channel.run(["uname", "-sr"], timeout_s=_REACH_LIMIT_S).stdout.strip()
        except TestbedError as error:
            return Health(ok=False, detail=error.message)
        return Health(ok=True, detail=told, kernel=told.partition(" ")[2])

    def require_answer(self) -> None:
        """Ask it for no more than an answer.

        Raises:
            TestbedError: when there is none.
        """
        self._connect()
        self.channel.run(["true"], timeout_s=_REACH_LIMIT_S)

    def capabilities(self) -> tuple[Capability, ...]:
        """Ask it which FIB extensions it can do.

        Raises:
            TestbedError: when it cannot be reached.
        """
        self._connect()
        return capabilities.ask(self.channel, self._remote.interface)

    def apply(self, fib_state_json: str) -> None:
        """Install the extensions on the machine if they are not there, and apply the state.

        Raises:
            PreflightError: when the machine lacks something that an extension needs.
            GuestError: with what fibctl found wrong.
        """
        lacking = [found for found in self.capabilities() if not found.supported]
        if lacking:
            reasons = "\n".join(f"    {found.extension}: {found.reason}" for found in lacking)
            raise PreflightError(
                f"{self._remote.host} cannot have the FIB extensions:\n{reasons}",
                hint="the other scenarios can run; those that need FIBs cannot",
            )
        extension = Extension(Path(str(files("testbed") / "fib")), self.state / "cache")
        extension.ensure_installed(self.channel, extension.build(Events()))
        extension.apply(self.channel, fib_state_json)

    def set_clock(self) -> None:
        """Set its clock to ours, as a scenario that has changed it must."""
        self.channel.run(["date", "-s", f"@{time.time():.3f}"])


def _users_account(remote: RemotePlan) -> Account:
    """Return the account with the options that the user's own ssh configuration has for it."""
    # fmt: off
    printed = run(
        ["ssh", "-G", "-p", str(remote.port), "-l", remote.user, "--", remote.host]
    ).stdout
    # fmt: on
    address, options = parse_options(printed)
    return Account(address or remote.host, remote.port, remote.user, options=options)


def parse_options(printed: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    r"""Return the host's name and the options to keep from what `ssh -G` printed.

    >>> parse_options("hostname lab7.example\nidentityfile ~/.ssh/lab\nforwardagent no\n")
    ('lab7.example', (('identityfile', '~/.ssh/lab'),))
    """
    pairs = [
        (name, value)
        for name, _, value in (line.partition(" ") for line in printed.splitlines())
        if value
    ]
    address = next((value for name, value in pairs if name == "hostname"), "")
    return address, tuple(pair for pair in pairs if pair[0] in _KEPT_OPTIONS)
