"""Server addresses that move, or are given up, while the server and its tenants are at work."""

from __future__ import annotations

import pytest

from scenarios.isolation.test_owners import ask_from
from testbed.api import (
    Capture,
    Reached,
    Running,
    Tenant,
    connect,
    faults,
    frames_of,
    held,
    new_nonce,
    ping,
    route_to,
    who_am_i,
)

pytestmark = [
    pytest.mark.exclusive,
    pytest.mark.tenants("alpha", "bravo"),
    # While an address moves, packets of its former owner's connections are in the way.
    pytest.mark.expects("guard-router", "guard-source", "sender", strays=True),
]


def test_address_moves_to_another_tenant(
    deployment: Running, tenants: tuple[Tenant, ...], wire: Capture
) -> None:
    alpha, bravo = tenants
    moved = bravo.plan.server_addresses[1].ip
    assert who_am_i(bravo.client, route_to(bravo.client, address=moved)).tenant == bravo.name
    with held(bravo.client, route_to(bravo.client, address=moved)) as connection:
        assert "connected" in connection.connected()
        assert connection.ask({"op": "whoami"}).tenant == bravo.name
        with faults.address_moved(deployment, moved, to=alpha):
            # Who talked to it as bravo's talks to nobody now (rows 43 and 44).
            assert connection.ask({"op": "whoami"}).error in {"ECONNRESET", "CLOSED", "EPIPE"}
            reply = who_am_i(alpha.client, route_to(alpha.client, address=moved))
            assert (reply.error, reply.tenant, reply.fib) == ("", alpha.name, alpha.fib)
            assert ping(alpha.client, moved).ok
            assert connect(bravo.client, moved, 7007, wait_s=1).result is not Reached.YES
            assert who_am_i(bravo.client, route_to(bravo.client)).tenant == bravo.name
    answers = [f for f in frames_of(wire.frames(), alpha.plan) if f.source == moved]
    assert answers, "the capture saw the new owner's answers"
    reply = who_am_i(bravo.client, route_to(bravo.client, address=moved))
    assert (reply.error, reply.tenant) == ("", bravo.name)
    assert connect(alpha.client, moved, 7007, wait_s=1).result is not Reached.YES


def test_address_given_up_may_be_a_clients(
    deployment: Running, tenants: tuple[Tenant, ...]
) -> None:
    _, bravo = tenants
    given_up, port = bravo.plan.server_addresses[1].ip, deployment.plan.sut.port
    with faults.address_moved(deployment, given_up, to=None):
        assert connect(bravo.client, given_up, port, wait_s=1).result is not Reached.YES
        with faults.address_owned(bravo, given_up):
            nonce = new_nonce(bravo.name)
            answer = bravo.in_router(lambda: ask_from(given_up, bravo.server, port, nonce))
        assert (answer["tenant"], answer["fib"]) == (bravo.name, bravo.fib)
    assert who_am_i(bravo.client, route_to(bravo.client, address=given_up)).tenant == bravo.name
