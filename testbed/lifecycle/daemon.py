"""The multi-tenant daemon in the SUT: its configuration and keytabs, its start, its health.

The daemon says itself what it serves (its ready file, docs/daemon.md): the hash of the
configuration it has read tells a daemon that is up to date from one that is not.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import PurePosixPath

import docker

from testbed.deadline import Deadline, NotYet, wait_for
from testbed.drivers import containers
from testbed.errors import TestbedError
from testbed.lifecycle import certificates
from testbed.lifecycle.deployment import Deployment
from testbed.plan.daemon import authority_path, daemon_config, keytab_path
from testbed.plan.realm import KEYTAB
from testbed.plan.resources import Plan, Role, TenantPlan
from testbed.sut.channel import GuestFile
from testbed.sut.protocol import Sut

CONFIG = "/etc/tenantd/config.json"
LOG = "/var/log/tenantd.log"
ACCOUNT = "tenantd"
_PID, _READY = "/run/tenantd.pid", "/run/tenantd/ready.json"
PATHS = ("/etc/tenantd", "/run/tenantd", _PID, LOG)
"""All that is there of it, but for its account."""

STOP = f"start-stop-daemon --stop --oknodo --retry 5 --pidfile {_PID}"
# It starts in 2 s and reads a thousand tenants in 2 s under TCG, on a host that has nothing else to do;
# one that ends is seen at once.
_START_LIMIT_S, _TENANT_LIMIT_S = 120.0, 0.02
# One command, since each costs a round trip: the daemon starts, or reads its configuration again
# when it runs. Defects ($1...) are for negative controls.
_START = f"""set -eu
id -u {ACCOUNT} >/dev/null 2>&1 || useradd --system --no-create-home --shell /usr/sbin/nologin {ACCOUNT}
chown -R {ACCOUNT}: /etc/tenantd
if start-stop-daemon --status --pidfile {_PID} && [ $# = 0 ]; then
    kill -HUP "$(cat {_PID})"
    exit
fi
{STOP}
rm -f {_READY}
start-stop-daemon --start --background --make-pidfile --pidfile {_PID} --output {LOG} \
    --chdir /opt/fib --exec /usr/bin/python3 -- -m fib.services.tenantd --config {CONFIG} "$@"
"""
_ASK = f"start-stop-daemon --status --pidfile {_PID} || exit; cat {_READY} 2>/dev/null || :"


def ensure(plan: Plan, sut: Sut) -> None:
    """Give the daemon its tenants, and start it unless it runs; wait until it serves.

    Raises:
        TestbedError: when it does not serve in time, with its last words.
    """
    config = daemon_config(plan).encode()
    sut.channel.put({CONFIG: GuestFile(config, 0o600)})
    start(sut, hashlib.sha256(config).hexdigest(), tenants=len(plan.tenants))


def give_keys(
    client: docker.DockerClient, deployment: Deployment, tenants: Collection[TenantPlan]
) -> None:
    """Give the daemon what it knows the tenants' servers by; it reads that at each use.

    The keys that KDCs have made for it, and the certificates of the authorities of directories. Apart
    from `ensure`, since the daemon takes longer to start than the KDCs.
    """
    files = {
        keytab_path(tenant): containers.read_file(client, tenant.container(Role.KDC).name, KEYTAB)
        for tenant in tenants
        if tenant.realm
    } | {
        authority_path(tenant): certificates.authority(deployment.folder, tenant).certificate
        for tenant in tenants
        if tenant.directory and tenant.directory.tls
    }
    if files:
        channel = deployment.sut().channel
        channel.put({path: GuestFile(content, 0o600) for path, content in files.items()})
        folders = sorted({str(PurePosixPath(path).parent) for path in files})
        channel.run(["chown", "-R", f"{ACCOUNT}:", *folders])


def start(sut: Sut, config_hash: str, *defects: str, tenants: int = 0) -> None:
    """Start the daemon (again, if `defects` are given), or let it read its configuration anew."""
    deadline = Deadline.after(_START_LIMIT_S + _TENANT_LIMIT_S * tenants)
    options = [part for defect in defects for part in ("--defect", defect)]
    sut.channel.run(["sh", "-c", _START, "sh", *options])

    def serving() -> bool:
        ready = _ready(sut)
        if ready is None:
            raise TestbedError("the daemon ended at once")
        if ready.get("config_sha256") != config_hash:
            raise NotYet(ready or "no ready file")
        return True

    try:
        wait_for(serving, deadline, what="the daemon serves")
    except TestbedError as error:
        tail = sut.channel.run(["tail", "-n", "5", LOG], check=False).stdout
        hint = "its log: testbed logs daemon"
        raise TestbedError(f"{error}\n{tail}".rstrip(), hint=hint) from error


def stop(sut: Sut) -> None:
    """Stop the daemon. Stopped already is fine."""
    sut.channel.run(["sh", "-c", STOP])


def restart(plan: Plan, sut: Sut, *defects: str) -> None:
    """Restart the daemon with `defects` (see `tenantd --help`), or whole when none is given."""
    stop(sut)
    digest = hashlib.sha256(daemon_config(plan).encode()).hexdigest()
    start(sut, digest, *defects, tenants=len(plan.tenants))


def problem(sut: Sut, plan: Plan) -> str:
    """Return what is wrong with the daemon, empty when it serves this plan."""
    ready = _ready(sut)
    if ready is None:
        return "not running"
    if ready.get("config_sha256") != hashlib.sha256(daemon_config(plan).encode()).hexdigest():
        return "serves another configuration"
    return ""


def _ready(sut: Sut) -> Mapping[str, object] | None:
    """Return what the daemon says of itself: nothing before it serves, None when it has ended."""
    answer = sut.channel.run(["sh", "-c", _ASK], check=False)
    if answer.returncode != 0:
        return None
    ready: Mapping[str, object] = json.loads(answer.stdout or "{}")
    return ready
