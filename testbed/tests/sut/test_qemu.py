from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address
from itertools import pairwise
from pathlib import Path

from testbed.sut import qemu
from testbed.sut.qemu import Accelerator, Boot, Hardware, Memory, Wiring
from testbed.sut.snapshot import machine_key

HARDWARE = Hardware(Accelerator.TCG, memory_mib=1024, cpus=2)
BOOT = Boot(Path("/i/vmlinuz"), Path("/i/initrd"))
MEMORY = Memory(Path("/s/memory"), is_shared=False)
WIRING = Wiring(
    name="testbed-abc234",
    disk=Path("/d/disk.qcow2"),
    control=Path("/d/qmp.sock"),
    agent=Path("/d/agent.sock"),
    console=Path("/d/console.log"),
    ssh_address=IPv4Address("127.5.0.1"),
    tap="tb-tap",
)


def values(argv: list[str], option: str) -> list[str]:
    return [value for name, value in pairwise(argv) if name == option]


def test_restored_machine_waits_for_its_state_and_keeps_the_snapshots_memory() -> None:
    argv = qemu.command(HARDWARE, BOOT, MEMORY, WIRING, is_restored=True)
    assert values(argv, "-incoming") == ["defer"]
    assert "memory-backend-file,id=ram,size=1024M,share=off,mem-path=/s/memory" in argv


def test_machine_to_be_saved_writes_its_memory_into_the_file() -> None:
    memory = replace(MEMORY, is_shared=True)
    argv = qemu.command(HARDWARE, BOOT, memory, WIRING, is_restored=False)
    assert "-incoming" not in argv
    assert "memory-backend-file,id=ram,size=1024M,share=on,mem-path=/s/memory" in argv


def test_processors_always_start_stopped() -> None:
    for is_restored in (True, False):
        assert "-S" in qemu.command(HARDWARE, BOOT, MEMORY, WIRING, is_restored=is_restored)


def test_management_network_lets_nothing_out_and_only_ssh_in() -> None:
    management, _ = values(qemu.wiring_arguments(WIRING), "-netdev")
    assert management.split(",") == [
        "user",
        "id=management",
        "net=198.19.255.0/24",
        "ipv6=off",
        "restrict=on",
        "hostfwd=tcp:127.5.0.1:22-198.19.255.15:22",
    ]


def test_data_nic_is_on_the_tap_and_no_script_touches_it() -> None:
    _, data = values(qemu.wiring_arguments(WIRING), "-netdev")
    assert data == "tap,id=data,ifname=tb-tap,script=no,downscript=no,vhost=off,vnet_hdr=off"


def test_without_a_tap_the_data_nic_has_a_carrier_and_no_wire() -> None:
    _, data = values(qemu.wiring_arguments(replace(WIRING, tap="")), "-netdev")
    assert data == "hubport,id=data,hubid=0"


def test_frames_on_the_tap_are_whole() -> None:
    _, _, _, data = values(qemu.device_arguments(), "-device")
    options = data.split(",")
    for offload in ("csum", "gso", "host_tso4", "host_tso6", "guest_tso4", "guest_csum"):
        assert f"{offload}=off" in options


def test_comma_in_a_path_does_not_end_the_value() -> None:
    argv = qemu.wiring_arguments(replace(WIRING, disk=Path("/d,x/disk"), control=Path("/d,x/q")))
    assert values(argv, "-drive")[0].endswith("file=/d,,x/disk")
    assert "socket,id=control,server=on,wait=off,path=/d,,x/q" in argv


def test_guest_knows_its_management_nic_from_the_command_line() -> None:
    words = qemu.kernel_command_line().split()
    mac = next(word.removeprefix("testbed.mac=") for word in words if "testbed.mac" in word)
    assert "testbed.address=198.19.255.15/24" in words
    assert any(f"netdev=management,mac={mac}" in text for text in qemu.device_arguments())


def test_sshd_listens_on_the_management_address_alone() -> None:
    config = (Path(qemu.__file__).parent / "guest/sshd_config").read_text()
    listened = [line.split() for line in config.splitlines() if line.startswith("Listen")]
    assert listened == [["ListenAddress", str(qemu.MANAGEMENT.ip)]]


def test_kvm_uses_the_hosts_processor() -> None:
    arguments = qemu.machine_arguments(replace(HARDWARE, accelerator=Accelerator.KVM))
    assert values(arguments, "-accel") == ["kvm"]
    assert values(arguments, "-cpu") == ["host"]


def test_counted_instructions_are_the_clock_of_one_translating_thread() -> None:
    arguments = qemu.machine_arguments(replace(HARDWARE, accelerator=Accelerator.COUNTED))
    assert values(arguments, "-icount") == ["shift=2"]
    assert "thread=single" in values(arguments, "-accel")[0]
    assert not values(qemu.machine_arguments(HARDWARE), "-icount")


def test_snapshots_differ_in_whatever_the_guest_can_see() -> None:
    keys = {
        machine_key("image", "QEMU 7.2", "CPU", HARDWARE),
        machine_key("image2", "QEMU 7.2", "CPU", HARDWARE),
        machine_key("image", "QEMU 7.3", "CPU", HARDWARE),
        machine_key("image", "QEMU 7.2", "CPU2", HARDWARE),
        machine_key("image", "QEMU 7.2", "CPU", replace(HARDWARE, memory_mib=2048)),
        machine_key("image", "QEMU 7.2", "CPU", replace(HARDWARE, cpus=1)),
        machine_key("image", "QEMU 7.2", "CPU", replace(HARDWARE, accelerator=Accelerator.KVM)),
        machine_key("image", "QEMU 7.2", "CPU", replace(HARDWARE, accelerator=Accelerator.COUNTED)),
    }
    assert len(keys) == 8
    assert machine_key("image", "QEMU 7.2", "CPU", replace(HARDWARE)) in keys
