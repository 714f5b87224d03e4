"""A directory that has to prove itself: each tenant's own authority vouches for it, no other's.

The tenants are twins: both directories have the same name, and both authorities are called the same.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from datetime import timedelta

import pytest

from scenarios.checks import LDAP_PORT, assert_logs_in, assert_no_leak, server_frames
from testbed.api import (
    Capture,
    Frame,
    Method,
    Running,
    Tenant,
    bind,
    faults,
    frames_of,
    log_in,
    route_to,
)

HANDSHAKE, APPLICATION_DATA = b"\x16\x03", b"\x17\x03"  # RFC 8446, 5.1
START_TLS = b"1.3.6.1.4.1.1466.20037"  # RFC 4511, 4.14
AT_ONCE = 4
YESTERDAY = timedelta(days=-1)

pytestmark = [pytest.mark.topology("twins"), pytest.mark.tenants("castor", "pollux")]

Fault = Callable[[Tenant, Tenant], AbstractContextManager[None]]


def told_to_directory(wire: Capture, tenant: Tenant) -> list[Frame]:
    """Return what the SUT and the tenant's directory have said to one another."""
    return [frame for frame in server_frames(wire.frames(), tenant, LDAP_PORT) if frame.payload]


def assert_refused(tenant: Tenant) -> None:
    """The right password opens nothing, and the daemon says why."""
    user, route = tenant.users[0], route_to(tenant.client)
    reply = log_in(tenant.client, route, user.name, user.password, method=Method.LDAP)
    assert (reply.error, reply.verdict, reply.tenant) == ("", "error", tenant.name)
    assert "TLS: " in reply.reason


def test_password_goes_over_tls_alone(
    deployment: Running, tenants: tuple[Tenant, ...], wire: Capture
) -> None:
    for tenant in tenants:
        assert_logs_in(tenant, Method.LDAP)
        password = tenant.users[0].password.encode()
        # The request to the daemon holds it in clear: the capture would see it.
        assert any(frame.has(password) for frame in frames_of(wire.frames(), tenant.plan))
        told = told_to_directory(wire, tenant)
        assert any(START_TLS in frame.payload for frame in told)
        for start in (HANDSHAKE, APPLICATION_DATA):
            seen = {frame.destination_port for frame in told if frame.payload.startswith(start)}
            assert LDAP_PORT in seen
            assert len(seen) > 1, "only one side has spoken TLS"
        assert not any(frame.has(password) or frame.has(b"uid=") for frame in told)
    assert_no_leak(deployment.plan, wire)


def test_twins_directories_prove_themselves_at_the_same_time(
    tenants: tuple[Tenant, ...],
) -> None:
    """Whom libldap trusts belongs to a connection: one option of the process would be the twin's."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for _ in pool.map(lambda t: assert_logs_in(t, Method.LDAP), tenants * AT_ONCE):
            pass


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(
            lambda tenant, twin: faults.certificate_shown(tenant, signer=twin),
            id="of the twin's authority",
        ),
        pytest.param(
            lambda tenant, _: faults.certificate_shown(tenant, life=YESTERDAY), id="expired"
        ),
        pytest.param(
            lambda tenant, _: faults.certificate_shown(tenant, host="other.twin.test"),
            id="of another name",
        ),
        pytest.param(lambda tenant, _: faults.tls_unknown(tenant), id="none"),
    ],
)
def test_directory_that_does_not_prove_itself_is_told_nothing(
    fault: Fault, tenants: tuple[Tenant, ...], wire: Capture
) -> None:
    tenant, twin = tenants
    user = tenant.users[0]
    assert_logs_in(tenant, Method.LDAP)
    with fault(tenant, twin):
        before = len(told_to_directory(wire, tenant))
        assert_refused(tenant)
        told = told_to_directory(wire, tenant)[before:]
        assert told, "the directory was not asked: nothing was shown"
        for secret in (user.password, "uid="):
            assert not any(secret.encode() in frame.payload for frame in told)
        assert_logs_in(twin, Method.LDAP)
    assert_logs_in(tenant, Method.LDAP)


def test_control_a_certificate_of_ones_own_authority_opens_and_only_there(
    tenants: tuple[Tenant, ...],
) -> None:
    """What the daemon and the client refuse is a good certificate, and names this very directory."""
    tenant, twin = tenants
    directory, user = twin.plan.directory, twin.users[0]
    assert directory is not None
    with faults.certificate_shown(tenant, signer=tenant):
        assert_logs_in(tenant, Method.LDAP)
    with faults.certificate_shown(twin, signer=tenant):
        assert_refused(twin)
        assert bind(twin.client, directory, user.name, user.password).code not in {0, 49}
    assert bind(twin.client, directory, user.name, user.password).code == 0
