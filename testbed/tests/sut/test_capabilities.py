from __future__ import annotations

import pytest

from testbed.drivers.process import run
from testbed.sut.capabilities import (
    ADDRESS,
    EXTENSIONS,
    LISTENER,
    QUESTION,
    THREAD,
    Facts,
    judge,
    parse_facts,
)

LINUX = {
    "system": "Linux",
    "release": "6.1.0-56-cloud-amd64",
    "machine": "x86_64",
    "user": "0",
    "lsm": "lockdown,capability,bpf",
    "btf": "yes",
    "cgroup2": "yes",
    "bpffs": "bpf",
    "python": "3.11",
    "tc": "/usr/sbin/tc",
}


def reasons(facts: dict[str, str]) -> dict[str, str]:
    return {found.extension: found.reason for found in judge(Facts(facts))}


def test_complete_linux_can_do_all() -> None:
    assert all(found.supported for found in judge(Facts(LINUX)))
    assert set(reasons(LINUX).values()) == {""}


def test_without_bpf_lsm_only_the_thread_fib_is_missing() -> None:
    found = reasons({**LINUX, "lsm": "lockdown,capability"})
    assert not found[LISTENER]
    assert not found[ADDRESS]
    assert "BPF LSM" in found[THREAD]


@pytest.mark.parametrize(
    ("fact", "value", "reason"),
    [
        ("release", "5.10.0-1", "older than 6.1"),
        ("release", "strange", "older than 6.1"),
        ("machine", "aarch64", "aarch64"),
        ("user", "1000", "not root"),
        ("btf", "no", "BTF"),
        ("cgroup2", "no", "cgroup v2"),
        ("bpffs", "", "BPF file system"),
        ("python", "", "no python3"),
        ("python", "3.9", "older than 3.11"),
        ("tc", "", "no tc"),
    ],
)
def test_what_a_linux_lacks_is_named_for_each_extension(fact: str, value: str, reason: str) -> None:
    found = reasons({**LINUX, fact: value})
    assert set(found) == set(EXTENSIONS)
    for said in found.values():
        assert reason in said


def test_everything_that_is_missing_is_named_at_once() -> None:
    assert reasons({**LINUX, "btf": "no", "user": "7"})[ADDRESS].count(";") == 1


def test_freebsd_is_told_what_its_fibs_belong_to() -> None:
    found = reasons({"system": "FreeBSD", "release": "15.0-RELEASE", "fibs": "1"})
    assert "listener" in found[LISTENER]
    assert "interface" in found[ADDRESS]
    assert "process" in found[THREAD]
    assert all("net.fibs" in said for said in found.values())


def test_freebsd_with_fibs_is_not_told_to_have_some() -> None:
    found = reasons({"system": "FreeBSD", "fibs": "16"})
    assert not any("net.fibs" in said for said in found.values())


def test_unknown_system_can_do_nothing() -> None:
    assert not any(found.supported for found in judge(Facts({"system": "Plan 9"})))


def test_the_question_is_understood_by_a_shell() -> None:
    facts = parse_facts(run(["sh", "-s", "lo"], stdin=QUESTION).stdout)
    assert facts["system"]
    assert facts["interface"] == "yes"
    assert parse_facts(run(["sh", "-s", "no such"], stdin=QUESTION).stdout)["interface"] == "no"
