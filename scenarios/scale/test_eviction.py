"""Services of many tenants where memory holds those of a few: who is stopped, and who never."""

from __future__ import annotations

from pathlib import Path

import pytest

from scenarios.checks import assert_logs_in
from testbed.api import Running, held, route_to

CONTAINERS_A_TENANT, TENANTS_THAT_FIT = 3, 4

pytestmark = pytest.mark.topology(str(Path(__file__).with_name("few.yaml")))


def test_longest_unwanted_services_are_stopped_and_leased_ones_never(
    deployment: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TESTBED_WARM", str(CONTAINERS_A_TENANT * TENANTS_THAT_FIT))
    first, second, third, fourth, fifth, sixth, _ = (t.name for t in deployment.plan.tenants)

    def visit(name: str) -> None:
        with deployment.leased(name) as (tenant,):
            assert_logs_in(tenant)

    for name in (first, second, third, fourth):
        visit(name)
    assert deployment.warm == {first, second, third, fourth}

    visit(first)  # wanted again: now the second is the longest unwanted
    visit(fifth)
    assert deployment.warm == {first, third, fourth, fifth}

    with (
        deployment.leased(third) as (tenant,),
        held(tenant.client, route_to(tenant.client)) as talk,
    ):
        assert "connected" in talk.connected()
        for name in (fourth, first, fifth):
            visit(name)
        visit(sixth)  # the third is the longest unwanted, and leased
        assert deployment.warm == {first, third, fifth, sixth}
        assert talk.ask({"op": "whoami"}).tenant == third

    visit(second)  # was stopped: its next lease finds it as it was
    assert deployment.warm == {first, second, fifth, sixth}
