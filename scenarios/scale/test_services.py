"""Real clients and real services of many tenants: drawn at random, or one after the other."""

from __future__ import annotations

import contextlib
import os
import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from scenarios.checks import assert_accepted, assert_served
from testbed.api import Capture, Deadline, Method, Player, Role, Running, Tenant, leaks

CLIENTS = 50
AT_ONCE = 4  # tenants whose services start at the same time
# The long form, all tenants: TESTBED_SCALE=long. Most of a turn is Docker's work, so clients are played.
LOGINS = 1000 if os.environ.get("TESTBED_SCALE") == "long" else 200
SERVERS = (Role.DNS, Role.LDAP, Role.KDC)  # of which a tenant has two
CONTAINERS_THAT_FIT = 24
LOGIN_LIMIT_S = 30

pytestmark = [pytest.mark.topology("thousand"), pytest.mark.timeout(7200)]


@pytest.mark.tenants(started=False)
def test_tenants_drawn_at_random_use_their_real_clients(
    deployment: Running, tenants: tuple[Tenant, ...], wire: Capture, seed: int
) -> None:
    chosen = random.Random(seed).sample(tenants, CLIENTS)  # noqa: S311 - no secret
    deployment.start_services(chosen, [Role.CLIENT])
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for _ in pool.map(assert_served, chosen):
            pass
    assert not leaks(deployment.plan, wire.frames())


def test_logins_roll_over_tenants(
    deployment: Running, wire: Capture, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Directories and KDCs run for a few tenants at a time; the daemon serves all of them.

    Nobody stops them: who comes needs the room of those that were wanted longest ago.
    """
    monkeypatch.setenv("TESTBED_WARM", str(CONTAINERS_THAT_FIT))
    names = [tenant.name for tenant in deployment.plan.tenants]
    turns = random.Random(seed).sample(names, LOGINS)  # noqa: S311 - no secret

    def log_in_to(name: str) -> Method | None:
        with deployment.leased(name, started=False) as (tenant,):
            if name in deployment.warm:  # by another scenario, with its client
                deployment.stop_services([tenant])
            deployment.start_services([tenant], SERVERS)
            with deployment.players([tenant]) as (player,):
                assert_player_logs_in(player, tenant)
            return tenant.plan.login

    with ThreadPoolExecutor(AT_ONCE) as pool:
        methods = Counter(pool.map(log_in_to, turns))
    assert (methods.total(), set(methods)) == (LOGINS, set(Method))
    # A turn that has begun may be one tenant more than there is room for.
    assert len(deployment.warm) <= CONTAINERS_THAT_FIT // 2 + AT_ONCE
    assert not leaks(deployment.plan, wire.frames())


def assert_player_logs_in(player: Player, tenant: Tenant) -> None:
    """The tenant's first user is accepted with the right password, by the tenant's own server."""
    user, deadline = tenant.users[0], Deadline.after(LOGIN_LIMIT_S)
    with contextlib.closing(player.connect()) as conversation:
        assert not conversation.connected(deadline)
        request = {"op": "login", "user": user.name, "password": user.password}
        assert_accepted(conversation.ask(request, deadline), tenant)
