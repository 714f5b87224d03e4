"""Tenants come and go while others are served: nobody else notices."""

from __future__ import annotations

import json
import random

import pytest

from scenarios.scale.load import load
from testbed.api import Deadline, Player, Running

STAYING, LEAVING = 40, 10
REPLIES = 100
LIMIT_S = 20

pytestmark = [pytest.mark.topology("thousand"), pytest.mark.timeout(900)]


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


def fibs(deployment: Running) -> set[int]:
    """Return the FIBs that the SUT has."""
    said = deployment.sut.channel.run(["fibctl", "show", "--format", "json"], timeout_s=300)
    return {fib["id"] for fib in json.loads(said.stdout)["fibs"]}


@pytest.mark.exclusive
def test_tenants_leave_and_return_while_others_are_served(deployment: Running, seed: int) -> None:
    idle = deployment.idle([deployment.tenant(t.name) for t in deployment.plan.tenants])
    drawn = random.Random(seed).sample(idle, STAYING + LEAVING)  # noqa: S311 - no secret
    staying, leaving = drawn[:STAYING], drawn[STAYING:]
    numbers = {tenant.fib for tenant in leaving}
    with deployment.players(leaving) as players:
        assert all(map(served, players))
    with deployment.players(staying) as players, load(players) as counted:
        counted.await_more(REPLIES)
        with deployment.without(leaving):
            assert not numbers & fibs(deployment)
            assert {tenant.fib for tenant in staying} <= fibs(deployment)
            counted.await_more(REPLIES)
        counted.await_more(REPLIES)
    assert numbers <= fibs(deployment)
    with deployment.players(leaving) as players:
        assert all(map(served, players))
