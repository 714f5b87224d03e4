"""`fibctl explain` against the oracle, which shares no code with it: random documents, small worlds."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.fib.conformance.oracle import Oracle, bits, is_of_link, prefix
from testbed.fib.document import parse_document
from testbed.fib.explain import explain, explain_way

# Few enough that networks nest, addresses are remote ones as well, and routes lead to own addresses.
HOSTS = [f"10.0.0.{n}" for n in range(1, 9)] + [f"fd00::{n}" for n in range(1, 9)]
NETWORKS = [
    str(ip_network((host, length), strict=False))
    for host in HOSTS
    for length in ((0, 8, 28, 29, 30, 31, 32) if "." in host else (0, 64, 124, 125, 126, 127, 128))
]
HOPS = {number: {4: f"10.9.{number}.1", 6: f"fd09:{number}::1"} for number in range(1, 5)}


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    numbers = draw(st.lists(st.integers(1, 4), min_size=1, unique=True))
    owner = {host: draw(st.sampled_from([0, -1, *numbers])) for host in HOSTS}
    default = draw(st.sampled_from([0, *numbers]))
    unassigned = [host for host, fib in owner.items() if fib == -1]
    fibs = []
    for number in numbers:
        own = [host for host in HOSTS if owner[host] == number]
        own = draw(st.permutations(own))
        versions = {
            ip_address(a).version for a in (*own, *(unassigned if number == default else ()))
        }
        usable = [
            network
            for network in sorted(set(NETWORKS))
            if ip_network(network).version in versions
            and network.partition("/")[0] not in {*own, *unassigned}
        ]
        chosen = draw(st.lists(st.sampled_from(usable), unique=True)) if usable else []
        fibs.append(
            {
                "id": number,
                "name": f"tenant{number}",
                "addresses": [f"{a}/{32 if '.' in a else 128}" for a in own],
                "routes": [
                    {"to": network}
                    | (
                        {"via": HOPS[number][ip_network(network).version]}
                        if draw(st.booleans())
                        else {}
                    )
                    for network in chosen
                ],
            }
        )
    lengths = {4: 32, 6: 128}
    return {
        "version": 1,
        "interface": "eth0",
        "default_fib": default,
        "unassigned": [f"{a}/{lengths[ip_address(a).version]}" for a in unassigned],
        "fibs": fibs,
    }


@given(documents(), st.sampled_from(HOSTS))
@settings(max_examples=100, deadline=None)
def test_fib_of_an_address_is_the_oracles(document: Mapping[str, Any], local: str) -> None:
    answer = explain(parse_document(document), local, None)
    expected = Oracle(document).fib_of(local)
    assert answer["fib"] == (expected or 0)
    assert ("is no local address" in answer["because"]) == (expected is None)


@given(documents(), st.integers(1, 5), st.sampled_from([*HOSTS, "192.0.2.1", "2001:db8::1"]))
@settings(max_examples=300, deadline=None)
def test_way_is_the_oracles(document: Mapping[str, Any], fib: int, remote: str) -> None:
    answer = explain_way(parse_document(document), fib, ip_address(remote))
    expected = Oracle(document).way(fib, remote)
    assert answer["verdict"] == expected.verdict
    assert answer.get("source") == expected.source
    assert answer.get("next_hop") == expected.next_hop
    assert answer.get("route") == expected.network


@given(documents(), st.sampled_from(HOSTS), st.sampled_from(HOSTS))
@settings(max_examples=100, deadline=None)
def test_way_between_two_addresses(document: Mapping[str, Any], local: str, remote: str) -> None:
    oracle = Oracle(document)
    fib = oracle.fib_of(local)
    if not fib or (":" in local) != (":" in remote):
        return
    answer = explain(parse_document(document), local, remote)
    assert answer["verdict"] == oracle.way(fib, remote).verdict


@given(st.ip_addresses(), st.integers(0, 128))
def test_the_oracles_arithmetic_agrees_with_pythons(address: Any, length: int) -> None:
    size = min(length, address.max_prefixlen)
    network = ip_network((address, size), strict=False)
    assert bits(str(address)).startswith(prefix(str(network)))
    is_scoped = address.is_multicast or address.is_link_local or address.is_unspecified
    assert is_of_link(str(address)) == (is_scoped or str(address) == "255.255.255.255")
