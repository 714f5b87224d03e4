"""Real clients and real services of many tenants: drawn at random, or one group after the other."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from scenarios.checks import assert_logs_in, assert_served
from testbed.api import Capture, Role, Running, Tenant, leaks

CLIENTS = 50
AT_ONCE = 4  # tenants whose services start at the same time
# The long form: all logins, however long they take: TESTBED_SCALE=long
IS_LONG = os.environ.get("TESTBED_SCALE") == "long"
LOGINS = 1000 if IS_LONG else 200
LOGINS_S = 3600 if IS_LONG else 15
FEWEST_LOGINS = 8

pytestmark = [pytest.mark.topology("thousand"), pytest.mark.timeout(4000)]
everybody = pytest.mark.tenants(started=False)


@everybody
def test_tenants_drawn_at_random_use_their_real_clients(
    deployment: Running, tenants: tuple[Tenant, ...], wire: Capture, seed: int
) -> None:
    chosen = random.Random(seed).sample(tenants, CLIENTS)  # noqa: S311 - no secret
    deployment.start_services(chosen, [Role.CLIENT])
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for _ in pool.map(assert_served, chosen):
            pass
    assert not leaks(deployment.plan, wire.frames())


@everybody
def test_logins_roll_over_tenants(
    deployment: Running, tenants: tuple[Tenant, ...], wire: Capture, seed: int
) -> None:
    """Directories and KDCs run for a few tenants at a time; the daemon serves all of them."""
    order = random.Random(seed).sample(tenants, min(LOGINS, len(tenants)))  # noqa: S311 - no secret
    start_s = time.monotonic()
    done: list[Tenant] = []
    for group in _groups(order, AT_ONCE):
        if time.monotonic() - start_s > LOGINS_S and len(done) >= FEWEST_LOGINS:
            break
        deployment.start_services(group)
        for tenant in group:
            assert_logs_in(tenant)
        deployment.stop_services(group)
        done += group
    assert len(Counter(tenant.plan.login for tenant in done)) == 2, "LDAP and Kerberos, mixed"
    assert not leaks(deployment.plan, wire.frames())


def _groups(tenants: Sequence[Tenant], size: int) -> Iterator[Sequence[Tenant]]:
    for start in range(0, len(tenants), size):
        yield tenants[start : start + size]
