"""The real VM: restored, found again, healed, stopped."""

from __future__ import annotations

import os
import select
import signal
import socket
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from testbed.deadline import Deadline, wait_for
from testbed.drivers import links, process
from testbed.errors import ResourceError
from testbed.events import Event, Events
from testbed.lifecycle.store import cache_root
from testbed.plan.identity import DeploymentId
from testbed.plan.resources import FibId, Mac, Plan, RemotePlan, SutPlan, VmPlan
from testbed.sut.channel import GuestFile
from testbed.sut.remote import RemoteMachine
from testbed.sut.ssh_config import Account
from testbed.sut.vm import LinuxVm

pytestmark = [pytest.mark.vm, pytest.mark.timeout(600)]

MAC = Mac("52:54:00:00:7e:01")


def plan_of(number: int) -> Plan:
    machine = VmPlan(
        tap=f"tbtest{number}",
        mac=MAC,
        memory_mib=1024,
        cpus=2,
        counts_instructions=False,
        ssh_address=IPv4Address(f"127.126.125.{number}"),
    )
    sut = SutPlan(
        machine=machine,
        interface="eth0",
        default_fib=FibId(0),
        unassigned=(),
        fibs=(),
        port=7,
    )
    return Plan(
        deployment=DeploymentId(f"test{number}"),
        topology="",
        ipam_driver="",
        sut=sut,
        tenants=(),
        starts_on_lease=False,
    )


def vm_of(number: int, folder: Path) -> LinuxVm:
    return LinuxVm(plan_of(number), folder, cache_root())


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    # Not tmp_path, whose long names leave no room for a socket's.
    with tempfile.TemporaryDirectory(prefix="sut") as name:
        yield Path(name)


@pytest.fixture(scope="module")
def vms(folder: Path) -> Iterator[tuple[LinuxVm, LinuxVm]]:
    pair = []
    for number in (1, 2):
        state = folder / str(number)
        state.mkdir()
        pair.append(vm_of(number, state))
        links.ensure_tap(f"tbtest{number}")
    try:
        for vm in pair:
            vm.start(Events())
        yield pair[0], pair[1]
    finally:
        for number, vm in enumerate(pair, 1):
            vm.stop()
            links.remove_links([f"tbtest{number}"])


@pytest.fixture
def vm(vms: tuple[LinuxVm, LinuxVm]) -> LinuxVm:
    vms[0].start(Events())
    return vms[0]


def qemu_of(vm: LinuxVm) -> list[int]:
    return list(process.owned(f"{vm.plan.deployment}/qemu"))


def test_restored_vm_is_healthy_and_has_the_deployments_mac(vm: LinuxVm) -> None:
    assert vm.health().ok
    assert vm.channel.run(["cat", "/sys/class/net/eth0/address"]).stdout.strip() == MAC


def test_clock_is_the_hosts(vm: LinuxVm) -> None:
    before = time.time()
    guest = float(vm.channel.run(["date", "+%s.%N"]).stdout)
    assert before - 0.1 <= guest <= time.time() + 0.1


def test_randomness_differs_between_vms_of_one_snapshot(vms: tuple[LinuxVm, LinuxVm]) -> None:
    drawn = [vm.channel.run(["head", "-c", "32", "/dev/urandom"]).stdout for vm in vms]
    assert drawn[0] != drawn[1]


def test_kernel_complains_of_nothing_after_the_restore(vm: LinuxVm) -> None:
    told = vm.channel.run(["dmesg"]).stdout
    for complaint in ("soft lockup", "rcu_sched self-detected", "unstable", "BUG:", "WARNING:"):
        assert complaint not in told


def test_management_leads_nowhere(vm: LinuxVm) -> None:
    routes = vm.channel.run(["ip", "-o", "route", "show", "dev", "mgmt"]).stdout
    assert [route.split()[0] for route in routes.splitlines()] == ["198.19.255.0/24"]
    # QEMU's gateway would be the host's loopback, if it let anybody through. That a connection can
    # be made at all on this NIC is shown by the channel that asks.
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        connecting = f"exec 3<>/dev/tcp/198.19.255.2/{port}"
        reached = vm.channel.run(["timeout", "2", "bash", "-c", connecting], check=False)
        assert reached.returncode != 0
        assert not select.select([listener], [], [], 0)[0]


def test_running_vm_is_left_alone(vm: LinuxVm) -> None:
    before = qemu_of(vm)
    vm.start(Events())
    assert qemu_of(vm) == before


