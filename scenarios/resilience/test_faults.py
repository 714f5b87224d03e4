"""A part of a running deployment is lost: `status` says so, `up` repairs it and leaves the rest.

One fault, drawn by --seed, in every run; all of them with --long.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from scenarios.resilience.host import (
    assert_as_before,
    assert_well,
    bring_up,
    deployments,
    take_down,
)
from testbed.api import PrivateHost, private_host


@dataclass(frozen=True)
class Fault:
    """What is done, in the shell of the private host, and what is expected of `status`."""

    name: str
    commands: str
    told: str
    keeps_vm: bool = True


ON_SUT = "ssh -F /run/state/$ID/ssh_config sut"
CRASH = "echo c >/proc/sysrq-trigger"
PANIC = "Kernel panic - not syncing: sysrq triggered crash"
# All but the containers looks as before: what an `up` leaves that is killed once the links are made.
LINK_ANEW = """set -eu
    link=tb${ID}t00001; router=tb-$ID-alpha
    alias=$(cat /sys/class/net/$link/ifalias)
    mac=$(ip -n $router -o link show lan | grep -o 'ether [^ ]*' | cut -d' ' -f2)
    addresses=$(ip -n $router -o address show dev lan scope global | awk '{print $4}')
    ip link delete $link
    ip link add $link type veth peer name lan address $mac netns $router
    for address in $addresses; do ip -n $router address add $address dev lan; done
    ip -n $router link set lan up
    ip link set $link up alias "$alias"
"""
# $ID is the deployment's id; $IPAM and $QEMU are the pids of its processes. The IPAM driver has two, of
# which one dies with the other.
FAULTS = (
    Fault("IPAM driver killed", "kill -KILL $IPAM || :", "ipam"),
    Fault("QEMU killed", "kill -KILL $QEMU", "sut", keeps_vm=False),
    Fault("QEMU hung", "kill -STOP $QEMU", "sut", keeps_vm=False),
    # Nobody waits for the answer of a kernel that has panicked.
    Fault("SUT panicked", f"timeout 5 {ON_SUT} '{CRASH}' || :", PANIC, keeps_vm=False),
    Fault("service killed", "docker kill tb-$ID-alpha-dns", "dns"),
    Fault("service removed", "docker rm -f tb-$ID-alpha-ldap", "ldap"),
    Fault("service paused", "docker pause tb-$ID-alpha-ldap", "ldap"),
    Fault("service hung", "docker exec tb-$ID-alpha-ldap pkill -STOP slapd", "ldap"),
    Fault("DNS hung", "docker exec tb-$ID-alpha-dns pkill -STOP nsd", "dns"),
    Fault("router deleted", "ip netns delete tb-$ID-alpha", "link or router"),
    Fault("uplink deleted", "ip -n tb-$ID-alpha link delete uplink", "link or router"),
    Fault("tenant link deleted", "ip link delete tb${ID}t00001", "link or router"),
    Fault("tenant link made anew", LINK_ANEW, "older recipe"),
    Fault("tap deleted", "ip link delete tb${ID}tap", "link or router", keeps_vm=False),
    Fault("dockerd killed", "pkill -KILL -x dockerd", "dockerd"),
    Fault("dockerd stopped", "pkill -STOP -x dockerd", "dockerd"),
    Fault("dockerd and IPAM killed", "pkill -KILL -x dockerd; kill -KILL $IPAM || :", "dockerd"),
    Fault("dockerd and containerd killed", "pkill -KILL -x 'dockerd|containerd'", "dockerd"),
)


def cause(host: PrivateHost, fault: Fault) -> None:
    (deployment,) = deployments(host)
    pids = {role: " ".join(map(str, host.pids(f"/{role}"))) for role in ("ipam", "qemu")}
    settings = f"ID={deployment['id']}; IPAM='{pids['ipam']}'; QEMU='{pids['qemu']}'; "
    host.run("sh", "-c", settings + fault.commands)


def assert_kept(host: PrivateHost, said: str) -> None:
    """What the kernel said when it died is there, beside the console of the one that runs now."""
    (deployment,) = deployments(host)
    host.run("grep", "-q", said, f"/run/state/{deployment['id']}/console.log.previous")


@pytest.mark.drawn(1)
@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
@pytest.mark.timeout(600)
def test_lost_part_is_told_and_repaired(fault: Fault) -> None:
    with private_host() as host:
        before = host.inventory()
        bring_up(host)
        qemu, found = host.pids("/qemu"), deployments(host)[0]["id"]
        cause(host, fault)
        status = host.testbed("status")
        assert status.returncode == 1, status.stdout
        assert fault.told in status.stdout, status.stdout
        bring_up(host)
        assert deployments(host)[0]["id"] == found, "not repaired in place"
        if fault.keeps_vm:
            assert host.pids("/qemu") == qemu, "the VM was not concerned"
        assert_well(host)
        if fault.told == PANIC:
            assert_kept(host, PANIC)
        take_down(host)
        assert_as_before(host, before)
