"""The FIB of a socket: what it binds to, what it hears, who serves whom. Programs in the SUT."""

from __future__ import annotations

import pytest

from scenarios.guest import as_json, greeting
from testbed.api import Deadline, NotYet, Running, Tenant, ping, wait_for

# A free range: the port of a scenario is that of its first tenant's FIB.
FIRST_PORT = 20000

BIND = """
import errno
number, own, foreign = int(sys.argv[1]), sys.argv[2].split(), sys.argv[3].split()
def bound(address, kind, fib_of_socket):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, kind) as s:
        fib.set_socket_fib(s, fib_of_socket)
        try:
            s.bind((address, 0))
        except OSError as error:
            return errno.errorcode[error.errno]
        return [fib.socket_fib(s), s.getsockopt(socket.SOL_SOCKET, socket.SO_MARK)]
def later(address):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as s:
        s.bind((address, 0))
        try:
            fib.set_socket_fib(s, number + 1)
        except OSError as error:
            return errno.errorcode[error.errno]
        return fib.socket_fib(s)
kinds = (socket.SOCK_STREAM, socket.SOCK_DGRAM)
say({
    "own": [bound(a, k, number) for a in own for k in kinds],
    "of none": [bound(a, k, 0) for a in own for k in kinds],
    "foreign": [bound(a, k, number) for a in foreign for k in kinds],
    "later": [later(a) for a in own],
})
"""

# A wildcard listener and one of a FIB on one port; each greets with its name, FIB and mark.
LISTENERS = """
import selectors
number, port = int(sys.argv[1]), int(sys.argv[2])
def listener(number, only=False):
    s = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    fib.set_socket_fib(s, number)
    if only:
        fib.set_socket_only(s)
    s.bind(("::", port + only))
    return s
own, wildcard, only = listener(number), listener(0), listener(0, True)
ready = selectors.DefaultSelector()
for s, name in ((own, "own"), (wildcard, "wildcard"), (only, "only")):
    s.listen()
    ready.register(s, selectors.EVENT_READ, name)
say("ready")
while True:
    for key, _ in ready.select():
        child, _ = key.fileobj.accept()
        mark = child.getsockopt(socket.SOL_SOCKET, socket.SO_MARK)
        child.sendall(f"{key.data} {fib.socket_fib(child)} {mark}\\n".encode())
        child.close()
"""

# A server that knows nothing of FIBs but for one line, if any: with it, what it does for a peer is in the
# peer's FIB. Says that of its thread, of a socket made for the peer, and of the connection.
FOLLOWER = """
port, asks = int(sys.argv[1]), sys.argv[2] == "True"
s = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
if asks:
    fib.set_accept_sets_thread(s)
s.bind(("::", port))
s.listen()
say("ready")
while True:
    child, _ = s.accept()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        numbers = fib.get_thread_fib(), fib.socket_fib(other), fib.socket_fib(child)
        child.sendall(f"{' '.join(map(str, numbers))}\\n".encode())
    child.close()
"""

# Raw sockets of two FIBs and of none: which pings each has heard, by destination, in order.
RAW = """
import selectors
numbers = [int(number) for number in sys.argv[1:]]
heard = {number: [] for number in numbers}
ready = selectors.DefaultSelector()
for number in numbers:
    s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    fib.set_socket_fib(s, number)
    ready.register(s, selectors.EVENT_READ, number)
say("ready")
while True:
    for key, _ in ready.select():
        packet = key.fileobj.recv(65535)
        if packet[20] == 8:
            heard[key.data].append(socket.inet_ntoa(packet[16:20]))
            say({str(number): found for number, found in heard.items()})
"""


