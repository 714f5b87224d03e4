"""A directory that sends the daemon elsewhere: the user's password is for the tenant's servers alone."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest

from scenarios.checks import LDAP_PORT, assert_logs_in
from testbed.api import Record, Tenant, faults, log_in, route_to

ELSEWHERE_PORT = 1389
REFERRAL = 10  # resultCode, RFC 4511, 4.1.9


def element(tag: int, content: bytes) -> bytes:
    """Return one element of BER with a short content."""
    assert len(content) < 0x80
    return bytes([tag, len(content)]) + content


def referral(request: bytes, uri: str) -> bytes:
    """Return the answer to a bind request (RFC 4511, 4.2) that knows nothing but another server."""
    number = request[2 : 4 + request[3]]  # messageID, as an element
    elsewhere = element(0xA3, element(0x04, uri.encode()))
    result = element(0x0A, bytes([REFERRAL])) + element(0x04, b"") * 2 + elsewhere
    return element(0x30, number + element(0x61, result))


@contextmanager
def played(tenant: Tenant, port: int, answer: str) -> Iterator[list[bytes]]:
    """Listen at the tenant's router; answer the first request of each with a referral; yield them."""
    heard: list[bytes] = []

    def listen() -> socket.socket:
        return socket.create_server(
            ("::", port), family=socket.AF_INET6, dualstack_ipv6=True, reuse_port=False
        )

    def serve() -> None:
        with suppress(OSError):  # the end
            while True:
                connection, _ = listener.accept()
                with connection:
                    connection.settimeout(5)
                    request = connection.recv(4096)
                    heard.append(request)
                    if request:
                        connection.sendall(referral(request, answer))
                        connection.recv(4096)  # an unbind, or the end

    listener = tenant.in_router(listen)
    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield heard
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


@pytest.mark.tenants("alpha")
def test_password_does_not_follow_a_referral(tenant: Tenant) -> None:
    directory, user = tenant.plan.directory, tenant.users[0]
    assert directory is not None
    assert not directory.tls, "what is played here has no certificate"
    name = f"{directory.host}."
    router = [own.ip for own in tenant.plan.router.lan.addresses]
    lies = [Record(name, "A" if ip.version == 4 else "AAAA", str(ip)) for ip in router]
    uri = f"ldap://{router[0]}:{ELSEWHERE_PORT}/"
    with ExitStack() as stack:
        asked = stack.enter_context(played(tenant, LDAP_PORT, uri))
        elsewhere = stack.enter_context(played(tenant, ELSEWHERE_PORT, uri))
        stack.enter_context(faults.dns_lying(tenant, lies))
        route = route_to(tenant.client, timeout_s=30)
        reply = log_in(tenant.client, route, user.name, user.password)
        assert (reply.error, reply.verdict, reply.tenant) == ("", "error", tenant.name)
        assert any(user.password.encode() in request for request in asked), "it was not asked"
        assert elsewhere == []
    assert_logs_in(tenant)
