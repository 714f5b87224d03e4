"""Whatever a file holds, the loader answers with a topology or with problems that can be shown."""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.deadline import Deadline
from testbed.errors import Problem, TopologyError
from testbed.model import topology
from testbed.model.load import load_topology, parse_topology

TOPOLOGIES = Path(__file__).parents[3] / "topologies"
PROPOSAL = (TOPOLOGIES / "proposal.yaml").read_text()

MODELS = (
    *(topology.Topology, topology.Uplink, topology.Sut, topology.Ssh, topology.LocalAddress),
    *(topology.Tenant, topology.Services, topology.Dns, topology.Ldap, topology.Kdc),
    *(topology.Server, topology.Route),
)
KEYS = sorted({key for model in MODELS for key in model.model_fields})
KEYS += ["count", "mix", "share", "defaults", "alpha", "bravo", "<<", "0"]
VALUES = [
    *("alpha", "ldap", "kerberos", "vm", "ssh", "ALPHA.TEST", "dc=alpha,dc=test"),
    *("{n}", "{name}", "{10.64.0.1 + 8}", "{", "{{x}}"),
    *("192.168.0.1", "10.64.0.1", "10.64.0.6", "255.255.255.255", "02:00:00:00:00:01"),
    *("fd00:64:0:1::1", "fd00:c0a8::1", "ff02::1", "::ffff:1.2.3.4", "fe80::1%eth0"),
    *("192.168.0.0/24", "10.64.0.0/29", "223.255.255.252/30", "0.0.0.0/0", "255.0.0.0/8"),
    *("fd00:c0a8::/64", "fd00::/126", "::/0", "feff:ffff:ffff:ffff::/64"),
]

scalars = (
    st.sampled_from(VALUES)
    | st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
)
trees = st.recursive(
    scalars,
    lambda children: (
        st.lists(children, max_size=3)
        | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=4), children, max_size=5)
    ),
    max_leaves=20,
)


def problems_of(text: str) -> tuple[Problem, ...]:
    try:
        parse_topology(text, where="t.yaml", name="t")
    except TopologyError as error:
        return error.problems or (Problem("nowhere", "", ""),)
    return ()


def check(text: str) -> None:
    problems = problems_of(text)
    lines = len(re.split(r"\r\n|[\n\r\x85\u2028\u2029]", text))
    assert len({str(problem) for problem in problems}) == len(problems)
    for problem in problems:
        where = re.fullmatch(r"t\.yaml:(\d+):(\d+)", problem.where)
        assert where, problem
        assert 1 <= int(where[1]) <= lines + 1
        assert problem.what.isprintable(), problem
        assert problem.hint.isprintable(), problem


@given(st.binary(max_size=200))
@settings(max_examples=60, deadline=None)
def test_any_bytes(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(data)
    with contextlib.suppress(TopologyError):
        load_topology(path)


@given(
    st.text(alphabet=st.sampled_from("abt: \n-{}[],&*!|>'\"%@`#?~0.\t\\\x85\u2028"), max_size=60)
)
@settings(max_examples=60, deadline=None)
def test_any_yaml_like_text(text: str) -> None:
    check(text)


@given(trees)
@settings(max_examples=60, deadline=None)
def test_any_tree(tree: object) -> None:
    check(json.dumps(tree))


@given(
    st.fixed_dictionaries({"tenants": st.dictionaries(st.sampled_from(KEYS), trees, max_size=4)})
)
@settings(max_examples=60, deadline=None)
def test_any_tenants(tree: object) -> None:
    check(json.dumps(tree))


def base() -> dict[str, Any]:
    """Return a topology in which every key occurs."""
    tenant = {
        "network": "10.1.0.0/24",
        "network6": "fd01::/64",
        "client": "10.1.0.1",
        "client6": "fd01::1",
        "router": "10.1.0.254",
        "router6": "fd01::fe",
        "services": {
            "dns": {"address": "10.1.0.53", "address6": "fd01::53", "records": {"a.b": "1.2.3.4"}},
            "ldap": {"base_dn": "dc=a"},
            "kdc": {"realm": "A"},
        },
        "servers": [{"v4": "10.96.0.1", "v6": "fd02::1"}],
        "next_hop": "10.96.0.2",
        "next_hop6": "fd02::2",
        "domain": "a.test",
        "users": {"ann": "x"},
        "login": "ldap",
        "routes": [{"to": "10.2.0.0/16", "via": "10.1.0.7"}],
    }
    return {
        "name": "base",
        "description": "all keys",
        "uplink": {"v4": "10.64.0.0/12", "v6": "fd00:64::/32"},
        "sut": {"kind": "vm", "memory_mib": 512, "cpus": 1, "interface_fib": "alpha"},
        "defaults": {"users": {"ann": "y"}},
        "tenants": {"alpha": tenant, "bravo": {}},
    }


def places(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    items: Any = tree.items() if isinstance(tree, dict) else []
    if isinstance(tree, list):
        items = enumerate(tree)
    for key, value in items:
        found += places(value, (*path, key))
    return found


@given(st.sampled_from(places(base())), trees)
@settings(max_examples=60, deadline=None)
def test_any_value_in_any_place(path: tuple[Any, ...], value: object) -> None:
    tree: Any = base()
    node = tree
    for step in path[:-1]:
        node = node[step]
    node[path[-1]] = value
    check(json.dumps(tree, indent=1))


@given(
    st.integers(0, len(PROPOSAL)),
    st.integers(0, 12),
    st.text(st.sampled_from("abc:{}[]-#'\"&*!\n 0\t\x00\ud800"), max_size=4),
)
@settings(max_examples=60, deadline=None)
def test_any_slip_of_the_pen(start: int, length: int, text: str) -> None:
    check(PROPOSAL[:start] + text + PROPOSAL[start + length :])


def test_base_is_correct() -> None:
    assert parse_topology(json.dumps(base()), where="t.yaml", name="t").name == "base"


def test_wrong_default_is_told_once_and_soon() -> None:
    tenants = "".join(f"  t{index}: {{}}\n" for index in range(500))
    deadline = Deadline.after(5)
    with pytest.raises(TopologyError) as caught:
        parse_topology(
            f"defaults: {{client: 10.0.0.1, cpus: 1}}\ntenants:\n{tenants}", where="t", name="t"
        )
    assert len(caught.value.problems) == 2
    assert not deadline.is_over
