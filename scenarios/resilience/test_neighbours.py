"""Two deployments side by side on a host where others have things with names like ours."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from scenarios.resilience.host import (
    EVENTS,
    LEASED,
    TOPOLOGY,
    assert_as_before,
    assert_well,
    bring_up,
    deployments,
    take_down,
)
from testbed.api import Deadline, Item, PrivateHost, private_host, wait_for

# Names as ours are, of a deployment that does not exist. $1 is an image.
DECOYS = """
ip link add tbabcdeft00001 type veth peer name foreign
ip tuntap add tbabcdeftap mode tap
docker network create tb-abcdef-alpha --driver macvlan --opt parent=foreign >/dev/null
docker run -d --network none --name tb-abcdef-alpha-client --entrypoint sleep $1 1000 >/dev/null
ip netns add tb-abcdef-alpha
mkdir -p /run/docker/plugins /run/state/abcdef
touch /run/docker/plugins/tb-abcdef.sock /run/state/abcdef/notes
"""
NO_DECOYS = """
docker rm -f tb-abcdef-alpha-client >/dev/null
docker network rm tb-abcdef-alpha >/dev/null
"""
# Names that carry an id of ours, and nobody's label or tenant. $1 is an image, $2 the id.
LOOK_ALIKES = """
docker run -d --network none --name tb-$2-alpha-client2 --entrypoint sleep $1 1000 >/dev/null
ip netns add tb-$2-zulu
ip netns add tb-$2x-alpha
ip tuntap add tb${2}t00077 mode tap
touch /run/docker/plugins/tb-${2}x.sock
"""
NO_LOOK_ALIKES = """
docker rm -f tb-$2-alpha-client2 >/dev/null
ip netns delete tb-$2-zulu
ip netns delete tb-$2x-alpha
ip link delete tb${2}t00077
rm /run/docker/plugins/tb-${2}x.sock
"""

# As far as Docker knows, nobody has the deployment $1.
NO_CONTAINERS = """
docker rm -f $(docker ps -aq --filter label=testbed.deployment=$1) >/dev/null
docker network rm $(docker network ls -q --filter label=testbed.deployment=$1) >/dev/null
"""

# systemd-networkd that gives every link an address, but for what $1 says. It takes a /sys that it may
# not write to as the sign that no udev is there to wait for.
NETWORKD = """
exec >/run/networkd.log 2>&1
mkdir -p /run/systemd/network /run/systemd/netif
chown -R systemd-network: /run/systemd/netif
cd /run/systemd/network
printf %s "$1" >10-testbed.network
printf '[Match]\\nName=*\\n[Network]\\nAddress=203.0.113.7/24\\nLinkLocalAddressing=no\\n' >50-all.network
chmod 644 ./*
mount -o remount,bind,ro /sys
exec /lib/systemd/systemd-networkd
"""
GREED = "203.0.113.7"

LOOK_ALIKE_COUNT = 5


def is_look_alike(item: Item, deployment: str) -> bool:
    names = {
        ("container", f"tb-{deployment}-alpha-client2"),
        ("netns", f"tb-{deployment}-zulu"),
        ("netns", f"tb-{deployment}x-alpha"),
        ("link", f"tb{deployment}t00077"),
        ("file", f"/run/docker/plugins/tb-{deployment}x.sock"),
    }
    return (item.kind, item.name) in names


def shell(host: PrivateHost, script: str, *arguments: str) -> None:
    host.run("sh", "-euc", script, "sh", *arguments)


def client_image(host: PrivateHost) -> str:
    listed = host.run("docker", "images", "-q", "testbed/client").stdout.split()
    assert listed, "the private host has no images"
    return listed[0]


@pytest.mark.timeout(400)
def test_side_by_side_and_foreign_things() -> None:
    with private_host() as host:
        host.start_foreign_dockerd()
        image = client_image(host)
        shell(host, DECOYS, image)
        before = host.inventory()

        # Two in the same second, and a second command for one that is at work.
        commands = [
            host.begin("up", TOPOLOGY, "--name", name, *EVENTS) for name in ("one", "two", "one")
        ]
        codes = [command.wait() for command in commands]
        assert codes == [0, 0, 0], [command.said for command in commands]
        ids = {told["name"]: told["id"] for told in deployments(host)}
        assert set(ids) == {"one", "two"}
        assert len(deployments(host)) == 2, "two were recorded under one name"

        bring_up(host, "one")
        without = host.inventory().items
        shell(host, LOOK_ALIKES, image, ids["one"])
        foreign = {
            item for item, _ in host.inventory().items - without if is_look_alike(item, ids["one"])
        }
        assert len(foreign) == LOOK_ALIKE_COUNT
        take_down(host, "one")
        take_down(host, "one")
        assert_well(host, "two")
        lost = foreign - {item for item, _ in host.inventory().items}
        assert not lost, f"removed, and not ours: {sorted(lost)}"
        shell(host, NO_LOOK_ALIKES, image, ids["one"])

        take_down(host, "two")
        assert_as_before(host, before)
        shell(host, NO_DECOYS)
        host.stop_foreign_dockerd()


def as_user(name: str) -> dict[str, str]:
    """Return the environment of somebody who calls by sudo and keeps his deployments apart."""
    home = f"/run/home/{name}"
    return {"TESTBED_STATE": f"/run/state-of-{name}", "HOME": home, "SUDO_USER": name}


def succeed(host: PrivateHost, user: str, *arguments: str) -> str:
    """Run `testbed` as such a user and return what it told."""
    finished = host.testbed(*arguments, env=as_user(user))
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


def of_deployment(host: PrivateHost, deployment: str) -> set[tuple[Item, int]]:
    """Return all that is on the host of a deployment, and how much of it."""
    found = host.inventory().items
    return {(item, n) for item, n in found if deployment in f"{item.name} {item.detail}"}


def dockerd(host: PrivateHost) -> str:
    """Return the pid of the Docker daemon; there is one."""
    return host.run("cat", "/run/docker.pid").stdout


@pytest.mark.timeout(600)
def test_users_in_the_same_second() -> None:
    # Ann and Bob have the same topology, so the same name too; Eve's services start on lease.
    users = {"ann": TOPOLOGY, "bob": TOPOLOGY, "eve": LEASED}
    with private_host() as host:
        host.run("mkdir", *(f"/run/home/{user}" for user in users))
        before = host.inventory()
        commands = [host.begin("up", users[user], env=as_user(user)) for user in users]
        codes = [command.wait() for command in commands]
        assert codes == [0, 0, 0], [command.said for command in commands]
        ids = {}
        for user in users:
            told = succeed(host, user, "status", "--format", "json")  # both are well
            (deployment,) = json.loads(told)["deployments"]
            ids[user] = deployment["id"]
        assert len(set(ids.values())) == len(users)

        of_bob = of_deployment(host, ids["bob"])
        assert {item.kind for item, _ in of_bob} >= {"container", "link", "netns", "process"}
        # Ann says "all", twice, and means her own; the daemon that both use stays.
        for _ in range(2):
            succeed(host, "ann", "down", "--all")
            assert of_deployment(host, ids["ann"]) == set()
            assert of_deployment(host, ids["bob"]) == of_bob
        succeed(host, "bob", "status")
        # Of Eve's deployment no container is left, and its next lease wants the daemon all the same.
        shell(host, NO_CONTAINERS, ids["eve"])
        of_eve, daemon = of_deployment(host, ids["eve"]), dockerd(host)
        succeed(host, "bob", "down")
        assert of_deployment(host, ids["eve"]) == of_eve
        assert dockerd(host) == daemon
        assert "container" not in {item.kind for item, _ in of_eve}
        succeed(host, "eve", "status")
        succeed(host, "eve", "down")
        for user in users:
            host.run("rm", "-r", f"/run/state-of-{user}")
        assert_as_before(host, before)


def start_networkd(host: PrivateHost, told: str) -> None:
    """Start systemd-networkd, and wait until it has given a foreign link an address."""
    script = ("sh", "-euc", NETWORKD, "sh", told)
    host.run("setsid", "--fork", "unshare", "--mount", *script)
    wait_for(lambda: "foreign" in configured(host), Deadline.after(60), what="its address")


def configured(host: PrivateHost) -> set[str]:
    """Return the links that systemd-networkd has given its address."""
    links = json.loads(host.run("ip", "-json", "address").stdout)
    return {
        link["ifname"] for link in links for own in link["addr_info"] if own.get("local") == GREED
    }


def unmanaged(host: PrivateHost) -> set[str]:
    """Return the links that systemd-networkd has seen and leaves alone."""
    numbers = host.run("sh", "-c", "cd /run/systemd/netif/links && grep -l unmanaged *").stdout
    links = json.loads(host.run("ip", "-json", "link").stdout)
    return {link["ifname"] for link in links if str(link["ifindex"]) in numbers.split()}


def greed_told(host: PrivateHost) -> list[str]:
    """Return what `testbed doctor` says of systemd-networkd."""
    told = host.testbed("doctor", "--format", "json").stdout
    return [one["seen"] for one in json.loads(told)["findings"] if "networkd" in one["subject"]]


@pytest.mark.timeout(600)
def test_networkd_leaves_our_links_alone() -> None:
    page = Path(__file__).parents[2].joinpath("docs/resilience.md").read_text(encoding="utf-8")
    (told,) = re.findall(r"^```ini networkd\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    with private_host() as host:
        host.run("ip", "link", "add", "foreign", "type", "veth", "peer", "name", "other")
        for link in ("foreign", "other"):
            host.run("ip", "link", "set", link, "up")
        start_networkd(host, told)
        bring_up(host)
        deployment = deployments(host)[0]["id"]
        ours = {f"tb{deployment}tap", f"tb{deployment}t00001"}
        wait_for(lambda: ours <= unmanaged(host), Deadline.after(30), what="it has seen our links")
        assert not ours & configured(host)
        assert_well(host)
        assert greed_told(host) == []
        # The control: without those lines it takes them.
        host.run("pkill", "--exact", "systemd-network")
        start_networkd(host, "")
        wait_for(lambda: ours & configured(host), Deadline.after(30), what="it takes our links")
        assert len(greed_told(host)) == 1
