"""What a system can do of the FIB extensions, from the facts that it tells of itself.

The question is a script for any POSIX shell, the answer lines of NAME=VALUE; the judgement is a pure
function. What each extension stands on is docs/fib.md's matter, named here only as far as a system
may lack it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from testbed.sut.channel import Channel
from testbed.sut.protocol import Capability

LISTENER = "wildcard listener: accepted sockets take the FIB of their local address"
ADDRESS = "FIB per local address, interface FIB as the default"
THREAD = "FIB per thread, inherited by threads and forks"
EXTENSIONS = (LISTENER, ADDRESS, THREAD)

_OLDEST_KERNEL = (6, 1)
_OLDEST_PYTHON = (3, 11)

QUESTION = r"""
fact() { printf '%s=%s\n' "$1" "$2"; }
present() { if [ -e "$2" ]; then fact "$1" yes; else fact "$1" no; fi; }
fact system "$(uname -s)"
fact release "$(uname -r)"
fact machine "$(uname -m)"
fact user "$(id -u)"
case $(uname -s) in
Linux)
    # securityfs and the BPF file system may be there and not mounted: that is told apart below.
    fact lsm "$(cat /sys/kernel/security/lsm 2>/dev/null)"
    present btf /sys/kernel/btf/vmlinux
    present cgroup2 /sys/fs/cgroup/cgroup.controllers
    fact bpffs "$(awk '$2 == "/sys/fs/bpf" { print $3 }' /proc/mounts)"
    fact python "$(python3 -ISc 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)"
    fact tc "$(PATH=$PATH:/sbin:/usr/sbin command -v tc)"
    present interface "/sys/class/net/$1"
    ;;
*)
    fact fibs "$(sysctl -n net.fibs 2>/dev/null)"
    fact bind_all_fibs "$(sysctl -n net.inet.tcp.bind_all_fibs 2>/dev/null)"
    if ifconfig "$1" >/dev/null 2>&1; then fact interface yes; else fact interface no; fi
    ;;
esac
"""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a system told of itself; an absent fact is empty."""

    values: Mapping[str, str]

    def __getitem__(self, name: str) -> str:
        return self.values.get(name, "")


def ask(channel: Channel, interface: str) -> tuple[Capability, ...]:
    """Ask the system behind `channel`, whose data NIC is `interface`.

    Raises:
        TestbedError: when it cannot be reached or does not understand the question.
    """
    return judge(ask_facts(channel, interface))


def ask_facts(channel: Channel, interface: str) -> Facts:
    """Return what the system behind `channel` tells of itself."""
    return parse_facts(channel.run(["sh", "-s", interface], stdin=QUESTION).stdout)


def parse_facts(answer: str) -> Facts:
    r"""Return the facts in the script's output.

    >>> parse_facts("system=Linux\nlsm=lockdown,bpf\n")["lsm"]
    'lockdown,bpf'
    """
    values = {}
    for line in answer.splitlines():
        name, equals, value = line.partition("=")
        if equals:
            values[name] = value
    return Facts(values)


def judge(facts: Facts) -> tuple[Capability, ...]:
    """Return what the system of these facts can do, extension by extension."""
    lacking = {extension: _lacks(facts, extension) for extension in EXTENSIONS}
    return tuple(
        Capability(extension, not lacks, "; ".join(lacks)) for extension, lacks in lacking.items()
    )


def _lacks(facts: Facts, extension: str) -> list[str]:
    system = facts["system"]
    if system == "Linux":
        return [*_linux_lacks(facts), *(_linux_thread_lacks(facts) if extension == THREAD else [])]
    if system == "FreeBSD":
        return _freebsd_lacks(facts, extension)
    return [f"{system or 'this system'} has no FIBs known to the testbed"]


def _linux_lacks(facts: Facts) -> list[str]:
    lacks = []
    numbers = re.match(r"(\d+)\.(\d+)", facts["release"])
    if numbers is None or tuple(map(int, numbers.groups())) < _OLDEST_KERNEL:
        oldest = ".".join(map(str, _OLDEST_KERNEL))
        lacks.append(f"kernel {facts['release']} is older than {oldest}")
    if facts["machine"] != "x86_64":
        lacks.append(f"the loader is built for x86_64, this is {facts['machine']}")
    if facts["btf"] != "yes":
        lacks.append("no kernel BTF (CONFIG_DEBUG_INFO_BTF)")
    if facts["cgroup2"] != "yes":
        lacks.append("/sys/fs/cgroup is not a pure cgroup v2 mount")
    if facts["bpffs"] != "bpf":
        lacks.append("no BPF file system on /sys/fs/bpf")
    if facts["user"] != "0":
        lacks.append("the ssh user is not root")
    if not facts["python"]:
        lacks.append("no python3")
    elif tuple(map(int, facts["python"].split("."))) < _OLDEST_PYTHON:
        lacks.append(f"python3 is {facts['python']}, older than 3.11")
    if not facts["tc"]:
        lacks.append("no tc (iproute2)")
    return lacks


def _linux_thread_lacks(facts: Facts) -> list[str]:
    if "bpf" in facts["lsm"].split(","):
        return []
    return ["BPF LSM is not active: boot with 'bpf' in lsm= (see /sys/kernel/security/lsm)"]


def _freebsd_lacks(facts: Facts, extension: str) -> list[str]:
    """FreeBSD's own FIBs, as of 15: of interfaces and processes, not of addresses and threads."""
    lacks = {
        LISTENER: "an accepted socket takes its listener's FIB, not its local address's",
        ADDRESS: "a FIB belongs to an interface, not to an address",
        THREAD: "setfib(2) changes the whole process",
    }
    reasons = [lacks[extension]]
    if facts["fibs"] in ("", "1"):
        reasons.append("net.fibs is 1: set net.fibs in /boot/loader.conf")
    return reasons
