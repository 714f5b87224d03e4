"""Each check fails when the piece it relies on is broken: the checks prove what they say they do.

Every control first shows the check pass, then breaks one piece of the extensions and shows the
same check fail, then shows that the piece was restored.
"""

from __future__ import annotations

import pytest

from scenarios.checks import (
    assert_closed_port_refuses,
    assert_logs_in,
    assert_no_leak,
    assert_pings,
    assert_served,
    assert_served_at_once,
)
from testbed.api import Capture, Running, Tenant

pytestmark = [
    pytest.mark.exclusive,
    pytest.mark.tenants("alpha", "bravo", "charlie"),
    pytest.mark.expects("guard-router", "guard-source", "guard-no-fib", strays=True),
]

# A datagram of FIB 1 to the router of another tenant, past routing: the interface is forced.
FORCED_INTERFACE = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
    s.sendto(b"forced", (sys.argv[1], 9))
"""


def test_login_needs_the_threads_fib(deployment: Running, tenants: tuple[Tenant, ...]) -> None:
    tenant = tenants[0]
    assert_logs_in(tenant)
    with deployment.broken("thread-fib"), pytest.raises(AssertionError):
        assert_logs_in(tenant)
    assert_logs_in(tenant)


def test_connection_needs_the_fib_of_its_local_address(
    deployment: Running, tenants: tuple[Tenant, ...]
) -> None:
    assert_served_at_once(tenants)
    with deployment.broken("accept-fib"), pytest.raises(AssertionError):
        assert_served_at_once(tenants)
    assert_served(tenants[0])


def test_replies_without_socket_need_the_fib_of_the_packet(
    deployment: Running, tenants: tuple[Tenant, ...]
) -> None:
    tenant = tenants[0]
    assert_pings(tenant)
    assert_closed_port_refuses(tenant)
    with deployment.broken("reply-route"):
        with pytest.raises(AssertionError):
            assert_pings(tenant)
        with pytest.raises(AssertionError):
            assert_closed_port_refuses(tenant)
    assert_pings(tenant)


def test_forced_interface_needs_the_egress_guard(
    deployment: Running, tenants: tuple[Tenant, ...], wire: Capture
) -> None:
    alpha, bravo, _ = tenants
    strange_router = bravo.plan.router.uplink.addresses[0].ip
    assert_pings(alpha)  # the capture sees what the SUT sends
    send = ["fibctl", "exec", str(alpha.fib), "--", "python3", "-c", FORCED_INTERFACE]
    deployment.sut.channel.run([*send, str(strange_router)], check=False)
    assert_no_leak(deployment.plan, wire)
    with deployment.broken("egress-guard"):
        deployment.sut.channel.run([*send, str(strange_router)], check=False)
        with pytest.raises(AssertionError, match="at the router of 'bravo'"):
            assert_no_leak(deployment.plan, wire)
