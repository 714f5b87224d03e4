"""`up` on a machine of the user's, reached as the user reaches it: with and without what it needs.

The machine is a Linux VM on a private host, which knows nothing of whose it is: root's own ssh
configuration there leads to it by the name `lab7`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from testbed.api import PrivateHost, private_host

BARE = str(Path(__file__).parents[2] / "topologies" / "bare.yaml")
TOPOLOGY = """
sut: {{ssh: {{host: {host}, interface: {interface}, uplink: {tap}, mac: "02:fd:00:00:00:01"}}}}
tenants:
  other: {{fib: 7, services: {{dns, ldap}}, users: {{ann: secret}}}}
"""
# Whose key it is and where it listens is in the configuration of the deployment that has the VM.
SSH = """
mkdir -p /root/.ssh && mount -t tmpfs -o mode=700 none /root/.ssh
sed -e 's/^Host sut/Host lab7/' -e '/Control/d' "$1" >/root/.ssh/config
chmod 600 /root/.ssh/config
"""


def up(
    host: PrivateHost,
    tap: str,
    *,
    name: str = "lab7",
    interface: str = "eth0",
    deployment: str = "lab",
) -> Any:
    """Run `up` on the machine; return its exit code, what it says as data, and its errors."""
    text = TOPOLOGY.format(host=name, interface=interface, tap=tap)
    host.run("sh", "-c", 'printf %s "$1" >/run/lab.yaml', "sh", text)
    how = ("--name", deployment, "--format", "json", "--progress", "plain")
    done = host.testbed("up", "/run/lab.yaml", *how)
    told = json.loads(done.stdout) if done.stdout else None
    return done.returncode, told, done.stderr


# What a machine has that was no SUT before: nothing of ours.
BARE_MACHINE = """
start-stop-daemon --stop --oknodo --retry 5 --pidfile /run/fib/watch.pid
start-stop-daemon --stop --oknodo --retry 5 --pidfile /run/tenantd.pid
fibctl detach eth0
rm -rf /opt/fib /run/fib /usr/local/bin/fibctl /etc/tenantd /run/tenantd* /var/log/tenantd.log
userdel tenantd
sysctl -qw net.ipv4.tcp_fwmark_accept=0 net.ipv4.neigh.default.gc_thresh3=1024
"""
# All that we may change on it, line by line: files, processes, accounts, settings, network.
INVENTORY = """
find /opt /usr/local /etc /run /var/log /var/lib /root /sys/fs/bpf -xdev ! -path '/run/sshd*' | sort
ps -e -o comm= | grep -vE '^(kworker|sshd|ps$|sh$|sort$|grep$|ssh)' | sort
getent passwd
ip -o address; ip rule; ip -6 rule; ip route show table all; ip -6 route show table all | sort
sysctl -a 2>/dev/null | grep -E '^net\\.ipv[46]\\.' | grep -vE 'stable_secret|fib_notify|base_reachable'
bpftool prog show | grep -o 'name fib_.*' ; tc qdisc show dev eth0
"""


@dataclass(frozen=True)
class Machine:
    """The user's machine, which is the VM of a deployment, and the host that has it as its SUT."""

    host: PrivateHost
    tap: str

    def run(self, script: str) -> str:
        """Run a shell script there, as its owner does."""
        done = self.host.testbed("exec", "sut", "-n", "machine", "--", "sh", "-c", script)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def inventory(self) -> list[str]:
        """Return all that a deployment may change there."""
        return self.run(INVENTORY).splitlines()

    def lose(self) -> None:
        """End the connection of deployment `lab`, and let nobody log in as before."""
        self.host.run("mv", "/root/.ssh/config", "/root/.ssh/config.away")
        (master,) = self.host.pids(f"{recorded(self.host)['lab']}/ssh")
        self.host.run("kill", str(master))

    def find(self) -> None:
        """Undo that."""
        self.host.run("mv", "/root/.ssh/config.away", "/root/.ssh/config")


def recorded(host: PrivateHost) -> dict[str, str]:
    """Return the id of each deployment by its name."""
    said = host.run("sh", "-c", "for f in /run/state/*/record.json; do tr -d '\\n' <$f; echo; done")
    records = [json.loads(line) for line in said.stdout.splitlines()]
    return {record["name"]: record["id"] for record in records}


