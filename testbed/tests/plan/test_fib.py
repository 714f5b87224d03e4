"""The oracle against brute force, and its verdicts on the cases the specification names."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.plan.fib import (
    Accepted,
    Delivered,
    Errno,
    Forwarded,
    Loss,
    Lost,
    Refused,
    admit,
    expected_arrival,
    expected_reply,
    fib_of,
    local_fibs,
    longest_match,
    lookup,
)
from testbed.plan.resources import UNASSIGNED, Address, FibId, Mac, Plan, Role, Route
from testbed.tests.plan.topologies import plan_of, plans

FAST = settings(max_examples=20, deadline=None)

# Few distinct bits, so that networks nest and addresses hit them.
_v4 = st.integers(0, 0xFF).map(lambda n: IPv4Address(0x0A000000 | n << 20 | n))
_v6 = st.integers(0, 0xFF).map(lambda n: IPv6Address(0xFD << 120 | n << 60 | n))


def _network(address: Address, length: int) -> IPv4Network | IPv6Network:
    if isinstance(address, IPv4Address):
        return IPv4Network((address, length), strict=False)
    return IPv6Network((address, length), strict=False)


_networks = st.builds(_network, _v4, st.integers(0, 32)) | st.builds(
    _network, _v6, st.integers(0, 128)
)
_routes = st.lists(_networks.map(Route), max_size=20, unique=True)


def brute_force(routes: list[Route], destination: Address) -> Route | None:
    """Try every prefix length from the longest, comparing bit by bit."""
    bits = f"{int(destination):0{destination.max_prefixlen}b}"
    for length in range(len(bits), -1, -1):
        for route in routes:
            to = f"{int(route.to.network_address):0{route.to.max_prefixlen}b}"
            if (
                len(to) == len(bits)
                and route.to.prefixlen == length
                and to[:length] == bits[:length]
            ):
                return route
    return None


@given(_routes, _v4 | _v6)
@settings(max_examples=100, deadline=None)
def test_longest_match_is_that_of_brute_force(routes: list[Route], destination: Address) -> None:
    assert longest_match(routes, destination) == brute_force(routes, destination)


@given(plans)
@FAST
def test_every_local_address_has_one_fib(plan: Plan) -> None:
    fibs = local_fibs(plan)
    for address, fib in fibs.items():
        assert fib_of(plan, address) == fib
    assert fib_of(plan, ip_address("203.0.113.1")) == UNASSIGNED
    assert len(fibs) == len(plan.sut.unassigned) + sum(len(f.addresses) for f in plan.sut.fibs)


@given(plans)
@FAST
def test_client_reaches_its_own_servers_and_no_others(plan: Plan) -> None:
    for tenant in plan.tenants:
        for address, fib in local_fibs(plan).items():
            arrival = expected_arrival(plan, tenant, address)
            if fib == tenant.fib and address.version in {s.version for s in tenant.network.subnets}:
                assert arrival == Accepted(fib)
            else:
                assert isinstance(arrival, Lost)


@given(plans)
@FAST
def test_reply_leaves_by_the_router_of_the_local_address(plan: Plan) -> None:
    for tenant in plan.tenants:
        for client in tenant.container(Role.CLIENT).addresses:
            for local in (server.ip for server in tenant.server_addresses):
                if local.version != client.version:
                    continue
                next_hop = next(
                    address.ip
                    for address in tenant.router.uplink.addresses
                    if address.version == local.version
                )
                expected = Forwarded(local, next_hop, tenant.router.uplink.mac)
                assert expected_reply(plan, local, client.ip) == expected


@given(plans)
@FAST
def test_no_fib_ever_sends_to_another_tenants_router(plan: Plan) -> None:
    macs = {tenant.fib: tenant.router.uplink.mac for tenant in plan.tenants}
    targets = [*local_fibs(plan), ip_address("192.168.0.1"), ip_address("fd00:c0a8::1")]
    targets += [a.ip for tenant in plan.tenants for a in tenant.router.uplink.addresses]
    for fib, mac in macs.items():
        for target in targets:
            verdict = lookup(plan, fib, target)
            if isinstance(verdict, Forwarded):
                assert verdict.mac in {mac, None}
                assert fib_of(plan, verdict.source) == fib
            if isinstance(verdict, Delivered):
                assert fib_of(plan, target) == fib


PROPOSAL = plan_of(
    "sut: {interface_fib: charlie, addresses: [{v4: 10.79.255.1}]}\n"
    "tenants:\n"
    "  alpha: {services: {dns: {}, ldap: {}}}\n"
    "  bravo: {servers: 2}\n"
    "  charlie: {routes: [{to: 172.16.0.0/12}]}\n"
    "  delta: {network: 10.64.0.0/29, client: 10.64.0.1, router: 10.64.0.6, network6: null}"
)
ALPHA, BRAVO, CHARLIE, DELTA = PROPOSAL.tenants
CLIENT = ip_address("192.168.0.1")
S1, S2, S3, S4 = (tenant.server_addresses[0].ip for tenant in PROPOSAL.tenants)
UNASSIGNED_ADDRESS = PROPOSAL.sut.unassigned[0].ip


def router(tenant: object) -> Mac:
    return next(t for t in PROPOSAL.tenants if t is tenant).router.uplink.mac


def test_address_without_fib_takes_the_interfaces() -> None:
    assert fib_of(PROPOSAL, UNASSIGNED_ADDRESS) == CHARLIE.fib
    assert expected_arrival(PROPOSAL, CHARLIE, UNASSIGNED_ADDRESS) == Accepted(CHARLIE.fib)
    assert expected_arrival(PROPOSAL, ALPHA, UNASSIGNED_ADDRESS) == Lost(Loss.NO_ROUTE)
    reply = expected_reply(PROPOSAL, UNASSIGNED_ADDRESS, CLIENT)
    assert reply == Forwarded(UNASSIGNED_ADDRESS, ip_address("10.64.0.22"), router(CHARLIE))


def test_same_destination_goes_to_each_tenants_own_router() -> None:
    verdicts = [lookup(PROPOSAL, tenant.fib, CLIENT) for tenant in (ALPHA, BRAVO, CHARLIE)]
    assert verdicts == [
        Forwarded(S1, ip_address("10.64.0.6"), router(ALPHA)),
        Forwarded(S2, ip_address("10.64.0.14"), router(BRAVO)),
        Forwarded(S3, ip_address("10.64.0.22"), router(CHARLIE)),
    ]


def test_another_tenants_server_address_is_never_delivered_locally() -> None:
    assert lookup(PROPOSAL, ALPHA.fib, S1) == Delivered(S1)
    assert lookup(PROPOSAL, ALPHA.fib, S2) == Refused(Errno.ENETUNREACH)


def test_client_that_owns_another_tenants_server_address_is_served() -> None:
    assert expected_arrival(PROPOSAL, DELTA, S4) == Accepted(DELTA.fib)
    reply = expected_reply(PROPOSAL, S4, S1)  # delta's client has alpha's server address
    assert reply == Forwarded(S4, ip_address("10.64.0.30"), router(DELTA))


def test_fib_0_and_fibs_nobody_has_reach_no_tenant() -> None:
    for fib in (UNASSIGNED, FibId(77), FibId(-1)):
        assert lookup(PROPOSAL, fib, CLIENT) == Refused(Errno.ENETUNREACH)


def test_foreign_source_address_cannot_be_used() -> None:
    refused = Refused(Errno.EADDRNOTAVAIL)
    assert lookup(PROPOSAL, ALPHA.fib, CLIENT, source=S2) == refused
    assert expected_reply(PROPOSAL, ip_address("203.0.113.1"), CLIENT) == refused


def test_second_address_of_a_tenant_answers_from_itself() -> None:
    second = BRAVO.server_addresses[1].ip
    reply = expected_reply(PROPOSAL, second, CLIENT)
    assert reply == Forwarded(second, ip_address("10.64.0.14"), router(BRAVO))


def test_extra_route_is_in_its_own_fib_alone() -> None:
    beyond = ip_address("172.20.1.1")
    assert isinstance(lookup(PROPOSAL, CHARLIE.fib, beyond), Forwarded)
    assert lookup(PROPOSAL, ALPHA.fib, beyond) == Refused(Errno.ENETUNREACH)


def test_on_the_link_without_a_known_neighbour() -> None:
    free = ip_address("10.64.0.3")
    assert lookup(PROPOSAL, ALPHA.fib, free) == Forwarded(S1, free, None)
    assert expected_arrival(PROPOSAL, ALPHA, free) == Lost(Loss.NOBODY)


def test_groups_are_not_for_tenants_whatever_their_routes() -> None:
    plan = plan_of('tenants: {alpha: {routes: [{to: 0.0.0.0/0}, {to: "::/0"}]}}')
    assert isinstance(lookup(plan, FibId(1), ip_address("203.0.113.1")), Forwarded)
    for group in ("224.0.0.1", "ff0e::1"):
        assert lookup(plan, FibId(1), ip_address(group)) == Refused(Errno.ENETUNREACH)


def test_where_a_packet_is_lost_before_the_sut() -> None:
    def loss(destination: str, tenant: object = ALPHA) -> object:
        found = next(t for t in PROPOSAL.tenants if t is tenant)
        return expected_arrival(PROPOSAL, found, ip_address(destination))

    assert loss("192.168.0.89") == Lost(Loss.LAN)
    assert loss("10.64.0.6") == Lost(Loss.ROUTER)
    assert loss("10.64.0.9") == Lost(Loss.NO_ROUTE)
    assert loss("fd00:64:0:1::1", DELTA) == Lost(Loss.NO_FAMILY)


def test_packet_from_another_tenants_router_is_dropped() -> None:
    assert admit(PROPOSAL, router(ALPHA), CLIENT, S1) == Accepted(ALPHA.fib)
    assert admit(PROPOSAL, router(BRAVO), CLIENT, S1) == Lost(Loss.SENDER)
    assert admit(PROPOSAL, PROPOSAL.sut.machine.mac, CLIENT, S1) == Lost(Loss.SENDER)


def test_our_own_packet_sent_back_is_dropped() -> None:
    # A socket of FIB 1 connects to S2; alpha's router sends the packet back to the SUT (P31).
    assert admit(PROPOSAL, router(ALPHA), S1, S2) == Lost(Loss.HAIRPIN)
    assert admit(PROPOSAL, router(ALPHA), S1, S1) == Lost(Loss.HAIRPIN)
    # The same source from the router behind which a host rightly has it.
    assert admit(PROPOSAL, router(DELTA), S1, S4) == Accepted(DELTA.fib)


def test_packet_to_nobody_is_not_delivered() -> None:
    nobody = ip_address("203.0.113.1")
    assert admit(PROPOSAL, router(CHARLIE), CLIENT, nobody) == Lost(Loss.NOT_LOCAL)
    assert admit(PROPOSAL, router(ALPHA), CLIENT, nobody) == Lost(Loss.SENDER)


def test_forged_source_is_judged_as_what_it_claims() -> None:
    assert expected_arrival(PROPOSAL, ALPHA, S1, source=S1) == Lost(Loss.HAIRPIN)
    assert expected_arrival(PROPOSAL, ALPHA, S1, source=S2) == Accepted(ALPHA.fib)


def test_without_interface_fib_unassigned_addresses_are_in_fib_0() -> None:
    plan = plan_of("sut: {addresses: [{v4: 10.79.255.1}]}\ntenants: {alpha: {}}")
    own = plan.sut.unassigned[0].ip
    assert fib_of(plan, own) == UNASSIGNED
    assert lookup(plan, UNASSIGNED, own) == Delivered(own)
    assert expected_reply(plan, own, CLIENT) == Refused(Errno.ENETUNREACH)
    assert admit(plan, plan.tenants[0].router.uplink.mac, CLIENT, own) == Accepted(UNASSIGNED)
    assert expected_arrival(plan, plan.tenants[0], own) == Lost(Loss.NO_ROUTE)
