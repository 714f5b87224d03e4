"""What a correct topology means: defaults, merging, and the address plan."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from pathlib import Path

from testbed.model.allocation import FamilyAddresses, allocate
from testbed.model.load import load_topology, parse_topology
from testbed.model.topology import Topology

TOPOLOGIES = Path(__file__).parents[3] / "topologies"


def parse(text: str) -> Topology:
    return parse_topology(text, where="t.yaml", name="t")


def addresses(topology: Topology, name: str) -> tuple[FamilyAddresses, ...]:
    index = list(topology.tenants).index(name) + 1
    return allocate(topology, topology.tenants[name], index)


def test_shortest_topology_has_a_tenant_with_both_families() -> None:
    topology = parse("tenants: {alpha}")
    v4, v6 = addresses(topology, "alpha")
    assert (topology.name, topology.domain_of("alpha")) == ("t", "alpha.test")
    assert (str(v4.client), str(v4.router)) == ("192.168.0.1", "192.168.0.254")
    assert (str(v6.client), str(v6.router)) == ("fd00:c0a8::1", "fd00:c0a8::fe")
    assert (str(v4.servers[0]), str(v4.next_hop)) == ("10.64.0.1", "10.64.0.6")
    assert (str(v6.servers[0]), str(v6.next_hop)) == ("fd00:64:0:1::1", "fd00:64:0:1::fe")


def test_services_have_the_same_host_number_in_every_tenant() -> None:
    v4, v6 = addresses(parse("tenants: {alpha: {services: {dns, ldap, kdc}}}"), "alpha")
    assert {name: str(found) for name, found in v4.services.items()} == {
        "dns": "192.168.0.53",
        "ldap": "192.168.0.89",
        "kdc": "192.168.0.88",
    }
    assert [str(found) for found in v6.services.values()] == [
        "fd00:c0a8::53",
        "fd00:c0a8::89",
        "fd00:c0a8::88",
    ]


def test_tenant_overrides_defaults_key_by_key() -> None:
    topology = parse(
        "defaults: {servers: 2, services: {dns, ldap}}\n"
        "tenants: {alpha: {}, bravo: {services: {kdc: {}}, servers: 3}}"
    )
    alpha, bravo = topology.tenants.values()
    assert (len(alpha.servers), list(alpha.services.present())) == (2, ["dns", "ldap"])
    assert (len(bravo.servers), list(bravo.services.present())) == (3, ["kdc"])


def test_block_follows_the_index() -> None:
    topology = parse("tenants: {a: {}, b: {}, c: {servers: 5}}")
    v4, v6 = addresses(topology, "c")
    assert (v4.block, v6.block) == (ip_network("10.64.0.16/29"), ip_network("fd00:64:0:3::/64"))
    assert [str(server) for server in v4.servers] == [f"10.64.0.{n}" for n in range(17, 22)]


def test_ipv6_can_be_switched_off_for_a_tenant_or_a_server() -> None:
    topology = parse("tenants: {a: {network6: null}, b: {servers: [{}, {v6: null}]}}")
    assert [family.version for family in addresses(topology, "a")] == [4]
    _, v6 = addresses(topology, "b")
    assert v6.servers == (ip_address("fd00:64:0:2::1"), None)


def test_client_may_have_the_number_of_another_tenants_server() -> None:
    topology = parse(
        "tenants:\n"
        "  alpha: {}\n"
        "  bravo: {network: 10.64.0.0/29, client: 10.64.0.1, router: 10.64.0.6}"
    )
    alpha, bravo = addresses(topology, "alpha")[0], addresses(topology, "bravo")[0]
    assert bravo.client == alpha.servers[0]
    assert bravo.router == alpha.next_hop


def test_login_defaults_to_what_there_is() -> None:
    topology = parse(
        "tenants: {a: {services: {kdc}}, b: {services: {kdc, ldap}}, c: {},"
        " d: {services: {kdc, ldap}, login: kerberos}}"
    )
    methods = [tenant.method for tenant in topology.tenants.values()]
    assert methods == ["kerberos", "ldap", None, "kerberos"]


def test_plain_no_is_text() -> None:
    assert parse("tenants: {a: {users: {ann: no}}}").tenants["a"].users == {"ann": "no"}


def test_proposal_is_what_the_proposal_says() -> None:
    topology = load_topology(TOPOLOGIES / "proposal.yaml")
    methods = {name: tenant.method for name, tenant in topology.tenants.items()}
    assert methods == {"alpha": "ldap", "bravo": "kerberos", "charlie": "ldap"}
    assert [len(tenant.servers) for tenant in topology.tenants.values()] == [1, 2, 1]
    networks = {tenant.network for tenant in topology.tenants.values()}
    assert networks == {ip_network("192.168.0.0/24")}
    assert topology.sut.interface_fib == "charlie"
    assert len(topology.sut.addresses) == 1


def test_twins_differ_in_passwords_alone() -> None:
    castor, pollux = load_topology(TOPOLOGIES / "twins.yaml").tenants.values()
    assert castor.users.keys() == pollux.users.keys()
    assert not set(castor.users.values()) & set(pollux.users.values())
    same = pollux.users
    assert castor.model_copy(update={"users": same}) == pollux
    assert list(castor.services.present()) == ["dns", "ldap", "ldap2", "kdc", "kdc2"]


def test_recorded_copy_is_read_as_the_file_it_was_made_of(tmp_path: Path) -> None:
    source, copy = tmp_path / "small.yaml", tmp_path / "topology.yaml"
    for path in (source, copy):
        path.write_text("tenants: {a: {}}\n")
    topology = load_topology(source)
    assert load_topology(copy, name="small") is topology  # not read again: it may be large
    assert load_topology(copy).name == "topology"
    source.write_text("tenants: {b: {}}\n")
    assert list(load_topology(source).tenants) == ["b"]
