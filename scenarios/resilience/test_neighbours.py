"""Two deployments side by side on a host where others have things with names like ours."""

from __future__ import annotations

import pytest

from scenarios.resilience.host import (
    TOPOLOGY,
    assert_as_before,
    assert_well,
    bring_up,
    deployments,
    take_down,
)
from testbed.api import Item, PrivateHost, private_host

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
        commands = [host.begin("up", TOPOLOGY, "--name", name) for name in ("one", "two", "one")]
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
