"""Server addresses that move, or are given up, while the server and its tenants are at work."""

from __future__ import annotations

import pytest

from scenarios.guest import as_json, client_address
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

# A datagram socket bound to an address, connected to a peer that stays silent: says what ends its wait.
WAITER = """
import errno
address, peer = sys.argv[1:]
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    s.bind((address, 0))
    s.connect((peer, 9999))
    s.settimeout(15)
    say("waits")
    try:
        say(s.recv(100).decode())
    except OSError as error:
        say(errno.errorcode.get(error.errno, str(error)))
"""

# From where a socket of a FIB sends.
SOURCE = """
number, address = json.loads(sys.argv[1])
with fib.thread_fib(number), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    s.connect((address, 9))
    say(s.getsockname()[0])
"""


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


def test_others_stay_when_the_first_address_moves(
    deployment: Running, tenants: tuple[Tenant, ...]
) -> None:
    """The kernel takes the first address of a network for its main one: what hangs on it must stay."""
    alpha, bravo = tenants
    first, second = (a.ip for a in bravo.plan.server_addresses if a.version == 4)

    def source() -> str:
        told = as_json([bravo.fib, str(client_address(bravo))])
        with deployment.program(SOURCE, told) as program:
            found: str = program.said()
        return found

    assert source() == str(first)
    with faults.address_moved(deployment, first, to=alpha):
        reply = who_am_i(bravo.client, route_to(bravo.client, address=second))
        assert (reply.error, reply.tenant) == ("", bravo.name)
        assert source() == str(second)
        reply = who_am_i(alpha.client, route_to(alpha.client, address=first))
        assert (reply.error, reply.tenant) == ("", alpha.name)
    assert source() == str(first)


@pytest.mark.tenants("alpha", "bravo", "charlie")
def test_move_ends_what_it_must_and_nothing_else(
    deployment: Running, tenants: tuple[Tenant, ...]
) -> None:
    alpha, bravo, charlie = tenants
    stays, moved = (a.ip for a in bravo.plan.server_addresses if a.version == 4)
    waiter = deployment.program(WAITER, str(moved), str(client_address(bravo)))
    with (
        waiter as program,
        held(bravo.client, route_to(bravo.client, address=stays)) as own,
        held(charlie.client, route_to(charlie.client)) as others,
    ):
        assert program.said() == "waits"
        assert all("connected" in connection.connected() for connection in (own, others))
        with faults.address_moved(deployment, moved, to=alpha):
            assert program.said() == "ECONNABORTED"
            for connection, tenant in ((own, bravo), (others, charlie)):
                reply = connection.ask({"op": "whoami"})
                assert (reply.error, reply.tenant) == ("", tenant.name)
