"""The leak matrix: what a cell takes for a proof, and what for a leak."""

from pathlib import Path

import pytest

from testbed.model.load import load_topology
from testbed.plan.build import build_plan
from testbed.plan.identity import DeploymentId
from testbed.plan.resources import Plan
from testbed.probe.capture import Frame
from testbed.probe.matrix import Cell, Direction, Protocol, Talk, judge
from testbed.probe.scapy_loading import load_scapy

MARK = "m0123456789abcdef"


@pytest.fixture(scope="module")
def plan() -> Plan:
    topology = load_topology(Path(__file__).parents[3] / "topologies/proposal.yaml")
    return build_plan(topology, DeploymentId("abcdef"))


def frame(plan: Plan, tenant: str, port: int, *, is_sent: bool, data: str = MARK) -> Frame:
    """Return a datagram between the SUT and a port in a tenant's network, or back."""
    load_scapy()
    from scapy.layers.inet import IP, UDP  # noqa: PLC0415 - as `load_scapy` wants it
    from scapy.layers.l2 import Ether  # noqa: PLC0415

    sut, router = plan.sut.machine.mac, plan.tenant(tenant).router.uplink.mac
    source, target = (sut, router) if is_sent else (router, sut)
    sport, dport = (5000, port) if is_sent else (port, 5000)
    packet = IP(src="192.0.2.1", dst="192.0.2.2") / UDP(sport=sport, dport=dport) / data.encode()
    return Frame(0.0, bytes(Ether(src=source, dst=target) / packet))


def cells(plan: Plan, protocol: Protocol, port: int, frames: list[Frame]) -> dict[str, Cell]:
    """Return the cells of one conversation of alpha's, by receiver."""
    talk = Talk("alpha", Direction.OUTBOUND, protocol, MARK.encode(), port)
    return {cell.receiver: cell for cell in judge(plan, [talk], frames)}


def test_question_and_answer_at_the_own_router_are_a_proof(plan: Plan) -> None:
    frames = [frame(plan, "alpha", 53, is_sent=is_sent) for is_sent in (True, False)]
    assert all(cell.ok for cell in cells(plan, Protocol.DNS, 53, frames).values())


def test_question_without_answer_is_a_proof_only_where_answers_repeat_nothing(plan: Plan) -> None:
    asked = [frame(plan, "alpha", port, is_sent=True) for port in (53, 389)]
    assert not cells(plan, Protocol.DNS, 53, asked)["alpha"].ok
    assert cells(plan, Protocol.LDAP, 389, asked)["alpha"].ok


def test_clients_own_request_is_no_proof_that_the_sut_has_asked(plan: Plan) -> None:
    request = [frame(plan, "alpha", 7007, is_sent=is_sent) for is_sent in (True, False)]
    assert not cells(plan, Protocol.LDAP, 389, request)["alpha"].ok


@pytest.mark.parametrize("port", [389, 7007])
def test_any_frame_of_it_at_a_strangers_router_is_a_leak(port: int, plan: Plan) -> None:
    found = cells(plan, Protocol.LDAP, 389, [frame(plan, "bravo", port, is_sent=True)])
    assert not found["bravo"].ok
    assert found["charlie"].ok


def test_frames_of_another_conversation_are_not_counted(plan: Plan) -> None:
    other = [frame(plan, name, 53, is_sent=True, data="other") for name in ("alpha", "bravo")]
    found = cells(plan, Protocol.DNS, 53, other)
    assert (found["alpha"].ok, found["bravo"].ok) == (False, True)
