"""Tenants come and go while others are served: nobody else notices."""

from __future__ import annotations

import random
from contextlib import closing

import pytest

from scenarios.scale.load import load
from testbed.api import Deadline, Player, Running

STAYING, LEAVING = 40, 10
REPLIES = 100
LIMIT_S = 20

pytestmark = [
    pytest.mark.topology("thousand"),
    pytest.mark.timeout(900),
    # Tenants go while packets of theirs are under way.
    pytest.mark.expects("sender", "guard-router", "guard-source", "guard-no-fib", "only"),
]


def served(player: Player) -> bool:
    """Whether the daemon answers the player, as its own tenant."""
    conversation = player.connect()
    try:
        if conversation.connected(Deadline.after(LIMIT_S)):
            return False
        reply = conversation.ask({"op": "whoami"}, Deadline.after(LIMIT_S))
        return (reply.tenant, reply.fib) == (player.tenant.name, player.tenant.fib)
    finally:
        conversation.close()


def addresses(deployment: Running) -> set[str]:
    """Return the addresses that the SUT has."""
    said = deployment.sut.channel.run(["ip", "-o", "address", "show"], timeout_s=120)
    return {line.split()[3].partition("/")[0] for line in said.stdout.splitlines()}


@pytest.mark.exclusive
def test_tenants_leave_and_return_while_others_are_served(deployment: Running, seed: int) -> None:
    idle = deployment.idle([deployment.tenant(t.name) for t in deployment.plan.tenants])
    drawn = random.Random(seed).sample(idle, STAYING + LEAVING)  # noqa: S311 - no secret
    staying, leaving = drawn[:STAYING], drawn[STAYING:]
    gone = {str(address.ip) for tenant in leaving for address in tenant.plan.server_addresses}
    with deployment.players(leaving) as players:
        assert all(map(served, players))
        left_over = players[0].connect()  # and keeps its router's namespace alive
        assert not left_over.connected(Deadline.after(LIMIT_S))
    with (
        closing(left_over),
        deployment.players(staying) as players,
        load(players) as counted,
    ):
        counted.await_more(REPLIES)
        with deployment.without(leaving):
            left = addresses(deployment)
            assert not gone & left
            assert {str(tenant.server) for tenant in staying} <= left
            counted.await_more(REPLIES)
        counted.await_more(REPLIES)
    assert gone <= addresses(deployment)
    with deployment.players(leaving) as players:
        assert all(map(served, players))
