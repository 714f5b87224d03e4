"""What the loss of a tenant's servers may cost, its own users and everybody else's."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack

from scenarios.checks import assert_logs_in
from testbed.api import Method, Reply, Role, Tenant, faults, log_in, route_to

Fault = Callable[[Tenant, Role], AbstractContextManager[None]]

# Stated in docs/scenarios.md: what the first login after the loss takes at most, ...
FIRST_LOGIN_S = 9.0
# ... what those after it and those of other tenants do, or this: below is the emulation's own noise.
_MOST_TIMES_SLOWER, _ALWAYS_FINE_MS = 3.0, 600.0
_AT_ONCE = 6


def allowed_ms(before_ms: float) -> float:
    """Return how long a login may take that took so long before the loss."""
    return max(_ALWAYS_FINE_MS, _MOST_TIMES_SLOWER * before_ms)


def assert_twin_does_not_wait(
    tenant: Tenant, roles: tuple[Role, ...], method: Method, twins_ms: Callable[[], float]
) -> None:
    """With all servers of `tenant` lost nobody logs in there, and the twin is as quick as before.

    `twins_ms` logs in at the twin and returns how long that takes.
    """
    user = tenant.users[0]
    assert_logs_in(tenant, method)
    before_ms = twins_ms()

    def try_to() -> Reply:
        route = route_to(tenant.client, timeout_s=30)
        return log_in(tenant.client, route, user.name, user.password, method=method)

    with ExitStack() as lost, ThreadPoolExecutor(_AT_ONCE) as pool:
        for role in roles:
            lost.enter_context(faults.service_stopped(tenant, role))
        waiting = [pool.submit(try_to) for _ in range(_AT_ONCE)]
        during_ms = twins_ms()
        assert not all(one.done() for one in waiting), "it was over before it could slow anybody"
        replies = [one.result() for one in waiting]
        assert {(r.error, r.verdict, r.tenant) for r in replies} == {("", "error", tenant.name)}
        assert during_ms < allowed_ms(before_ms)
    assert_logs_in(tenant, method)
