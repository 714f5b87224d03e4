"""Messages as another implementation of the protocol reads them; nothing is sent."""

from __future__ import annotations

import socket
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import pytest
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.ndmsg import ndmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from testbed.drivers import rtnetlink
from testbed.drivers.rtnetlink import Message
from testbed.plan.resources import Mac, Neighbour, Route

MAC = Mac("02:00:00:00:00:07")


def read(kind: Any, message: Message) -> Any:
    body = rtnetlink._HEADER.pack(16 + len(message.body), message.kind, message.flags, 1, 0)
    parsed = kind(body + message.body)
    parsed.decode()
    return parsed


def test_veth_names_both_ends_and_the_peers_namespace() -> None:
    parsed = read(ifinfmsg, rtnetlink.add_veth("t0001", "lan", MAC, 9))
    assert parsed.get_attr("IFLA_IFNAME") == "t0001"
    info = parsed.get_attr("IFLA_LINKINFO")
    assert info.get_attr("IFLA_INFO_KIND") == "veth"
    peer = info.get_attr("IFLA_INFO_DATA").get_attr("VETH_INFO_PEER")
    assert peer.get_attr("IFLA_IFNAME") == "lan"
    assert peer.get_attr("IFLA_ADDRESS") == MAC
    assert peer.get_attr("IFLA_NET_NS_FD") == 9


def test_macvlan_is_private_and_stands_on_the_tap() -> None:
    parsed = read(ifinfmsg, rtnetlink.add_macvlan("uplink", 42, MAC, 9))
    info = parsed.get_attr("IFLA_LINKINFO")
    assert info.get_attr("IFLA_INFO_KIND") == "macvlan"
    assert info.get_attr("IFLA_INFO_DATA").get_attr("IFLA_MACVLAN_MODE") == "private"
    assert (parsed.get_attr("IFLA_LINK"), parsed.get_attr("IFLA_NET_NS_FD")) == (42, 9)
    assert parsed.get_attr("IFLA_ADDRESS") == MAC


def test_set_up_changes_that_flag_alone() -> None:
    parsed = read(ifinfmsg, rtnetlink.set_up("lan", alias="whole"))
    assert (parsed["flags"], parsed["change"]) == (1, 1)
    assert parsed.get_attr("IFLA_IFALIAS") == "whole"


def test_prepared_link_makes_no_address_of_its_own() -> None:
    parsed = read(ifinfmsg, rtnetlink.prepare("uplink"))
    specific = parsed.get_attr("IFLA_AF_SPEC")
    assert specific.get_attr("AF_INET6").get_attr("IFLA_INET6_ADDR_GEN_MODE") == 1


@pytest.mark.parametrize(("text", "flags"), [("10.64.0.6/29", 0), ("fd00::6/64", 0x02)])
def test_address(text: str, flags: int) -> None:
    address = ip_interface(text)
    parsed = read(ifaddrmsg, rtnetlink.add_address(address, 5))
    assert parsed["family"] == {4: socket.AF_INET, 6: socket.AF_INET6}[address.version]
    assert (parsed["prefixlen"], parsed["index"]) == (address.network.prefixlen, 5)
    assert parsed["flags"] == flags, "an IPv6 address is to be usable at once"
    assert ip_address(parsed.get_attr("IFA_ADDRESS")) == address.ip


@pytest.mark.parametrize("text", ["10.64.0.1", "fd00:64:0:1::1"])
def test_neighbour_is_permanent(text: str) -> None:
    parsed = read(ndmsg, rtnetlink.add_neighbour(Neighbour(ip_address(text), MAC), 5))
    assert (parsed["state"], parsed["ifindex"]) == (0x80, 5)
    assert parsed.get_attr("NDA_LLADDR") == MAC
    assert ip_address(parsed.get_attr("NDA_DST")) == ip_address(text)


@pytest.mark.parametrize(
    ("to", "via", "scope"),
    [
        ("172.16.0.0/12", "192.168.0.9", 0),
        ("172.16.0.0/12", None, 253),
        ("fd00:1::/32", "fd00:c0a8::9", 0),
        ("fd00:1::/32", None, 0),
    ],
)
def test_route_goes_by_its_router_or_on_the_link(to: str, via: str | None, scope: int) -> None:
    route = Route(ip_network(to), ip_address(via) if via else None)
    parsed = read(rtmsg, rtnetlink.add_route(route, 5))
    assert (parsed["dst_len"], parsed["scope"]) == (route.to.prefixlen, scope)
    assert ip_address(parsed.get_attr("RTA_DST")) == route.to.network_address
    gateway = parsed.get_attr("RTA_GATEWAY")
    assert (ip_address(gateway) if gateway else None) == route.via
    assert parsed.get_attr("RTA_OIF") == (None if via else 5)


def test_bulk_is_cut_where_the_kernel_would_refuse_it_and_loses_nothing() -> None:
    many = [
        rtnetlink.add_address(ip_interface(f"10.0.{n >> 8}.{n & 255}/32"), 1) for n in range(4000)
    ]
    chunks = list(rtnetlink._chunks(many))
    assert [message for chunk in chunks for message in chunk] == many
    assert len(chunks) > 1
    for chunk in chunks:
        assert sum(16 + len(message.body) for message in chunk) <= 64 << 10
    assert not list(rtnetlink._chunks([]))
