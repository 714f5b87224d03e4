"""A suite that kills itself inside each kind of fault, for `test_leases.py`: pytest does not collect it.

And a test that fails until it is told not to, for `test_replays.py`. Each of the others first looks whether what the one before it was killed in is mended, whichever that was: a
worker that takes over from a killed one goes on in an order of its own.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from signal import SIGKILL
from typing import Any

import pytest

from scenarios.checks import assert_logs_in, assert_served
from testbed.api import (
    Address,
    GuestError,
    Reached,
    Record,
    ResourceError,
    Role,
    Running,
    Tenant,
    connect,
    faults,
    log_in,
    ping,
    resolve,
    route_to,
)

Tenants = tuple[Tenant, ...]
NOTE = Path("/run/tmp/broken")  # of the private host
MENDED = Path("/run/tmp/mended")
LIE, NOBODY = "192.168.0.250", ip_address("192.168.0.200")
DELAY_S, SKEW_S = 1.0, 3600
STRANGE_NETWORK = "203.0.113.0/24"


def is_refused(tenant: Tenant) -> bool:
    """Whether the tenant's user is not let in with the right password."""
    user = tenant.users[0]
    return log_in(tenant.client, route_to(tenant.client), user.name, user.password).verdict != (
        "accepted"
    )


def is_cut_off(tenant: Tenant) -> bool:
    return not ping(tenant.client, tenant.server, wait_s=1).ok


def second_server(tenant: Tenant) -> Address:
    return [a.ip for a in tenant.plan.server_addresses if a.version == 4][1]


def is_slow(tenant: Tenant) -> bool:
    reached = connect(tenant.client, tenant.server, tenant.deployment.sut.port, wait_s=10)
    return reached.result is not Reached.YES or reached.elapsed_s >= 2 * DELAY_S


def is_lied_to(tenant: Tenant) -> bool:
    reply = resolve(tenant.client, route_to(tenant.client), "app.corp.test")
    return LIE in map(str, reply.resolved)


def has_strange_route(deployment: Running) -> bool:
    return STRANGE_NETWORK in deployment.sut.channel.run(["fibctl", "show"]).stdout


@contextmanager
def gateway_moved(deployment: Running, tenant: Tenant) -> Iterator[None]:
    with (
        faults.line_added(deployment, tenant) as line,
        faults.gateway_moved(deployment, tenant, line),
    ):
        yield


def has_second_gateway(deployment: Running, tenant: Tenant) -> bool:
    first = tenant.plan.router.uplink.addresses[0].ip
    shown = deployment.sut.channel.run(["fibctl", "show", "--format", "json"]).stdout
    return f'"via": "{first - 1}"' in shown


def is_skewed(deployment: Running) -> bool:
    try:
        said = deployment.sut.channel.run(["date", "+%s"]).stdout
    except GuestError:
        return True
    return abs(int(said) - time.time()) > SKEW_S / 2


def has_no_daemon(tenant: Tenant) -> bool:
    port = tenant.deployment.sut.port
    return connect(tenant.client, tenant.server, port, wait_s=2).result is not Reached.YES


@dataclass(frozen=True)
class Kind:
    """A kind of fault: how it is caused, and whether it shows; `whole`: of what all share."""

    cause: Callable[[Running, Tenant, Tenant], AbstractContextManager[Any]]
    shows: Callable[[Running, Tenant, Tenant], bool]
    whole: bool = False


