"""Strategies for correct topologies: small ones in which every choice of the address plan occurs."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from testbed.model.load import parse_topology
from testbed.model.topology import Topology
from testbed.plan.build import build_plan
from testbed.plan.identity import ID_ALPHABET, ID_LENGTH, DeploymentId, parse_deployment_id
from testbed.plan.resources import Plan

ids = st.text(ID_ALPHABET, min_size=ID_LENGTH, max_size=ID_LENGTH).map(parse_deployment_id)
_labels = st.from_regex(r"[a-z]([a-z0-9-]{0,30}[a-z0-9])?", fullmatch=True)


def _servers(index: int) -> st.SearchStrategy[Any]:
    """Numbers, and lists that mix the tenant's block with addresses elsewhere."""
    elsewhere = {"v4": f"10.96.{index}.1", "v6": f"fd00:96:{index}::1"}
    lists = [[{}, elsewhere], [elsewhere], [{"v6": None}], [elsewhere, {"v6": None}, {}]]
    return st.integers(1, 5) | st.sampled_from(lists)


def _networks(index: int) -> st.SearchStrategy[dict[str, Any]]:
    """Return what tenants' LANs may be: alike, partly alike, or over other tenants' blocks."""
    other = 8 * (index % 2)  # the first tenant's block, or the second's
    over = {
        "network": f"10.64.0.{other}/29",
        "client": f"10.64.0.{other + 1}",
        "router": f"10.64.0.{other + 6}",
    }
    choices: list[dict[str, Any]] = [{}, {"network": "192.168.0.0/16"}, {"network6": None}]
    return st.sampled_from([*choices, over] if index <= 2 else choices)


_services = st.fixed_dictionaries(
    {},
    optional={
        "dns": st.just({"records": {"app.corp.test": ["192.168.0.9", "fd00:c0a8::9"]}}),
        "ldap": st.sampled_from([{}, {"base_dn": "dc=corp"}, {"tls": True, "second": {}}]),
        "kdc": st.just({"realm": "CORP.TEST"}) | st.just({}),
    },
)
_routes = st.sampled_from(
    [[], [{"to": "172.16.0.0/12"}], [{"to": "0.0.0.0/0"}, {"to": "172.16.8.0/21"}]]
)


@st.composite
def _tenant(draw: st.DrawFn, index: int) -> dict[str, Any]:
    tenant = dict(draw(_networks(index)))
    wants_services = "client" not in tenant  # a /29 has no room for .53
    servers = draw(_servers(index))
    if tenant.get("network6", ...) is None and isinstance(servers, list):
        servers = [{key: v for key, v in server.items() if key == "v4"} for server in servers]
    tenant |= {
        "servers": servers,
        "services": draw(_services) if wants_services else {},
        "routes": draw(_routes),
        "users": {"ann": f"password-of-{index}"},
    }
    if draw(st.booleans()):
        tenant["next_hop"] = f"10.97.{index}.1"
    return tenant


@st.composite
def topologies(draw: st.DrawFn) -> Topology:
    """Return a topology of one to five tenants."""
    names = draw(st.lists(_labels, min_size=1, max_size=5, unique=True))
    sut: dict[str, Any] = {}
    if draw(st.booleans()):
        sut["addresses"] = [{"v4": "10.79.255.1", "v6": "fd00:64:ffff::1"}]
    if draw(st.booleans()):
        sut["interface_fib"] = draw(st.sampled_from(names))
    tenants = {name: draw(_tenant(index)) for index, name in enumerate(names, start=1)}
    if draw(st.booleans()):  # a part of a larger one
        for index, tenant in enumerate(tenants.values(), start=1):
            tenant["fib"] = 300 + 7 * index
    return parse_topology(json.dumps({"sut": sut, "tenants": tenants}), where="t.yaml", name="t")


plans = st.builds(build_plan, topologies(), ids)


def plan_of(text: str, deployment: str = "aaaaaa") -> Plan:
    """Return the plan of a topology written in a test."""
    return build_plan(parse_topology(text, where="t.yaml", name="t"), DeploymentId(deployment))
