"""Real clients and real services of many tenants: drawn at random, or one after the other."""

from __future__ import annotations

import os
import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from scenarios.checks import assert_logs_in, assert_served
from testbed.api import Capture, Method, Role, Running, Tenant, leaks

CLIENTS = 50
AT_ONCE = 4  # tenants whose services start at the same time
# The long form, all tenants: TESTBED_SCALE=long. On two processors that four others use as well a turn
# takes 3.3 s: three fifths of it to start three containers, a fifth to remove those of an earlier
# turn, an eighth until they answer. Forty take about two minutes there.
LOGINS = 1000 if os.environ.get("TESTBED_SCALE") == "long" else 40
CONTAINERS_THAT_FIT = 24

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
        with deployment.leased(name) as (tenant,):
            assert_logs_in(tenant)
            return tenant.plan.login

    with ThreadPoolExecutor(AT_ONCE) as pool:
        methods = Counter(pool.map(log_in_to, turns))
    assert (methods.total(), set(methods)) == (LOGINS, set(Method))
    # A turn that has begun may be one tenant more than there is room for.
    assert len(deployment.warm) <= CONTAINERS_THAT_FIT // 3 + AT_ONCE
    assert not leaks(deployment.plan, wire.frames())
