"""What the SUT sends on its own account: from the right address, to the right router."""

from __future__ import annotations

import pytest

from scenarios.guest import as_json, client_address, sent_by_sut
from testbed.api import (
    Capture,
    Forwarded,
    Running,
    Tenant,
    frames_of,
    leaks,
    lookup,
    new_nonce,
)

SEND = """
number, wanted = json.loads(sys.argv[1])
sources = {}
with fib.thread_fib(number):
    for address, nonce in wanted.items():
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as s:
            s.connect((address, 9))
            s.send(nonce.encode())
            sources[address] = s.getsockname()[0]
say(sources)
"""

TENANTS = ("alpha", "bravo", "charlie")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.tenants(name)) for name in TENANTS]
)
def test_unbound_socket_sends_from_its_fibs_preferred_address(
    name: str, deployment: Running, tenant: Tenant, wire: Capture
) -> None:
    plan = deployment.plan
    nonces = {client_address(tenant, version): new_nonce(name) for version in (4, 6)}
    told = {str(address): nonce for address, nonce in nonces.items()}
    with deployment.program(SEND, as_json([tenant.fib, told])) as program:
        sources = program.said()
    for address, nonce in nonces.items():
        expected = lookup(plan, tenant.fib, address)
        assert isinstance(expected, Forwarded)
        assert sources[str(address)] == str(expected.source)
        wire.await_frame(lambda frame, nonce=nonce: frame.has(nonce.encode()))  # type: ignore[misc]
        (sent,) = sent_by_sut(plan, frames_of(wire.frames(), tenant.plan), nonce)
        assert (sent.source, sent.destination_mac) == (expected.source, expected.mac)
    assert not leaks(plan, wire.frames(), [tenant], nonces=dict.fromkeys(nonces.values(), name))