# By the name in testbed.api.faults, of which none is left out (test_leases.py).
KINDS = {
    "service_stopped": Kind(
        lambda _, a, __: faults.service_stopped(a, Role.LDAP), lambda _, a, __: is_refused(a)
    ),
    "service_hung": Kind(
        lambda _, a, __: faults.service_hung(a, Role.DNS), lambda _, a, __: is_refused(a)
    ),
    "router_down": Kind(lambda _, a, __: faults.router_down(a), lambda _, a, __: is_cut_off(a)),
    "link_down": Kind(lambda _, a, __: faults.link_down(a), lambda _, a, __: is_cut_off(a)),
    "line_impaired": Kind(
        lambda _, a, __: faults.line_impaired(a, delay_s=DELAY_S), lambda _, a, __: is_slow(a)
    ),
    "dns_lying": Kind(
        lambda _, a, __: faults.dns_lying(a, [Record("app.corp.test.", "A", LIE)]),
        lambda _, a, __: is_lied_to(a),
    ),
    "certificate_shown": Kind(
        lambda _, a, __: faults.certificate_shown(a, host="somebody.test"),
        lambda _, a, __: is_refused(a),
    ),
    "tls_unknown": Kind(lambda _, a, __: faults.tls_unknown(a), lambda _, a, __: is_refused(a)),
    "kdc_rekeyed": Kind(lambda _, __, b: faults.kdc_rekeyed(b), lambda _, __, b: is_refused(b)),
    "password_changed": Kind(
        lambda _, a, __: faults.password_changed(a, a.users[0].name, "another"),
        lambda _, a, __: is_refused(a),
    ),
    "address_owned": Kind(
        lambda _, a, __: faults.address_owned(a, NOBODY),
        lambda _, a, __: ping(a.client, NOBODY, wait_s=1).ok,
    ),
    "address_moved": Kind(
        lambda all_, a, b: faults.address_moved(all_, second_server(a), b),
        lambda _, a, b: (
            not ping(a.client, second_server(a), wait_s=1).ok
            or ping(b.client, second_server(a), wait_s=1).ok
        ),
        whole=True,
    ),
    "line_added": Kind(
        lambda all_, a, _: faults.line_added(all_, a, known=False),
        lambda _, a, __: is_cut_off(a),
        whole=True,
    ),
    "gateway_moved": Kind(
        lambda all_, a, _: gateway_moved(all_, a),
        lambda all_, a, _: has_second_gateway(all_, a),
        whole=True,
    ),
    "routes_added": Kind(
        lambda all_, a, _: faults.routes_added(all_, {a: [STRANGE_NETWORK]}),
        lambda all_, _, __: has_strange_route(all_),
        whole=True,
    ),
    "clock_skewed": Kind(
        lambda all_, _, __: faults.clock_skewed(all_, SKEW_S),
        lambda all_, _, __: is_skewed(all_),
        whole=True,
    ),
    "daemon_stopped": Kind(
        lambda all_, _, __: faults.daemon_stopped(all_),
        lambda _, a, __: has_no_daemon(a),
        whole=True,
    ),
    "sut_off": Kind(
        lambda all_, _, __: faults.sut_off(all_), lambda _, a, __: is_cut_off(a), whole=True
    ),
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "kind" in metafunc.fixturenames:
        kinds = [
            pytest.param(name, marks=[pytest.mark.exclusive] if kind.whole else [])
            for name, kind in KINDS.items()
        ]
        metafunc.parametrize("kind", kinds)


def assert_whole(deployment: Running, tenants: Tenants) -> None:
    """Nothing shows of the fault that another test was killed in; all tenants are served."""
    if NOTE.exists():
        kind = NOTE.read_text()
        assert not KINDS[kind].shows(deployment, *tenants), f"{kind} has been left"
    for tenant in tenants:
        assert_served(tenant)
        assert_logs_in(tenant)


@pytest.mark.tenants("alpha", "bravo")
def test_killed(kind: str, deployment: Running, tenants: Tenants) -> None:
    assert_whole(deployment, tenants)
    fault = KINDS[kind]
    assert not fault.shows(deployment, *tenants), "it was so before"
    with fault.cause(deployment, *tenants):
        assert fault.shows(deployment, *tenants), "the fault does not bite"
        NOTE.write_text(kind)
        os.kill(os.getpid(), SIGKILL)


@pytest.mark.tenants("alpha", "bravo")
def test_goes_on_although_it_cannot_be_undone(tenants: Tenants) -> None:
    """It passes, so that nothing but the fault's own note tells of what it leaves."""
    alpha, _ = tenants
    container = alpha.plan.container(Role.LDAP).name

    def remove_while_stopped() -> None:
        with faults.service_stopped(alpha, Role.LDAP):
            alpha.docker.containers.get(container).remove(force=True)

    NOTE.write_text("service_stopped")
    with pytest.raises(ResourceError, match=container):
        remove_while_stopped()


@pytest.mark.tenants("alpha", "bravo")
def test_whole(deployment: Running, tenants: Tenants) -> None:
    assert NOTE.exists(), "nothing was broken"
    assert_whole(deployment, tenants)


def test_fails_until_mended(tenant: Tenant) -> None:
    assert_served(tenant)
    assert MENDED.exists(), "not mended yet"
