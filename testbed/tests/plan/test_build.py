"""What holds for every plan: unlike names, MACs and addresses, and documents others accept."""

from __future__ import annotations

import json
from ipaddress import ip_address, ip_network

from hypothesis import given, settings

from testbed.deadline import Deadline
from testbed.fib.document import parse_document
from testbed.fib.services.config import parse_config
from testbed.model.topology import Topology
from testbed.plan.build import build_plan
from testbed.plan.daemon import daemon_config
from testbed.plan.fibstate import fib_state
from testbed.plan.identity import DeploymentId
from testbed.plan.render import plan_view
from testbed.plan.resources import Neighbour, Plan, Record, RemotePlan, Role, Route, VmPlan
from testbed.tests.plan.topologies import ids, plan_of, plans, topologies

FAST = settings(max_examples=20, deadline=None)


@given(plans)
@FAST
def test_names_are_unique_and_fit(plan: Plan) -> None:
    assert isinstance(plan.sut.machine, VmPlan)
    links = [plan.sut.machine.tap, *(tenant.network.parent for tenant in plan.tenants)]
    spaces = [tenant.router.netns for tenant in plan.tenants]
    networks = [tenant.network.name for tenant in plan.tenants]
    containers = [container.name for _, container in plan.containers()]
    for names in (links, spaces, networks, containers):
        assert len(set(names)) == len(names)
        assert all(plan.deployment in name for name in names)
    legs = [leg.name for t in plan.tenants for leg in (t.router.lan, t.router.uplink)]
    assert all(len(name.encode()) <= 15 for name in (*links, *legs))
    hostnames = [container.hostname for _, container in plan.containers()]
    assert all(len(name) <= 63 for name in hostnames)


@given(plans)
@FAST
def test_macs_are_unique(plan: Plan) -> None:
    macs = [plan.sut.machine.mac]
    for tenant in plan.tenants:
        macs += [tenant.router.lan.mac, tenant.router.uplink.mac]
        macs += [container.mac for container in tenant.containers]
    assert len(set(macs)) == len(macs)


@given(plans)
@FAST
def test_no_address_of_the_uplink_has_two_owners(plan: Plan) -> None:
    owned = [address.ip for address in plan.sut.unassigned]
    for fib, tenant in zip(plan.sut.fibs, plan.tenants, strict=True):
        assert fib.addresses == tenant.server_addresses
        owned += [address.ip for address in fib.addresses]
        owned += [address.ip for address in tenant.router.uplink.addresses]
    assert len(set(owned)) == len(owned)


@given(plans)
@FAST
def test_everything_in_a_tenants_network_is_inside_it_and_apart(plan: Plan) -> None:
    for tenant in plan.tenants:
        hosts = [address for container in tenant.containers for address in container.addresses]
        hosts += tenant.router.lan.addresses
        assert {host.network for host in hosts} == set(tenant.network.subnets)
        assert len({host.ip for host in hosts}) == len(hosts)
        uplink = [*tenant.server_addresses, *tenant.router.uplink.addresses]
        assert not [a for a in uplink for net in tenant.network.subnets if a.ip in net]


@given(plans)
@FAST
def test_router_and_sut_know_one_another(plan: Plan) -> None:
    for fib, tenant in zip(plan.sut.fibs, plan.tenants, strict=True):
        macs = {neighbour.mac for neighbour in fib.neighbours}
        assert macs == {tenant.router.uplink.mac}
        next_hops = {neighbour.address for neighbour in fib.neighbours}
        assert {route.via for route in fib.routes if route.via} == next_hops
        known = {neighbour.address for neighbour in tenant.router.neighbours}
        assert {address.ip for address in fib.addresses} <= known


@given(plans)
@FAST
def test_documents_are_what_their_readers_accept(plan: Plan) -> None:
    document = parse_document(json.loads(fib_state(plan)))
    assert [fib.id for fib in document.fibs] == [tenant.fib for tenant in plan.tenants]
    config = parse_config(daemon_config(plan))
    assert list(config.tenants) == [tenant.fib for tenant in plan.tenants]


@given(topologies(), ids)
@FAST
def test_plan_is_a_pure_function_that_shows_no_password(
    topology: Topology, deployment: DeploymentId
) -> None:
    plan = build_plan(topology, deployment)
    assert plan == build_plan(topology, deployment)
    shown = json.dumps(plan_view(plan)) + repr(plan) + daemon_config(plan) + fib_state(plan)
    secrets = [user for tenant in plan.tenants for user in tenant.users]
    secrets += [tenant.directory.admin for tenant in plan.tenants if tenant.directory]
    secrets += [tenant.realm.admin for tenant in plan.tenants if tenant.realm]
    assert secrets
    assert not [secret.name for secret in secrets if secret.password in shown]


def test_off_block_servers_are_on_the_link_of_the_router() -> None:
    plan = plan_of("tenants: {alpha: {network6: null, servers: [{v4: 10.96.0.1}, {}]}}")
    tenant, fib = plan.tenants[0], plan.sut.fibs[0]
    assert [str(address) for address in fib.addresses] == ["10.96.0.1/32", "10.64.0.2/29"]
    assert tenant.router.routes == (Route(ip_network("10.96.0.1/32")),)
    assert fib.routes[0] == Route(ip_network("10.64.0.0/29"))


