from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator

import pytest

from testbed.deadline import Deadline, wait_for
from testbed.fib.services.config import Method
from testbed.tests.services.fakes import config, tenant
from testbed.tests.services.running import Running, running

pytestmark = pytest.mark.timeout(10)

TENANTS = config(
    tenant(1, "alpha"), tenant(2, "bravo", login=Method.KERBEROS), tenant(3, "none", login=None)
)

LOGIN = {"op": "login", "user": "anna", "password": "anna-1"}
STUCK = {"op": "login", "user": "stuck", "password": "stuck-1"}


@pytest.fixture(scope="module")
def service() -> Iterator[Running]:
    with running(TENANTS, line_timeout_s=0.3, linger_timeout_s=1) as one:
        yield one


def test_a_request_is_answered_in_the_fib_of_its_local_address(service: Running) -> None:
    for fib, name in ((1, "alpha"), (2, "bravo")):
        with service.client(fib) as client:
            reply = client.ask(op="whoami")
        assert (reply["fib"], reply["thread_fib"], reply["tenant"]) == (fib, fib, name)
        assert reply["local"] == {"address": f"127.0.0.{fib}", "port": service.port}


def test_sockets_are_made_wildcards(service: Running) -> None:
    assert len(service.fibs.wildcards) == 2


@pytest.mark.parametrize("fib", [1, 2])
def test_a_password_opens_its_own_tenant_only(service: Running, fib: int) -> None:
    with service.client(fib) as client:
        own = client.log_in("anna", f"anna-{fib}")
        other = client.log_in("anna", f"anna-{3 - fib}")
    assert (own["verdict"], own["principal"]) == ("accepted", f"anna@{fib}")
    assert own["resolved"] == {"name": "ldap.test", "addresses": [f"192.168.0.{fib}"]}
    assert other["verdict"] == "refused"


def test_a_method_that_the_tenant_lacks_is_refused(service: Running) -> None:
    with service.client(1) as client:
        assert client.log_in("a", "b", method="kerberos")["verdict"] == "refused"
        assert client.present("YQ==")["verdict"] == "refused"
    with service.client(3) as client:
        assert "no way to log in" in client.log_in("a", "b")["reason"]


def test_a_ticket_is_judged_in_the_fib(service: Running) -> None:
    with service.client(2) as client:
        assert client.present("YW5uYQ==")["principal"] == "anna"


def test_a_name_that_does_not_resolve_is_an_error(service: Running) -> None:
    with service.client() as client:
        reply = client.ask(op="resolve", name="nowhere.test")
    assert (reply["verdict"], reply["resolved"]) == ("error", None)


def test_a_fib_without_tenant_is_refused_and_nothing_asked(service: Running) -> None:
    before = list(service.servers.logins)
    with service.client(9) as client:
        reply = client.log_in("anna", "anna-9")
        assert client.ask(op="whoami")["verdict"] == "refused"
    assert (reply["verdict"], reply["reason"]) == ("refused", "no tenant has FIB 9")
    assert service.servers.logins == before


def test_requests_in_one_write_are_answered_in_order(service: Running) -> None:
    with service.client() as client:
        for number in range(100):
            client.send(op="echo", nonce=str(number), data="x")
        assert [client.reply()["nonce"] for _ in range(100)] == [str(n) for n in range(100)]


def test_a_client_that_closed_its_half_gets_its_reply(service: Running) -> None:
    with service.client() as client:
        client.send(op="whoami")
        client.sock.shutdown(socket.SHUT_WR)
        assert client.reply()["verdict"] == "accepted"
        assert client.rest() == b""


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"junk\n", "not JSON"),
        (b"\n", "not JSON"),
        (b'{"op":"rm"}\n', "unknown op"),
        (b"x" * 200_000, "longer than 65536 bytes"),
        (b'{"op":', "did not end within 0.3 s"),
    ],
)
def test_bad_input_gets_one_error_and_the_end(service: Running, data: bytes, reason: str) -> None:
    with service.client() as client:
        client.sock.sendall(data)
        reply = client.reply()
        assert (reply["verdict"], client.rest()) == ("error", b"")
    assert reason in reply["reason"]
    with service.client() as client:
        assert client.ask(op="whoami")["verdict"] == "accepted"


def test_the_last_line_needs_an_end(service: Running) -> None:
    with service.client() as client:
        client.sock.sendall(b'{"op":"whoami"}')
        client.sock.shutdown(socket.SHUT_WR)
        assert client.reply()["reason"] == "the last line has no end"