def test_killed_connection_is_made_again(vm: LinuxVm) -> None:
    for pid in process.owned(f"{vm.plan.deployment}/ssh"):
        os.kill(pid, signal.SIGKILL)
    assert vm.channel.run(["echo", "again"]).stdout == "again\n"


def test_killed_vm_is_told_and_started_again(vm: LinuxVm) -> None:
    for pid in qemu_of(vm):
        process.stop(pid, grace_s=0)
    assert not vm.is_running()
    assert vm.health().detail == "not running"
    vm.start(Events())
    assert vm.health().ok


def test_vm_that_hangs_is_told_and_replaced(vm: LinuxVm, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("qmp", "machine"):
        monkeypatch.setattr(f"testbed.sut.{module}.ANSWER_LIMIT_S", 2.0)
    before = qemu_of(vm)
    vm.channel.run(["sh", "-c", "echo '<0>last words' >/dev/kmsg"])
    os.kill(before[0], signal.SIGSTOP)
    for _ in range(3):  # what asks and leaves again is queued by the kernel, up to some length
        with pytest.raises(ResourceError) as caught:
            vm.require_answer()
        told, *said = caught.value.message.splitlines()
        assert told.endswith("; its console ended with")
        assert "last words" in said[-1]
    assert vm.health().detail.splitlines()[-1] == said[-1]
    notes: list[Event] = []
    vm.start(Events([notes.append]))
    assert [event.detail for event in notes if event.step == "the SUT is replaced"]
    assert vm.health().ok
    assert qemu_of(vm) != before


def test_guest_that_hangs_is_told(vm: LinuxVm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("testbed.sut.vm._GUEST_LIMIT_S", 3.0)
    stopping = vm.channel.start(["pkill", "-STOP", "sshd"])

    def hung() -> str:
        try:
            vm.require_answer()
        except ResourceError as error:
            return error.message
        return ""

    assert "took over 3 s" in wait_for(hung, Deadline.after(30), what="the guest's end")
    stopping.kill()
    assert not vm.health().ok
    vm.start(Events())


def test_files_arrive_whole(vm: LinuxVm) -> None:
    content = bytes(range(256)) * 100
    vm.channel.put({"/tmp/a folder/it's": GuestFile(content, 0o640)})  # noqa: S108 - the guest's
    assert vm.channel.get("/tmp/a folder/it's") == content  # noqa: S108
    mode = vm.channel.run(["stat", "-c", "%a", "/tmp/a folder/it's"]).stdout  # noqa: S108
    assert mode == "640\n"


def test_arguments_are_never_interpreted(vm: LinuxVm) -> None:
    odd = ["a b", "$HOME", "`id`", "*", "'", "\n", ""]
    assert vm.channel.run(["printf", "%s|", *odd]).stdout == "|".join([*odd, ""])


def test_our_vm_can_do_all_extensions(vm: LinuxVm) -> None:
    assert [found for found in vm.capabilities() if not found.supported] == []


def test_vm_serves_as_a_users_machine(vm: LinuxVm, folder: Path) -> None:
    remote = RemotePlan(
        host="127.126.125.1",
        port=22,
        user="root",
        system="linux",
        interface="eth0",
        uplink="tbtest1",
        mac=MAC,
    )
    plan = replace(
        vm.plan, deployment=DeploymentId("testr"), sut=replace(vm.plan.sut, machine=remote)
    )
    state = folder / "remote"
    state.mkdir()
    machine = RemoteMachine(plan, state, account=account_of(vm))
    told: list[Event] = []
    try:
        machine.start(Events([told.append]))
        assert machine.health().ok
        machine.require_answer()
        assert not [event for event in told if event.step == "SUT lacks"]
    finally:
        machine.stop()


def account_of(vm: LinuxVm) -> Account:
    """Return the VM's account as its ssh configuration has it."""
    options = dict(
        line.strip().split(" ", 1)
        for line in vm.ssh_config.read_text().splitlines()
        if line.startswith(" ")
    )
    return Account(
        options["HostName"],
        22,
        "root",
        key=Path(options["IdentityFile"].strip('"')),
        known_hosts=Path(options["UserKnownHostsFile"].strip('"')),
        key_alias=options["HostKeyAlias"],
    )


def test_stopped_vm_leaves_no_process(vm: LinuxVm) -> None:
    vm.stop()
    assert list(process.owned(f"{vm.plan.deployment}/")) == []
    vm.stop()