@contextmanager
def own_machine() -> Iterator[Machine]:
    with private_host() as host:
        made = host.testbed("up", BARE, "--name", "machine", "--format", "json")
        assert made.returncode == 0, made.stderr
        identity = json.loads(made.stdout)["deployment"]["id"]
        host.run("sh", "-c", SSH, "sh", f"/run/state/{identity}/ssh_config")
        machine = Machine(host, f"tb{identity}tap")
        yield machine
        assert host.testbed("down", "machine").returncode == 0


@pytest.mark.timeout(900)
def test_up_tells_gaps_goes_on_and_does_all_when_they_are_mended() -> None:
    with own_machine() as machine:
        host, tap = machine.host, machine.tap
        code, told, error = up(host, tap, name="nobody.invalid")
        assert (code, told) == (3, None)
        assert "cannot reach root@nobody.invalid" in error
        code, told, error = up(host, tap, interface="eth7")
        assert (code, told) == (3, None)
        assert "has no interface 'eth7'" in error
        code, told, error = up(host, tap)
        assert (code, told) == (3, None)
        assert "has /sys/fs/bpf/fib, /opt/fib, " in error
        assert "from somebody else" in error
        assert list(recorded(host)) == ["machine"], "what was refused has no record"

        machine.run(BARE_MACHINE)
        machine.run("mv /usr/sbin/tc /usr/sbin/tc.away")
        code, told, error = up(host, tap)
        assert code == 0, error
        assert {gap["reason"] for gap in told["deployment"]["gaps"]} == {"no tc (iproute2)"}
        assert len(told["deployment"]["gaps"]) == 3
        assert told["logins"] == []
        services = told["deployment"]["tenants"][0]["services"]
        assert [service["problem"] for service in services] == ["", "", ""]
        shown = host.testbed("status", "lab")
        assert shown.returncode == 0
        assert "the SUT cannot have: wildcard listener" in shown.stdout
        code, told, error = up(host, tap, deployment="other")
        assert (code, told) == (3, None)
        assert f"interface '{tap}' is the uplink of deployment 'lab'" in error

        machine.run("mv /usr/sbin/tc.away /usr/sbin/tc")
        code, told, error = up(host, tap)
        assert code == 0, error
        assert told["deployment"]["gaps"] == []
        assert [login["detail"] for login in told["logins"]] == ["ann accepted by ldap, FIB 7"]
        assert host.testbed("down", "lab").returncode == 0


@pytest.mark.timeout(900)
def test_machine_is_one_deployments_and_as_before_after_down() -> None:
    with own_machine() as machine:
        host, tap = machine.host, machine.tap
        machine.run(BARE_MACHINE)
        before = machine.inventory()
        code, _, error = up(host, tap)
        assert code == 0, error
        during = machine.inventory()
        for trace in ("/opt/fib/deployment", "/etc/tenantd/config.json", "192.168.0.0/24"):
            assert any(trace in line for line in during), trace
        assert "net.ipv4.tcp_fwmark_accept = 0" in set(before) - set(during)

        host.run("ip", "tuntap", "add", "vmtap7", "mode", "tap")
        code, _, error = up(host, "vmtap7", deployment="other")
        assert code == 3
        assert "in use by deployment 'lab'" in error

        machine.lose()
        gone = host.testbed("down", "lab")
        assert gone.returncode == 1
        assert "still there" in gone.stderr
        assert "--leave-sut" in gone.stderr
        machine.find()
        assert machine.inventory() == during
        assert host.testbed("down", "lab").returncode == 0
        assert machine.inventory() == before

        code, _, error = up(host, tap)
        assert code == 0, error
        machine.lose()
        assert host.testbed("down", "lab", "--leave-sut").returncode == 0
        assert list(recorded(host)) == ["machine"]
        machine.find()
        code, _, error = up(host, tap)
        assert code == 3, "the machine bears the claim of one that is no more"
        assert "if it is gone for good, on the machine: start-stop-daemon" in error
