"""An unmodified daemon: one OpenSSH server for all tenants, each of whose users its own KDC judges.

sshd accepts and forks, and the child asks PAM (libpam-krb5), so the KDC, in its own process. It knows
nothing of FIBs: a policy of its cgroup says that accept() sets the FIB of the thread. Both tenants
have a user `ann` and a realm TWIN.TEST; only the passwords differ.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from scenarios.checks import KERBEROS_PORT, assert_no_leak, server_frames
from testbed.api import Capture, Deadline, Running, Shell, Tenant, run_by_ssh, wait_for

PORT = 2022
FIB_OF_THE_SESSION = "PYTHONPATH=/opt/fib python3 -c 'import fib; print(fib.get_thread_fib())'"

START = f"""
mkdir -p /run/tenant-sshd /sys/fs/cgroup/tenant-sshd
# The name of the program is that of its PAM service.
ln -sf /usr/sbin/sshd /run/tenant-sshd/tenant-sshd
cat >/etc/pam.d/tenant-sshd <<END
auth     required pam_krb5.so realm=TWIN.TEST no_ccache
account  required pam_permit.so
session  required pam_permit.so
password required pam_deny.so
END
cat >/run/tenant-sshd/config <<END
Port {PORT}
AddressFamily inet
HostKey /etc/ssh/ssh_host_ed25519_key
UsePAM yes
PasswordAuthentication yes
KbdInteractiveAuthentication no
PubkeyAuthentication no
UseDNS no
PidFile /run/tenant-sshd/pid
END
id ann >/dev/null 2>&1 || useradd --no-create-home --home-dir / --shell /bin/sh ann
fibctl policy tenant-sshd $1
echo $$ >/sys/fs/cgroup/tenant-sshd/cgroup.procs
exec /run/tenant-sshd/tenant-sshd -f /run/tenant-sshd/config -E /run/tenant-sshd/log
"""
STOP = """
fibctl policy tenant-sshd
echo 1 >/sys/fs/cgroup/tenant-sshd/cgroup.kill
until grep -q 'populated 0' /sys/fs/cgroup/tenant-sshd/cgroup.events; do :; done
rmdir /sys/fs/cgroup/tenant-sshd
userdel ann
rm -rf /run/tenant-sshd /etc/pam.d/tenant-sshd
"""

pytestmark = [
    pytest.mark.topology("twins"),
    pytest.mark.tenants("castor", "pollux"),
    pytest.mark.exclusive,
]


@contextmanager
def sshd(deployment: Running, *policy: str) -> Iterator[None]:
    """Run the server in a cgroup with that policy while the block lasts."""
    channel = deployment.sut.channel
    channel.run(["sh", "-ec", START, "sh", *policy])
    try:
        listening = ["ss", "-Hltn", f"sport = :{PORT}"]
        wait_for(
            lambda: channel.run(listening).stdout or None, Deadline.after(10), what="sshd to listen"
        )
        yield
    finally:
        channel.run(["sh", "-ec", STOP])


def log_in(tenant: Tenant, password_of: Tenant) -> Shell:
    """Log in as ann at the tenant's own server address."""
    user = password_of.users[0]
    assert user.name == tenant.users[0].name == "ann"
    client = tenant.client
    server = (tenant.server, PORT)
    return run_by_ssh(client, server, user.name, user.password, FIB_OF_THE_SESSION)


def test_each_tenants_password_opens_over_its_own_server_address_alone(
    deployment: Running, tenants: tuple[Tenant, ...], wire: Capture
) -> None:
    with sshd(deployment, "--accept-sets-thread"):
        for tenant, twin in (tenants, reversed(tenants)):
            before = len(server_frames(wire.frames(), twin, KERBEROS_PORT))
            own = log_in(tenant, password_of=tenant)
            assert (own.opened, own.output) == (True, str(tenant.fib))
            stolen = log_in(tenant, password_of=twin)
            assert not stolen.opened, stolen
            assert server_frames(wire.frames(), tenant, KERBEROS_PORT), "its KDC was not asked"
            assert len(server_frames(wire.frames(), twin, KERBEROS_PORT)) == before
    assert_no_leak(deployment.plan, wire)


def test_control_without_the_opt_in_nobody_can_log_in(
    deployment: Running, tenants: tuple[Tenant, ...], wire: Capture
) -> None:
    with sshd(deployment):
        for tenant in tenants:
            refused = log_in(tenant, password_of=tenant)
            assert not refused.opened
            assert "Permission denied" in refused.output  # it was sshd that said so
            assert not server_frames(wire.frames(), tenant, KERBEROS_PORT)