def test_off_block_next_hop_is_alone_on_the_link() -> None:
    plan = plan_of("tenants: {alpha: {network6: null, next_hop: 10.97.0.1}}")
    tenant, fib = plan.tenants[0], plan.sut.fibs[0]
    assert [str(address) for address in tenant.router.uplink.addresses] == ["10.97.0.1/32"]
    assert tenant.router.routes == (Route(ip_network("10.64.0.1/32")),)
    assert fib.routes == (
        Route(ip_network("10.97.0.1/32")),
        Route(ip_network("192.168.0.0/24"), ip_address("10.97.0.1")),
    )
    assert [str(address) for address in fib.addresses] == ["10.64.0.1/32"]


def test_extra_routes_lead_to_the_router_and_on_to_a_host() -> None:
    plan = plan_of(
        "tenants: {alpha: {network6: null, routes: ["
        "{to: 172.16.0.0/12, via: 192.168.0.7}, {to: 0.0.0.0/0}]}}"
    )
    tenant, fib = plan.tenants[0], plan.sut.fibs[0]
    next_hop = ip_address("10.64.0.6")
    assert fib.routes[2:] == (
        Route(ip_network("172.16.0.0/12"), next_hop),
        Route(ip_network("0.0.0.0/0"), next_hop),
    )
    assert tenant.router.routes == (Route(ip_network("172.16.0.0/12"), ip_address("192.168.0.7")),)


def test_only_the_interface_fibs_router_reaches_unassigned_addresses() -> None:
    plan = plan_of(
        "sut: {interface_fib: bravo, addresses: [{v4: 10.79.255.1}]}\n"
        "tenants: {alpha: {}, bravo: {}}"
    )
    alpha, bravo = plan.tenants
    unassigned = ip_address("10.79.255.1")
    entry = Neighbour(unassigned, plan.sut.machine.mac)
    assert plan.sut.default_fib == bravo.fib
    assert entry in bravo.router.neighbours
    assert Route(ip_network("10.79.255.1/32")) in bravo.router.routes
    assert entry not in alpha.router.neighbours
    assert not alpha.router.routes


def test_family_without_a_server_address_has_no_route_in_the_fib() -> None:
    plan = plan_of("tenants: {alpha: {servers: [{v6: null}]}}")
    fib = plan.sut.fibs[0]
    assert {route.to.version for route in fib.routes} == {4}
    assert {neighbour.address.version for neighbour in fib.neighbours} == {4}


def test_machine_of_the_users_own() -> None:
    plan = plan_of(
        "sut: {ssh: {host: bsd.test, system: freebsd, interface: vtnet1, uplink: enp3s0,"
        ' mac: "52:54:00:AA:bb:01"}}\ntenants: {alpha: {}}'
    )
    assert plan.sut.machine == RemotePlan(
        "bsd.test", 22, "root", "freebsd", "vtnet1", "enp3s0", plan.sut.machine.mac
    )
    assert plan.sut.interface == "vtnet1"
    assert {n.mac for n in plan.tenants[0].router.neighbours} == {"52:54:00:aa:bb:01"}


def test_records_name_hosts_services_and_what_the_topology_adds() -> None:
    plan = plan_of(
        "tenants: {alpha: {network6: null, services: {kdc: , ldap: ,"
        " dns: {records: {app.corp.test: 192.168.0.9}}}}}"
    )
    tenant = plan.tenants[0]
    for record in (
        Record("server.alpha.test.", "A", "10.64.0.1"),
        Record("1.0.64.10.in-addr.arpa.", "PTR", "server.alpha.test."),
        Record("_ldap._tcp.alpha.test.", "SRV", "0 0 389 ldap.alpha.test."),
        Record("_kerberos._tcp.alpha.test.", "SRV", "0 0 88 kdc.alpha.test."),
        Record("_kerberos.alpha.test.", "TXT", '"ALPHA.TEST"'),
        Record("app.corp.test.", "A", "192.168.0.9"),
    ):
        assert record in tenant.records
    assert tenant.probe_name == "app.corp.test"
    assert tenant.container(Role.DNS).hostname == "dns.alpha.test"


def test_tenant_without_dns_is_configured_by_address() -> None:
    plan = plan_of("tenants: {alpha: {services: {ldap: {}}}}")
    tenant = json.loads(daemon_config(plan))["tenants"][0]
    assert (tenant["ldap"]["host"], tenant["resolve"]) == ("192.168.0.89", None)


def test_a_thousand_tenants_are_planned_soon() -> None:
    deadline = Deadline.after(10)
    tenants = "".join(f"  t{index}: {{}}\n" for index in range(1000))
    plan = plan_of(f"defaults: {{services: {{ldap: {{}}}}}}\ntenants:\n{tenants}")
    assert str(plan.tenants[-1].server_addresses[0]) == "10.64.31.57/29"
    assert not deadline.is_over
