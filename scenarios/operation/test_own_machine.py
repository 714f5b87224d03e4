"""`up` on a machine of the user's, reached as the user reaches it: with and without what it needs.

The machine is a Linux VM on a private host, which knows nothing of whose it is: root's own ssh
configuration there leads to it by the name `lab7`.
"""

from __future__ import annotations

import json
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


def up(host: PrivateHost, tap: str, *, name: str = "lab7", interface: str = "eth0") -> Any:
    """Run `up` on the machine; return its exit code, what it says as data, and its errors."""
    text = TOPOLOGY.format(host=name, interface=interface, tap=tap)
    host.run("sh", "-c", 'printf %s "$1" >/run/lab.yaml', "sh", text)
    done = host.testbed("up", "/run/lab.yaml", "--format", "json", "--progress", "plain")
    told = json.loads(done.stdout) if done.stdout else None
    return done.returncode, told, done.stderr


@pytest.mark.timeout(900)
def test_up_tells_gaps_goes_on_and_does_all_when_they_are_mended() -> None:
    with private_host() as host:
        made = host.testbed("up", BARE, "--name", "machine", "--format", "json")
        assert made.returncode == 0, made.stderr
        identity = json.loads(made.stdout)["deployment"]["id"]
        tap = f"tb{identity}tap"
        host.run("sh", "-c", SSH, "sh", f"/run/state/{identity}/ssh_config")

        code, told, error = up(host, tap, name="nobody.invalid")
        assert (code, told) == (3, None)
        assert "cannot reach root@nobody.invalid" in error
        code, told, error = up(host, tap, interface="eth7")
        assert (code, told) == (3, None)
        assert "has no interface 'eth7'" in error

        inside = ("exec", "sut", "-n", "machine", "--", "sh", "-c")
        away = host.testbed(*inside, "mv /usr/sbin/tc /usr/sbin/tc.away")
        assert away.returncode == 0, away.stderr
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

        host.testbed(*inside, "mv /usr/sbin/tc.away /usr/sbin/tc")
        code, told, error = up(host, tap)
        assert code == 0, error
        assert told["deployment"]["gaps"] == []
        assert [login["detail"] for login in told["logins"]] == ["ann accepted by ldap, FIB 7"]
        assert host.testbed("down", "lab").returncode == 0
        alive = host.testbed(*inside, "fibctl show")
        assert "other" in alive.stdout, "the machine is the user's: it is left as it is"
        assert host.testbed("down", "machine").returncode == 0
