"""A client that rightly has the number of another tenant's server address is served all the same."""

from __future__ import annotations

import json
import socket

import pytest

from scenarios.guest import as_json, sent_by_sut
from testbed.api import (
    Address,
    Capture,
    Running,
    Tenant,
    faults,
    frames_of,
    leaks,
    new_nonce,
    ping,
    route_to,
    who_am_i,
)

# Asks a server address from a FIB, over TCP and UDP; the answer would say who it takes us for.
ASK = """
import errno
number, port, addresses = json.loads(sys.argv[1])
answers = {}
with fib.thread_fib(number):
    for address in addresses:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            with socket.socket(family, kind) as s:
                s.settimeout(2)
                try:
                    s.connect((address, port))
                    s.sendall(b'{"op": "whoami", "nonce": "x"}\\n')
                    answer = json.loads(s.recv(4096))["tenant"]
                except OSError as error:
                    answer = errno.errorcode.get(error.errno, str(error))
            answers[f"{address} {kind.name}"] = answer
say(answers)
"""


def ask_from(source: Address, server: Address, port: int, nonce: str) -> dict[str, object]:
    """Ask the daemon from a socket bound to `source`, in the namespace we are in."""
    family = socket.AF_INET if source.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_STREAM) as asking:
        asking.settimeout(5)
        asking.bind((str(source), 0))
        asking.connect((str(server), port))
        asking.sendall(json.dumps({"op": "whoami", "nonce": nonce}).encode() + b"\n")
        answer: dict[str, object] = json.loads(asking.makefile().readline())
    return answer


@pytest.mark.exclusive
@pytest.mark.tenants(2, overlap="client")
@pytest.mark.parametrize("version", [4, 6])
def test_client_with_another_tenants_server_address_is_served(
    version: int, deployment: Running, tenants: tuple[Tenant, ...], wire: Capture
) -> None:
    tenant, other = tenants
    own = next(a.ip for a in tenant.plan.server_addresses if a.version == version)
    taken = next(a.ip for a in other.plan.server_addresses if a.version == version)
    nonce, port = new_nonce(tenant.name), deployment.plan.sut.port
    with (
        faults.routes_added(deployment, {tenant: [f"{taken}/{taken.max_prefixlen}"]}),
        faults.address_owned(tenant, taken),
    ):
        answer = tenant.in_router(lambda: ask_from(taken, own, port, nonce))
    assert (answer["tenant"], answer["fib"]) == (tenant.name, tenant.fib)
    own_frames = frames_of(wire.frames(), tenant.plan)
    assert any(f.destination == taken and f.has(nonce.encode()) for f in own_frames)
    # The SUT's own address of that number is served as ever.
    assert who_am_i(other.client, route_to(other.client)).tenant == other.name
    assert not leaks(deployment.plan, wire.frames(), tenants, nonces={nonce: tenant.name})


@pytest.mark.tenants(2, overlap="client")
def test_program_of_a_fib_is_not_served_at_another_tenants_address(
    deployment: Running, tenants: tuple[Tenant, ...], wire: Capture
) -> None:
    tenant, other = tenants
    own, foreign = ([str(a.ip) for a in t.plan.server_addresses] for t in tenants)
    told = as_json([tenant.fib, deployment.plan.sut.port, [*own, *foreign]])
    assert ping(other.client, other.server).ok
    with deployment.program(ASK, told) as program:
        answers = program.said()
    served = {key.split()[0] for key, answer in answers.items() if answer == tenant.name}
    assert served == set(own)
    refused = {answer for key, answer in answers.items() if key.split()[0] in foreign}
    assert refused == {"ENETUNREACH"}
    sent = sent_by_sut(deployment.plan, wire.frames())
    assert any(f.source == other.server for f in sent), "frames that it sends are seen"
    # By address: the other tenant's hosts may say something on their own account meanwhile.
    assert not [f for f in sent if str(f.destination) in foreign]
