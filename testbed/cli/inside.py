"""Verbs that go inside a deployment: exec, shell, logs. Light: they start within half a second."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Sequence
from functools import partial
from typing import NoReturn

from testbed.cli.telling import tell
from testbed.drivers import ending, glance, namespace, process
from testbed.errors import InputError, Problem, TestbedError, did_you_mean
from testbed.lifecycle.deployment import Deployment, open_deployment
from testbed.lifecycle.store import Store, state_root
from testbed.plan.resources import Plan, Role, TenantPlan

_CONSOLE_LOG, _DAEMON_LOG = "console.log", "/var/log/tenantd.log"
_SSH_FAILED = 255


def show_log(name: str, target: str, tail: int) -> None:
    """Print the last `tail` lines of the log of `target`."""
    records = Store(state_root())
    deployment = open_deployment(records, records.get(name))
    files = {
        "sut": deployment.folder / _CONSOLE_LOG,
        "ipam": deployment.folder / "ipam.log",
        "dockerd": records.root / "dockerd.log",
    }
    if target in files:
        path = files[target]
        if not path.exists():
            raise TestbedError(f"there is no log of {target!r}", hint=f"it would be {path}")
        lines = path.read_text(errors="replace").splitlines(keepends=True)
        sys.stdout.write("".join(lines[-tail:]))
    elif target == "daemon":
        _require_sut(deployment)
        answer = deployment.sut().channel.run(["tail", "-n", str(tail), _DAEMON_LOG])
        sys.stdout.write(answer.stdout)
    elif ":" not in target and target not in {t.name for t in deployment.plan.tenants}:
        known = [*files, "daemon", *(f"{tenant.name}:" for tenant in deployment.plan.tenants[:8])]
        hint = did_you_mean(target, known) or "one of: TENANT:ROLE, sut, daemon, ipam, dockerd"
        raise InputError([Problem(target, "there is no such log", hint)])
    else:
        container = _container(deployment, target, is_to_run=False)
        _replace(["docker", "logs", "--tail", str(tail), container])


def go_inside(name: str, target: str, command: Sequence[str]) -> NoReturn:
    """Become `command` at `target`, or a shell there when it is empty; its exit code is ours.

    What runs out of our signals' reach, in a container or the SUT without a terminal, is attended and
    ended when we are told to end, or are killed.
    """
    records = Store(state_root())
    deployment = open_deployment(records, records.get(name))
    is_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    mark = "" if is_terminal or not command else ending.new_mark()
    tenant_name, _, part = target.partition(":")
    if target == "sut":
        if not deployment.remote and not deployment.sut().is_running():
            raise _absent(deployment, "the SUT", "not running")
        ssh = ["ssh", "-F", str(deployment.sut().ssh_config)]
        whole = [*(["env", mark] if mark else []), *command]
        argv = [
            *ssh,
            *(["-t"] if is_terminal else []),
            "sut",
            *([shlex.join(whole)] if whole else []),
        ]
        end = partial(ending.end_by_shell, [*ssh, "sut", "sh", "-s"], mark)
    elif part == "router":
        tenant = tenant_called(deployment.plan, tenant_name)
        space = namespace.RUN_NETNS / tenant.router.netns
        if not space.exists():
            raise _absent(deployment, target, "its namespace is missing")
        own_shell = os.environ.get("SHELL", "sh")
        if is_terminal and not command:  # whose prompt is the host's
            tell(f"a shell of this host in the network of {target}; `exit` leaves it")
        _replace(["nsenter", f"--net={space}", "--", *(command or [own_shell])])
    else:
        container = _container(deployment, target)
        flags = ["-it"] if is_terminal else ["-i", *(["-e", mark] if mark else [])]
        argv = ["docker", "exec", *flags, container, *(command or ["bash"])]
        end = partial(ending.end_here, mark)

    def check() -> None:
        if target == "sut":
            _require_sut(deployment)

    if not mark:
        check()
        _replace(argv)
    sys.stdout.flush()
    with ending.watched(partial(end, signal.SIGTERM)):
        code = process.attend(argv, end=end, check=check)
    if code == _SSH_FAILED:
        check()  # the command's own code, or the machine has gone meanwhile
    sys.exit(code)


def _replace(argv: list[str]) -> NoReturn:
    sys.stdout.flush()
    signal.signal(
        signal.SIGPIPE, signal.SIG_DFL
    )  # Python ignores it, and what is ignored is inherited
    try:
        os.execvp(argv[0], argv)
    except OSError as error:
        raise TestbedError(f"cannot run {argv[0]!r}: {error.strerror}") from error


def _require_sut(deployment: Deployment) -> None:
    """Refuse to ask a machine that is not there, or hangs: ssh would wait, and tell of a port."""
    try:
        deployment.sut().require_answer()
    except TestbedError as error:
        raise _absent(deployment, "the SUT", error.message) from error


def _absent(deployment: Deployment, what: str, why: str) -> TestbedError:
    hint = f"what repairs it: testbed status {deployment.record.name}"
    return TestbedError(f"{what} cannot be reached: {why}", hint=hint)


def _container(deployment: Deployment, target: str, *, is_to_run: bool = True) -> str:
    plan = deployment.plan
    tenant_name, _, role = target.partition(":")
    if tenant_name == "sut":
        raise InputError([Problem(target, "the SUT has no parts", "say: sut")])
    tenant = tenant_called(plan, tenant_name)
    roles = [container.role for container in tenant.containers]
    if role not in roles:
        parts = [*roles, "router"]
        listed = f"one of: {', '.join(f'{tenant_name}:{part}' for part in parts)}"
        what = f"no such part of {tenant_name!r}" if role else "a part of the tenant is wanted"
        hint = f"{did_you_mean(role, parts)}\n{listed}".strip()
        raise InputError([Problem(target, what, hint)])
    name = tenant.container(Role(role)).name
    state = glance.state_of(name)
    if state == glance.MISSING and plan.starts_on_lease:
        hint = "to have all at once: `services_start: up` in the topology"
        message = f"{target} does not run: it starts when a scenario leases its tenant"
        raise TestbedError(message, hint=hint)
    if state == glance.MISSING or (is_to_run and state not in {"running", ""}):
        raise _absent(deployment, target, f"its container is {state}")
    return name


def tenant_called(plan: Plan, name: str) -> TenantPlan:
    """Return the tenant called `name`.

    Raises:
        InputError: when there is none, with what may have been meant.
    """
    try:
        return plan.tenant(name)
    except KeyError:
        names = [tenant.name for tenant in plan.tenants]
        listed = f"one of: {', '.join([*names[:8], *(['...'] if names[8:] else [])])}, sut"
        hint = did_you_mean(name, [*names, "sut"]) or listed
        raise InputError([Problem(name, "no such tenant", hint)]) from None
