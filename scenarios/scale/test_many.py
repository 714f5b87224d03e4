"""Every tenant's client, all alike, at one server at the same time.

Most tenants have no containers yet: their clients are played by sockets in their routers.
"""

from __future__ import annotations

import os
import random
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager

import pytest

from scenarios.checks import assert_logs_in, assert_served
from testbed.api import (
    Capture,
    Conversation,
    Deadline,
    Frame,
    Player,
    Reply,
    Running,
    Tenant,
    leaks,
)

LIMIT_S = 120  # a thousand tenants; more have longer
AT_ONCE = 200  # handshakes under way: the guest's queue of half-open connections is finite
NONCE = re.compile(rb"nonce-([a-z0-9-]+?)-[0-9a-f]{16}")

IS_LONG = os.environ.get("TESTBED_SCALE") == "long"
pytestmark = [
    pytest.mark.topology("ten-thousand" if IS_LONG else "thousand"),
    pytest.mark.timeout(3600 if IS_LONG else 300),
]
everybody = pytest.mark.tenants(started=False)


def deadline_for(many: Sized) -> Deadline:
    return Deadline.after(LIMIT_S * max(1, len(many) / 1000))


@contextmanager
def connected(players: Sequence[Player], source_port: int) -> Iterator[list[Conversation]]:
    """Hold a connection of every player, all from one address and port, open at once."""
    deadline = deadline_for(players)
    conversations: list[Conversation] = []
    try:
        for start in range(0, len(players), AT_ONCE):
            begun = [p.connect(source_port=source_port) for p in players[start : start + AT_ONCE]]
            conversations += begun
            failed = {c.tenant: why for c in begun if (why := c.connected(deadline))}
            assert not failed
        yield conversations
    finally:
        for conversation in conversations:
            conversation.close()


def ask_all(conversations: Sequence[Conversation], request: Mapping[str, str]) -> list[Reply]:
    """Send a request on every connection, then take all replies."""
    deadline = deadline_for(conversations)
    for conversation in conversations:
        conversation.send(request)
    return [conversation.reply(deadline) for conversation in conversations]


def assert_own(tenants: Sequence[Tenant], replies: Sequence[Reply], source_port: int) -> None:
    """Each reply speaks of its own tenant, and all of one and the same client."""
    assert Counter(reply.error for reply in replies) == {"": len(tenants)}
    wrong = [
        (tenant, reply)
        for tenant, reply in zip(tenants, replies, strict=True)
        if (reply.fib, reply.tenant, reply.local) != (tenant.fib, tenant.name, tenant.server)
    ]
    assert not wrong
    assert len({reply.peer for reply in replies}) == 1, "the clients are not alike"
    assert {reply.peer[1] for reply in replies if reply.peer} == {source_port}


def assert_nonces_at_home(frames: Sequence[Frame], tenants: Sequence[Tenant]) -> None:
    """Each tenant's nonce passed its own router both ways, and no other."""
    macs = {tenant.name: tenant.plan.router.uplink.mac for tenant in tenants}
    seen: Counter[tuple[str, bool]] = Counter()
    for frame in frames:
        found = NONCE.search(frame.raw)
        if found:
            name = found[1].decode()
            assert macs[name] in {frame.source_mac, frame.destination_mac}, frame
            seen[name, frame.source_mac == macs[name]] += 1
    missing = [name for name in macs for way in (True, False) if not seen[name, way]]
    assert not missing, "the capture did not see both ways of these"


@everybody
def test_all_tenants_hold_a_connection_at_once(
    deployment: Running, tenants: tuple[Tenant, ...], wire: Capture, seed: int
) -> None:
    idle = deployment.idle(tenants)
    assert len(idle) > len(tenants) * 0.8
    source_port = random.Random(seed).randrange(20000, 30000)  # noqa: S311 - no secret
    with deployment.players(idle) as players, connected(players, source_port) as held:
        for request in ({"op": "whoami"}, {"op": "echo", "data": "again"}):
            assert_own(idle, ask_all(held, request), source_port)
    frames = wire.frames()
    assert_nonces_at_home(frames, idle)
    found = leaks(deployment.plan, frames)
    assert not found, found[:3]


@everybody
def test_all_tenants_send_datagrams_from_one_port(
    deployment: Running, tenants: tuple[Tenant, ...], wire: Capture
) -> None:
    idle = deployment.idle(tenants)
    deadline = deadline_for(idle)
    with deployment.players(idle) as players:
        for player, tenant in zip(players, idle, strict=True):
            conversation = player.datagrams(source_port=31000)
            reply = conversation.ask({"op": "whoami"}, deadline)
            conversation.close()
            assert (reply.error, reply.fib, reply.tenant) == ("", tenant.fib, tenant.name)
            assert reply.local == tenant.server
    assert_nonces_at_home(wire.frames(), idle)


@pytest.mark.tenants(6)
def test_tenants_far_apart_use_their_real_services(tenants: tuple[Tenant, ...]) -> None:
    methods = Counter(tenant.plan.login for tenant in tenants)
    assert len(methods) == 2, "LDAP and Kerberos were to be mixed"
    for tenant in tenants:
        assert_served(tenant)
        assert_logs_in(tenant)
