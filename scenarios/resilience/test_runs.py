"""A test run is killed: its leases are free at once, the next run mends and ends what it started."""

from __future__ import annotations

import sys
from signal import SIGKILL

import pytest

from scenarios.resilience.host import TENANT, TOPOLOGY, assert_as_before, deployments
from testbed.api import Command, Deadline, NotYet, PrivateHost, private_host, wait_for

FOLDER = "/run/tmp/suite"
SUITE = f"""
mkdir -p {FOLDER} && cd {FOLDER}
echo 'pytest_plugins = ["testbed.pytest_plugin"]' >conftest.py
cat >test_held.py <<'END'
import os, pathlib
from testbed.api import Deadline, Role, faults, ping, wait_for
def test_held(tenant):
    assert ping(tenant.client, tenant.server).ok
    if "HOLD" in os.environ:
        with faults.router_down(tenant), faults.service_hung(tenant, Role.DNS):
            pathlib.Path("{FOLDER}/broken").touch()
            wait_for(lambda: False, Deadline.after(300), what="the end")
END
"""


def pytest_command(*, hold: bool) -> tuple[str, ...]:
    held = ("env", "HOLD=1") if hold else ("env",)
    python = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q")
    return (*held, *python, "-n", "1", "--rootdir", FOLDER, "--topology", TOPOLOGY, FOLDER)


def holding(host: PrivateHost) -> tuple[int, int]:
    """Return the pids of the run's controller and of its worker, once that holds the tenant."""
    find = "pgrep -of 'pytest.*--rootdir'; pgrep -f 'execnet|gateway_base'"

    def both() -> tuple[int, int]:
        told = deployments(host)
        if not told or not told[0]["leases"]:
            raise NotYet("no lease")
        controller, worker, *_ = map(int, host.run("sh", "-c", find).stdout.split())
        return controller, worker

    return wait_for(both, Deadline.after(120), what=f"a worker that holds {TENANT}")


def await_fault(host: PrivateHost) -> None:
    """Wait until the tenant is broken: the next run's scenario must find it whole."""

    def broken() -> bool:
        if host.run("test", "-e", f"{FOLDER}/broken", check=False).returncode != 0:
            raise NotYet("whole")
        return True

    wait_for(broken, Deadline.after(30), what="the fault")


def assert_free_at_once(host: PrivateHost, worker: int) -> None:
    def free() -> bool:
        leases = deployments(host)[0]["leases"]
        if leases or host.run("test", "-e", f"/proc/{worker}", check=False).returncode == 0:
            raise NotYet(f"leases {leases}")
        return True

    wait_for(free, Deadline.after(5), what="the end of the worker and of its lease")


@pytest.mark.timeout(300)
def test_killed_run_frees_its_tenants_and_is_cleaned_by_the_next() -> None:
    with private_host() as host:
        host.run("sh", "-c", SUITE)
        before = host.inventory()
        command: Command = host.begin_command(*pytest_command(hold=True))
        controller, worker = holding(host)
        await_fault(host)
        host.run("kill", f"-{SIGKILL.value}", str(controller))
        assert_free_at_once(host, worker)
        command.wait()
        assert deployments(host), "the killed run has removed its deployment by itself?"
        found = deployments(host)[0]["id"]
        finished = host.run(*pytest_command(hold=False), check=False)
        assert finished.returncode == 0, finished.stdout + finished.stderr
        assert found not in str(deployments(host))
        assert not deployments(host), "the next run has left what the killed one had started"
        # What pytest and scapy keep for their users is no resource of ours.
        kept = (
            "artifacts broken __pycache__ /run/tmp/pytest-of-* /run/home/.cache /run/home/.config"
        )
        host.run("sh", "-c", f"cd {FOLDER} && rm -rf {kept}")
        assert_as_before(host, before)
