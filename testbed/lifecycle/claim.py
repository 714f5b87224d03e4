"""A machine of the user's: reaching it, whose it is while a deployment has something there, leaving it.

The folder of the extensions there holds the deployment's id, and comes into being with it: by one
rename, so that of two deployments, of two hosts too, one gets the machine. A machine that has any of
what we bring, but no claim, has it from somebody else: it is left alone.
"""

from __future__ import annotations

import socket
from pathlib import Path

from testbed.drivers import links
from testbed.errors import PreflightError, TestbedError
from testbed.events import Events
from testbed.lifecycle import daemon
from testbed.lifecycle.deployment import Deployment, open_deployment
from testbed.lifecycle.store import Store
from testbed.plan.resources import RemotePlan
from testbed.sut.extension import COMMAND, GUEST_ROOT, PINS, STATE

MARK = "sut-claimed"
"""File of a deployment's folder: it may have something on a machine of the user's."""

_CLAIM = f"{GUEST_ROOT}/deployment"
_NO_ACCOUNT = f"{GUEST_ROOT}/no-account"  # the daemon's was made for us
_FILES = (COMMAND, STATE, *daemon.PATHS)
_LIMIT_S = 3600.0  # for many thousands of FIBs under emulation

# Arguments: id, name, our host's name. Says whose the machine is, or what somebody else has there.
_TAKE = f"""set -eu
new={GUEST_ROOT}.$1
if [ ! -e {_CLAIM} ]; then
    found=
    for path in {PINS} {GUEST_ROOT} {" ".join(_FILES)}; do
        if [ -e "$path" ]; then found="$found $path"; fi
    done
    if [ "$found" ]; then echo "-$found"; exit; fi
    mkdir -p "$new"
    echo "$1 $2 $3" >"$new/deployment"
    id -u {daemon.ACCOUNT} >/dev/null 2>&1 || : >"$new/no-account"
    mv -T "$new" {GUEST_ROOT} || rm -r "$new"  # another was faster
fi
cat {_CLAIM}
"""

# Arguments: id, interface. The claim goes last: who comes after a kill goes on.
_RELEASE = f"""set -eu
old={GUEST_ROOT}.$1
read -r holder rest 2>/dev/null <{_CLAIM} || holder=
if [ "$holder" = "$1" ]; then
    {daemon.STOP}
    if [ -e {PINS} ]; then {COMMAND} detach "$2"; fi
    if [ -e {_NO_ACCOUNT} ] && id -u {daemon.ACCOUNT} >/dev/null 2>&1; then userdel {daemon.ACCOUNT}; fi
    rm -rf {" ".join(_FILES)}
    mv -T {GUEST_ROOT} "$old"
fi
rm -rf "$old"
"""


def refuse_shared_uplink(store: Store, deployment: Deployment) -> None:
    """Refuse an interface of the user's on which another deployment has its routers.

    Raises:
        PreflightError: with that deployment's name.
    """
    if not deployment.remote:
        return
    for record in store.all():
        if record.id == deployment.record.id or not links.namespaces_of(record.id):
            continue
        try:
            other = open_deployment(store, record)
        except TestbedError:  # damaged, or removed meanwhile
            continue
        if other.remote and other.uplink == deployment.uplink:
            raise PreflightError(
                f"interface {deployment.uplink!r} is the uplink of deployment {record.name!r}",
                hint=f"one at a time: testbed down {record.name}",
            )


def reach(deployment: Deployment, events: Events) -> bool:
    """Reach a machine of the user's, and claim it, before anything is made that would need it.

    Returns:
        whether the SUT can have FIBs, as a VM of ours can; a machine that cannot is not claimed.

    Raises:
        PreflightError: it is not as the topology says, or somebody else's.
    """
    if not deployment.remote:
        return True
    if not links.exists(deployment.uplink):
        raise PreflightError(
            f"this host has no interface {deployment.uplink!r}",
            hint="correct 'uplink:' in the topology",
        )
    deployment.sut().start(events)
    has_fibs = not deployment.gaps()
    if has_fibs:
        _take(deployment, deployment.remote)
    return has_fibs


def is_taken(folder: Path) -> bool:
    """Whether the deployment of that folder may have something on a machine of the user's."""
    return (folder / MARK).exists()


def _take(deployment: Deployment, remote: RemotePlan) -> None:
    """Claim the user's machine for a deployment, before anything is changed there.

    Raises:
        PreflightError: another deployment has it, or somebody else what we would bring.
    """
    channel = deployment.sut().channel
    mark = deployment.folder / MARK
    was_taken = mark.exists()
    mark.touch()
    host = socket.gethostname()
    argv = ["sh", "-c", _TAKE, "sh", deployment.record.id, deployment.record.name, host]
    holder, _, rest = channel.run(argv).stdout.strip().partition(" ")
    if holder == deployment.record.id:
        return
    if not was_taken:
        mark.unlink()
    there = f"{remote.user}@{remote.host}"
    if holder == "-":
        raise PreflightError(
            f"{there} has {rest.replace(' ', ', ')} from somebody else than a deployment",
            hint=f"if nobody needs it, on the machine: {_by_hand(remote)}",
        )
    name, _, other = rest.partition(" ")
    raise PreflightError(
        f"{there} is in use by deployment {name!r} ({holder}) of host {other!r}",
        hint=f"there: testbed down {holder}\nif it is gone for good, on the machine: {_by_hand(remote)}",
    )


def _by_hand(remote: RemotePlan) -> str:
    files = " ".join((GUEST_ROOT, *_FILES))
    return f"{daemon.STOP}; {COMMAND} detach {remote.interface}; rm -rf {files}"


def release(deployment: Deployment, events: Events) -> None:
    """Take everything of a deployment off the user's machine; what is not its own stays.

    Raises:
        TestbedError: when the machine cannot be reached, or something cannot be taken off.
    """
    remote, sut = deployment.remote, deployment.sut()
    if not remote:
        return
    try:
        with events.step(f"take FIBs and daemon off {remote.host}"):
            sut.require_answer()
            argv = ["sh", "-c", _RELEASE, "sh", deployment.record.id, remote.interface]
            sut.channel.run(argv, timeout_s=_LIMIT_S)
    except TestbedError as error:
        raise TestbedError(
            f"what deployment {deployment.record.name!r} has on {remote.host} is still there: "
            f"{error.message}",
            hint="run it again when that is mended, or leave the machine as it is: "
            f"testbed down {deployment.record.name} --leave-sut",
        ) from error
    (deployment.folder / MARK).unlink()
