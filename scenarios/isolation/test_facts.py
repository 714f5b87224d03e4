"""Facts about the hosts of a deployment, by testinfra: least privilege, one daemon for all."""

from __future__ import annotations

import pytest

from testbed.api import Role, Running, Tenant

pytestmark = pytest.mark.configuration

NO_CAPABILITIES = "0000000000000000"
NET_RAW_ONLY = "0000000000002000"


@pytest.mark.tenants("bravo")
@pytest.mark.parametrize(
    ("role", "capabilities"),
    [(Role.CLIENT, NET_RAW_ONLY), (Role.DNS, NO_CAPABILITIES), (Role.KDC, NO_CAPABILITIES)],
)
def test_container_has_least_privileges(role: Role, capabilities: str, tenant: Tenant) -> None:
    status = tenant.host(role).file("/proc/1/status").content_string
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert fields["CapBnd"] == capabilities
    assert fields["NoNewPrivs"] == "1"


@pytest.mark.tenants("bravo")
def test_secrets_of_a_kdc_are_its_own(tenant: Tenant) -> None:
    host = tenant.host(Role.KDC)
    for path in ("/etc/testbed/principals", "/var/lib/testbed/service.keytab"):
        secret = host.file(path)
        assert secret.exists
        assert secret.mode & 0o077 == 0


@pytest.mark.tenants("alpha")
def test_one_unprivileged_daemon_serves_all_tenants(deployment: Running, tenant: Tenant) -> None:
    del tenant
    sut = deployment.sut_host
    daemons = sut.process.filter(user="tenantd")
    assert len(daemons) == 1
    # Workers, and the thread that hands requests to them: no thread for a tenant.
    assert daemons[0].nlwp <= 8
    status = sut.file(f"/proc/{daemons[0].pid}/status").content_string
    assert f"CapEff:\t{NO_CAPABILITIES}" in status
    listening = sut.run("ss -Hltn 'sport = :7007'").stdout.splitlines()
    assert len(listening) <= 2, "one wildcard socket, of one family or of each"
    assert all("*:7007" in line or "0.0.0.0:7007" in line for line in listening)


@pytest.mark.tenants("alpha")
def test_sut_has_no_way_out_but_its_tenants(deployment: Running, tenant: Tenant) -> None:
    del tenant
    sut = deployment.sut_host
    assert "default" not in sut.check_output("ip -4 route show table main")
    assert "default" not in sut.check_output("ip -6 route show table main")
    interfaces = set(sut.check_output("ls /sys/class/net").split())
    assert interfaces == {"lo", "eth0", "mgmt"}
    assert sut.sysctl("net.ipv4.conf.all.rp_filter") == 0
    assert sut.sysctl("net.ipv4.tcp_fwmark_accept") == 1
