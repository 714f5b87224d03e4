"""What a shell may complete: deployments and the parts of their tenants.

bash breaks words at colons, so that it asks for `cl` after `exec alpha :` where the person has typed
`alpha:cl`, and replaces what follows the colon only. `mend_colons` joins such words again.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager, redirect_stdout

import typer

from testbed.errors import TestbedError

_LOGS = ("daemon", "ipam", "dockerd")
_PartsOf = Callable[[str, Sequence[str]], Iterator[str]]
"""The targets of one tenant: of its name and the roles of its containers."""


def deployments(incomplete: str) -> list[str]:
    """Return the names of the deployments there are that begin with `incomplete`."""
    from testbed.lifecycle.store import Store, state_root  # the shell waits for us

    try:
        names = [record.name for record in Store(state_root()).all()]
    except TestbedError:
        return []  # a completion has no place for an error; the command will tell it
    return [name for name in names if name.startswith(incomplete)]


def targets(context: typer.Context, incomplete: str) -> list[str]:
    """Return where a command can go: tenants' containers and routers, and the SUT."""
    return _matching(context, incomplete, _parts)


def logs(context: typer.Context, incomplete: str) -> list[str]:
    """Return what has a log."""
    return [
        *_matching(context, incomplete, _containers),
        *(name for name in _LOGS if name.startswith(incomplete)),
    ]


def tenants(context: typer.Context, incomplete: str) -> list[str]:
    """Return the tenants, and the SUT."""
    return _matching(context, incomplete, lambda name, _: iter((name,)))


def segments(context: typer.Context, incomplete: str) -> list[str]:
    """Return where frames can be captured."""
    return _matching(context, incomplete, lambda name, _: iter((name, f"{name}:lan")))


def mend_colons(environment: MutableMapping[str, str]) -> bool:
    r"""Join what bash has broken at colons; return whether the word to complete was broken.

    Nothing happens unless it is bash that asks.

    >>> asked = {"COMP_WORDS": "testbed\nexec\nalpha\n:\ncl", "COMP_CWORD": "4"}
    >>> asked["_TESTBED_COMPLETE"] = "complete_bash"
    >>> mend_colons(asked), asked["COMP_WORDS"], asked["COMP_CWORD"]
    (True, 'testbed\nexec\nalpha:cl', '2')
    """
    if environment.get("_TESTBED_COMPLETE") != "complete_bash":
        return False
    words = environment["COMP_WORDS"].split("\n")[: int(environment["COMP_CWORD"]) + 1]
    joined: list[str] = []
    is_after_colon = False
    for word in words:
        if joined[1:] and (word == ":" or is_after_colon):
            joined[-1] += word
        else:
            joined.append(word)
        is_after_colon = word == ":"
    environment["COMP_WORDS"] = "\n".join(joined)
    environment["COMP_CWORD"] = str(len(joined) - 1)
    return ":" in joined[-1] and len(joined) < len(words)


@contextmanager
def after_colon() -> Iterator[None]:
    """Print of each completion only what follows its colon, which is all that bash replaces."""
    printed = io.StringIO()
    try:
        with redirect_stdout(printed):
            yield
    finally:
        for line in printed.getvalue().splitlines():
            sys.stdout.write(line.rpartition(":")[2] + "\n")


def _matching(context: typer.Context, incomplete: str, parts: _PartsOf) -> list[str]:
    try:
        found = _all_targets(str(context.params.get("name") or ""), parts)
    except TestbedError:
        return []
    return [target for target in found if target.startswith(incomplete)]


def _all_targets(deployment: str, parts: _PartsOf) -> list[str]:
    """Return all targets of the deployment of that name, or of the only one."""
    from testbed.lifecycle.deployment import open_deployment
    from testbed.lifecycle.store import Store, state_root

    store = Store(state_root())
    plan = open_deployment(store, store.get(deployment)).plan
    found = ["sut"]
    for tenant in plan.tenants:
        found += parts(tenant.name, [container.role for container in tenant.containers])
    return found


def _containers(name: str, roles: Sequence[str]) -> Iterator[str]:
    yield from (f"{name}:{role}" for role in roles)


def _parts(name: str, roles: Sequence[str]) -> Iterator[str]:
    yield from _containers(name, roles)
    yield f"{name}:router"
