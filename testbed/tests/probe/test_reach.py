"""What ping's words mean, and what the oracle has to say to an answer."""

from ipaddress import ip_address
from pathlib import Path

import pytest

from testbed.model.load import load_topology
from testbed.plan.build import build_plan
from testbed.plan.fib import expected_arrival
from testbed.plan.identity import DeploymentId
from testbed.plan.resources import Plan
from testbed.probe.journal import Entry
from testbed.probe.reach import Echo, _read_echo


@pytest.fixture(scope="module")
def plan() -> Plan:
    topology = load_topology(Path(__file__).parents[3] / "topologies/proposal.yaml")
    return build_plan(topology, DeploymentId("abcdef"))


@pytest.mark.parametrize(
    ("output", "echo", "ok"),
    [
        ("3 packets transmitted, 3 received, 0% packet loss", Echo(3, 3, ""), True),
        ("3 packets transmitted, 2 received, 33% packet loss", Echo(3, 2, ""), False),
        (
            """From 192.168.0.254 icmp_seq=1 Destination Host Unreachable
            1 packets transmitted, 0 received, +1 errors, 100% packet loss""",
            Echo(1, 0, "Destination Host Unreachable"),
            False,
        ),
        (
            "ping: connect: Network is unreachable\n",
            Echo(0, 0, "ping: connect: Network is unreachable"),
            False,
        ),
    ],
)
def test_ping_is_answered_when_packets_were_sent_and_all_came_back(
    output: str, echo: Echo, *, ok: bool
) -> None:
    assert _read_echo(output) == echo
    assert echo.ok is ok


@pytest.mark.parametrize(
    ("address", "is_there", "agrees"),
    [
        ("10.64.0.1", True, True),
        ("10.64.0.1", False, False),
        ("10.64.0.9", True, False),
        ("10.64.0.9", False, True),
        ("192.168.0.53", True, None),
        ("192.168.0.53", False, None),
    ],
    ids=["own", "own lost", "another's", "another's lost", "in the lan", "in the lan, lost"],
)
def test_oracle_judges_what_goes_to_the_sut_alone(
    address: str, plan: Plan, *, is_there: bool, agrees: bool | None
) -> None:
    entry = Entry()
    expected = expected_arrival(plan, plan.tenant("alpha"), ip_address(address))
    entry.reached("an answer", expected, is_there=is_there)
    assert entry.agrees is agrees
    assert bool(entry.expected) is (agrees is not None)