@pytest.mark.tenants(2, overlap="client")
def test_socket_binds_to_its_fibs_addresses_alone(
    deployment: Running, tenants: tuple[Tenant, ...]
) -> None:
    tenant, other = tenants
    own = [str(address.ip) for address in tenant.plan.server_addresses]
    foreign = [str(address.ip) for address in other.plan.server_addresses]
    with deployment.program(BIND, tenant.fib, " ".join(own), " ".join(foreign)) as program:
        answers = program.said()
    bound = [tenant.fib, tenant.fib]
    assert answers["own"] == [bound] * 2 * len(own)
    assert answers["of none"] == [bound] * 2 * len(own), "it takes the address's FIB, for good"
    assert answers["foreign"] == ["EADDRNOTAVAIL"] * 2 * len(foreign)
    assert answers["later"] == ["EISCONN"] * len(own)


@pytest.mark.tenants(2, overlap="client")
def test_fibs_own_listener_stands_beside_a_wildcard_one(
    deployment: Running, tenants: tuple[Tenant, ...]
) -> None:
    port = FIRST_PORT + 10 * tenants[0].fib
    with deployment.program(LISTENERS, tenants[0].fib, port) as program:
        assert program.said() == "ready"
        for tenant, name in zip(tenants, ("own", "wildcard"), strict=True):
            for address in tenant.plan.server_addresses:
                said = greeting(tenant, address.ip, port)
                assert said == f"{name} {tenant.fib} {tenant.fib}", f"at {address.ip}"


@pytest.mark.tenants("bravo")
def test_fibs_own_listener_serves_all_its_addresses(deployment: Running, tenant: Tenant) -> None:
    assert len(tenant.plan.server_addresses) > 2, "nothing is shown by one address a family"
    port = FIRST_PORT + 10 * tenant.fib
    with deployment.program(LISTENERS, tenant.fib, port) as program:
        assert program.said() == "ready"
        said = {greeting(tenant, a.ip, port) for a in tenant.plan.server_addresses}
    assert said == {f"own {tenant.fib} {tenant.fib}"}


@pytest.mark.expects("only")
def test_socket_of_fib_0_alone_is_not_reached_by_a_tenant(
    deployment: Running, tenant: Tenant
) -> None:
    port = FIRST_PORT + 10 * tenant.fib
    with deployment.program(LISTENERS, tenant.fib, port) as program:
        assert program.said() == "ready"
        for address in tenant.plan.server_addresses:
            assert greeting(tenant, address.ip, port).startswith("own ")
            assert "Error" in greeting(tenant, address.ip, port + 1), f"at {address.ip}"


@pytest.mark.tenants(2, overlap="client")
@pytest.mark.parametrize("asks", [True, False], ids=["asked", "not asked"])
def test_accepting_thread_takes_the_connections_fib_if_asked(
    deployment: Running, tenants: tuple[Tenant, ...], *, asks: bool
) -> None:
    port = FIRST_PORT + 10 * tenants[0].fib + 2
    with deployment.program(FOLLOWER, port, asks) as program:
        assert program.said() == "ready"
        for tenant in (*tenants, *reversed(tenants)):
            for address in tenant.plan.server_addresses:
                said = greeting(tenant, address.ip, port)
                of_thread = tenant.fib if asks else 0
                assert said == f"{of_thread} {of_thread} {tenant.fib}", f"at {address.ip}"


@pytest.mark.tenants(2, overlap="client")
def test_raw_socket_hears_its_own_fib(deployment: Running, tenants: tuple[Tenant, ...]) -> None:
    one, other = tenants
    with deployment.program(RAW, one.fib, other.fib, 0) as program:
        assert program.said() == "ready"
        # The second round shows that each socket has looked at all of the first.
        for tenant in (*tenants, *tenants):
            assert ping(tenant.client, tenant.server).ok

        def heard() -> dict[str, list[str]]:
            found: dict[str, list[str]] = program.said()
            if any(found[str(t.fib)].count(str(t.server)) < 2 for t in tenants):
                raise NotYet(as_json(found))
            return found

        found = wait_for(heard, Deadline.after(10), what="each tenant's pings at its socket")
    assert set(found["0"]) == {str(one.server), str(other.server)}
    assert set(found[str(one.fib)]) == {str(one.server)}
    assert set(found[str(other.fib)]) == {str(other.server)}
