"""Frames at a wrong router: leaks of whatever sender, and strays, which the SUT has sent."""

from ipaddress import ip_address
from pathlib import Path

import pytest

from testbed.model.load import load_topology
from testbed.plan.build import build_plan
from testbed.plan.identity import DeploymentId
from testbed.plan.resources import Plan
from testbed.probe.capture import Frame
from testbed.probe.wire import leaks, strays


@pytest.fixture(scope="module")
def plan() -> Plan:
    topology = load_topology(Path(__file__).parents[3] / "topologies/proposal.yaml")
    return build_plan(topology, DeploymentId("abcdef"))


def packet(sender: str, receiver: str, source: str, destination: str = "") -> Frame:
    """Return a frame with nothing but MACs and the header up to the addresses."""
    address = ip_address(source)
    to = ip_address(destination).packed if destination else b""
    kind, header = (b"\x08\x00", 12) if address.version == 4 else (b"\x86\xdd", 8)
    macs = bytes.fromhex((receiver + sender).replace(":", ""))
    return Frame(0.0, macs + kind + bytes(header) + address.packed + to.ljust(40, b"\0"))


@pytest.mark.parametrize("version", [4, 6])
def test_own_router_is_right_and_any_other_is_not(version: int, plan: Plan) -> None:
    alpha, bravo = plan.tenants[:2]
    sut = plan.sut.machine.mac
    source = next(str(a.ip) for a in alpha.server_addresses if a.version == version)
    right = packet(sut, alpha.router.uplink.mac, source)
    wrong = packet(sut, bravo.router.uplink.mac, source)
    forged = packet(alpha.router.uplink.mac, bravo.router.uplink.mac, source)
    (found,) = strays(plan, [right, wrong, forged])
    assert (found.frame, found.router_of) == (wrong, bravo.name)


def test_address_of_nobody_at_a_router_is_a_stray_and_of_the_link_is_not(plan: Plan) -> None:
    router, sut = plan.tenants[0].router.uplink.mac, plan.sut.machine.mac
    assert strays(plan, [packet(sut, router, "192.0.2.1")])
    assert not strays(plan, [packet(sut, router, "fe80::1")])


def test_packet_to_a_station_of_nobody_is_a_stray_and_to_a_group_is_not(plan: Plan) -> None:
    alpha, sut = plan.tenants[0], plan.sut.machine.mac
    source = str(alpha.server_addresses[0].ip)
    to_nobody = packet(sut, "02:00:00:00:00:99", source)
    to_all = packet(sut, "ff:ff:ff:ff:ff:ff", source)
    (found,) = strays(plan, [to_nobody, to_all])
    assert (found.frame, found.router_of) == (to_nobody, "")


def test_request_to_another_tenants_server_leaks_and_a_report_to_the_link_does_not(
    plan: Plan,
) -> None:
    alpha, bravo = plan.tenants[:2]
    router, sut = alpha.router.uplink.mac, plan.sut.machine.mac
    client = "192.168.0.1"
    own = packet(router, sut, client, str(alpha.server_addresses[0].ip))
    others = packet(router, sut, client, str(bravo.server_addresses[0].ip))
    nobodys = packet(router, sut, client, "224.0.1.1")
    reports = [
        packet(router, "33:33:00:00:00:16", "fe80::1", "ff02::16"),
        packet(router, "01:00:5e:00:00:16", client, "224.0.0.22"),
    ]
    assert [leak.frame for leak in leaks(plan, [own, others, nobodys, *reports])] == [
        others,
        nobodys,
    ]


def test_forgery_of_tenants_that_are_not_asked_about_is_no_leak_unless_it_has_a_nonce(
    plan: Plan,
) -> None:
    """A scenario beside may forge frames of the tenants that it has leased."""
    alpha, bravo, charlie = plan.tenants[:3]
    router, sut = alpha.router.uplink.mac, plan.sut.machine.mac
    forged = packet(router, sut, "192.168.0.1", "192.168.0.1")
    assert leaks(plan, [forged], [alpha])
    assert leaks(plan, [forged])
    assert not leaks(plan, [forged], [bravo, charlie])
    assert leaks(plan, [forged], [bravo], nonces={"\0" * 8: bravo.name})
    to_bravo = packet(router, sut, "192.168.0.1", str(bravo.server_addresses[0].ip))
    assert leaks(plan, [to_bravo], [bravo])
    assert not leaks(plan, [to_bravo], [charlie])