def test_the_longest_line_is_taken(service: Running) -> None:
    frame = b'{"nonce":"n","op":"echo","data":"'
    line = frame + b"y" * (65536 - len(frame) - 2) + b'"}'
    with service.client() as client:
        client.sock.sendall(line + b"\n")
        assert client.reply()["verdict"] == "accepted"


def test_a_reset_in_the_middle_harms_nobody(service: Running) -> None:
    with service.client() as client:
        client.send(**LOGIN)
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with service.client() as client:
        assert client.ask(op="whoami")["verdict"] == "accepted"


def test_a_bug_costs_one_request(service: Running) -> None:
    with service.client() as client:
        reply = client.log_in("broken", "x")
        assert (reply["verdict"], reply["reason"]) == (
            "error",
            "the daemon failed: ZeroDivisionError",
        )
        assert client.ask(op="whoami")["verdict"] == "accepted"


def datagram(service: Running, fib: int, data: bytes) -> bytes:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(2)
        sock.connect((f"127.0.0.{fib}", service.udp_port))
        sock.send(data)
        return sock.recv(65535)


def test_a_datagram_is_answered_from_the_address_it_was_sent_to(service: Running) -> None:
    # The client's socket is connected: a reply from another address would not be taken.
    for fib in (1, 2):
        reply = datagram(service, fib, b'{"op":"echo","nonce":"u","data":"hi"}')
        assert b'"fib":%d' % fib in reply
        assert b'"data":"hi"' in reply


def test_a_bad_datagram_is_answered_but_a_reply_is_not(service: Running) -> None:
    assert b"not JSON" in datagram(service, 1, b"junk")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(2)
        sock.connect(("127.0.0.1", service.udp_port))
        sock.send(b'{"verdict":"error"}')
        sock.send(b'{"op":"echo","nonce":"after"}')
        assert b'"nonce":"after"' in sock.recv(65535)


def test_a_new_configuration_serves_connections_that_are_open() -> None:
    with running(config(tenant(1, "alpha"))) as service, service.client(2) as client:
        assert client.ask(op="whoami")["verdict"] == "refused"
        service.dispatcher.config = TENANTS
        assert client.ask(op="whoami")["tenant"] == "bravo"


def test_a_tenants_outage_leaves_workers_to_others() -> None:
    with running(TENANTS, workers=4) as service:
        stuck = [service.client(1) for _ in range(8)]
        for client in stuck:
            client.send(**STUCK)
        with service.client(2) as healthy:
            assert healthy.log_in("anna", "anna-2")["verdict"] == "accepted"
        with service.client(1) as same:  # asks no server, so it does not wait in the queue
            assert same.ask(op="whoami")["verdict"] == "accepted"
        logins = service.servers.logins
        wait_for(
            lambda: logins.count((1, "stuck")) == 3, Deadline.after(5), what="three of four workers"
        )
        assert logins.count((1, "stuck")) == 3, "one is left to others"
        service.servers.release.set()
        assert {client.reply()["verdict"] for client in stuck} == {"accepted"}
        for client in stuck:
            client.__exit__()


def test_idle_connections_hold_no_worker_and_no_thread() -> None:
    with running(TENANTS, workers=1) as service:
        threads = threading.active_count()
        idle = [service.client(1 + number % 2) for number in range(200)]
        with service.client(1) as client:
            assert client.log_in("anna", "anna-1")["verdict"] == "accepted"
        assert threading.active_count() == threads
        for client in idle:
            client.__exit__()


def test_an_idle_connection_ends_in_time() -> None:
    with running(TENANTS, idle_timeout_s=0.1) as service, service.client() as client:
        assert client.rest() == b""


def test_one_tenant_takes_half_of_the_connections() -> None:
    with running(TENANTS, capacity=4) as service:
        mine = [service.client(1) for _ in range(3)]
        assert mine[0].ask(op="whoami")["verdict"] == "accepted"
        assert mine[2].reply()["reason"] == "too many connections of this tenant"
        with service.client(2) as other:
            assert other.ask(op="whoami")["verdict"] == "accepted"
        for client in mine:
            client.__exit__()


def test_the_log_tells_the_user_and_no_secret() -> None:
    with running(TENANTS) as service, service.client() as client:
        client.log_in("anna", "geheim")
        (line,) = service.logged()
    assert (line["event"], line["user"], line["verdict"]) == ("request", "anna", "refused")
    assert "geheim" not in str(line)
