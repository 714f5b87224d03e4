"""The machine runs short: of disk, of memory, of a Docker that answers. It is told, and then mended.

One line says what there is too little of; with room again, the next `up` makes everything whole.
One of the host's, drawn by --seed, in every run; all with --long.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIGKILL

import pytest

from scenarios.resilience import slow_docker
from scenarios.resilience.host import (
    TENANT,
    TOPOLOGY,
    assert_as_before,
    bring_up,
    deployments,
    take_down,
)
from testbed.api import Deadline, NotYet, PrivateHost, private_host, wait_for

STATE = "/run/state"
CAPTURED = "/run/tmp/frames.pcap"
PROXY = "/run/proxy.sock"
FULL = "No space left on device"


@contextmanager
def small_disk(host: PrivateHost, folder: str, size: str) -> Iterator[None]:
    """Have a file system of `size` on `folder`, of this host alone, while the block lasts."""
    host.run("mount", "-t", "tmpfs", "-o", f"mode=700,size={size}", "small", folder)
    try:
        yield
    finally:
        host.run("umount", folder)


def no_room_for_a_snapshot(host: PrivateHost) -> None:
    """The SUT's memory is a file while its snapshot is made: QEMU dies when the disk is full."""
    folder = str(host.cache / "snapshot")
    with small_disk(host, folder, "40m"):
        finished = host.testbed("up", TOPOLOGY)
        assert finished.returncode == 1, finished.stderr
        assert f"the disk is full: 0 MiB were left in {folder}" in finished.stderr
        assert "Traceback" not in finished.stderr
        assert host.run("find", folder, "-name", "*.partial").stdout == "", "it keeps the disk full"


def no_room_for_a_capture(host: PrivateHost) -> None:
    """A capture on a full disk says so and ends with a whole frame."""
    bring_up(host)
    with small_disk(host, str(Path(CAPTURED).parent), "64k"):
        capture = host.begin("capture", TENANT, "-o", CAPTURED, "--seconds", "60")
        begun = lambda: host.run("test", "-s", CAPTURED, check=False).returncode == 0  # noqa: E731
        wait_for(begun, Deadline.after(10), what="the beginning of the capture")
        ping = ("ping", "-q", "-i", "0.01", "-c", "300", "-s", "300", "10.64.0.1")
        assert host.testbed("exec", f"{TENANT}:client", "--", *ping).returncode == 0
        assert capture.wait() == 1
        assert f"error: the capture is cut off: {FULL}" in "".join(capture.said)
        read = host.run("tcpdump", "-nr", CAPTURED, check=False)
        assert read.returncode == 0, read.stderr  # 1 for a file that ends in the middle of a frame
        assert read.stdout.count("ICMP echo re") > 50


def no_room_for_the_guest(host: PrivateHost) -> None:
    """What the guest writes is in the state folder: QEMU stops it when that is full."""
    with small_disk(host, STATE, "8g"):  # `up` asks for as much
        bring_up(host)
        host.run("mount", "-o", "remount,size=24m", STATE)
        (deployment,) = deployments(host)
        fill = "setsid dd if=/dev/urandom of=/root/fill bs=1M count=64 conv=fsync >/dev/null 2>&1 &"
        host.run("ssh", "-F", f"{STATE}/{deployment['id']}/ssh_config", "sut", fill)

        def told() -> bool:
            status = host.testbed("status")
            if status.returncode != 1 or "0 MiB are free there" not in status.stdout:
                raise NotYet(status.stdout)
            return True

        wait_for(told, Deadline.after(120), what="the end of the disk, told by status")
        host.run("mount", "-o", "remount,size=8g", STATE)
        bring_up(host)
        assert deployments(host)[0]["id"] == deployment["id"], "not repaired in place"
        take_down(host)


def no_memory_for_a_container(host: PrivateHost) -> None:
    """The kernel kills what Docker starts; Docker itself speaks of a stopped process."""
    group = json.loads(host.run("cat", "/etc/docker/daemon.json").stdout)["cgroup-parent"]
    # fmt: off
    limit = host.run("sh", "-c", f"""
        cd /sys/fs/cgroup
        if [ -e cgroup.controllers ]; then echo +memory >cgroup.subtree_control; limit=memory.max
        else cd memory; limit=memory.limit_in_bytes; fi
        mkdir -p ./{group} && echo $PWD{group}/$limit
    """).stdout.strip()
    # fmt: on
    host.run("sh", "-c", f"echo 3M >{limit}")
    finished = host.testbed("up", TOPOLOGY)
    assert finished.returncode == 1, finished.stderr
    assert "the kernel killed a process for want of memory" in finished.stderr
    take_down(host)
    host.run("rmdir", str(Path(limit).parent))


SHORTAGES: tuple[Callable[[PrivateHost], None], ...] = (
    no_room_for_a_snapshot,
    no_room_for_a_capture,
    no_room_for_the_guest,
    no_memory_for_a_container,
)


@pytest.mark.drawn(1)
@pytest.mark.parametrize("shortage", SHORTAGES)
@pytest.mark.timeout(600)
def test_shortage_is_told_and_mended(shortage: Callable[[PrivateHost], None]) -> None:
    with private_host() as host:
        before = host.inventory()
        shortage(host)
        bring_up(host)
        take_down(host)
        assert_as_before(host, before)


@contextmanager
def proxy(host: PrivateHost, delay_s: float, refused: str) -> Iterator[dict[str, str]]:
    """Yield the environment for a Docker that answers late, or refuses requests with such a path."""
    argv = (sys.executable, slow_docker.__file__, PROXY, str(delay_s), refused)
    serving = host.begin_command(*argv)
    listens = lambda: host.run("test", "-S", PROXY, check=False).returncode == 0  # noqa: E731
    wait_for(listens, Deadline.after(10), what="the proxy")
    try:
        yield {"DOCKER_HOST": f"unix://{PROXY}"}
    finally:
        serving.kill(SIGKILL, group=True)
        serving.wait()
        host.run("rm", PROXY)


@pytest.mark.timeout(400)
def test_what_docker_says_is_told_and_its_pace_is_kept() -> None:
    with private_host() as host:
        host.start_foreign_dockerd()
        image = host.run("docker", "images", "-q", "testbed/client").stdout.split()[0]
        # Docker keeps what it makes for its first container.
        host.run("docker", "run", "--rm", "--network=none", "--entrypoint=true", image)
        before = host.inventory()
        with proxy(host, delay_s=0, refused="/containers/create") as env:
            finished = host.testbed("up", TOPOLOGY, env=env)
            assert finished.returncode == 1, finished.stderr
            (deployment,) = deployments(host)
            said = f"error: cannot start container 'tb-{deployment['id']}-{TENANT}-client'"
            assert f"{said}: {slow_docker.MESSAGE}\n" in finished.stderr
        with proxy(host, delay_s=0.2, refused="") as env:
            for arguments in (("up", TOPOLOGY), ("status",), ("down",)):
                finished = host.testbed(*arguments, env=env)
                assert finished.returncode == 0, finished.stdout + finished.stderr
        assert_as_before(host, before)
        host.stop_foreign_dockerd()
