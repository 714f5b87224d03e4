from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from testbed.lifecycle import certificates
from testbed.plan.resources import Plan, Role, TenantPlan
from testbed.tests.plan.topologies import plan_of

TWINS = """
defaults: {domain: twin.test, services: {dns, ldap: {tls: true}}}
tenants: {castor, pollux}
"""


def twins() -> tuple[Plan, TenantPlan, TenantPlan]:
    plan = plan_of(TWINS)
    return plan, plan.tenant("castor"), plan.tenant("pollux")


def paths(folder: Path, tenant: TenantPlan, role: Role) -> dict[str, tuple[int, int]]:
    found = certificates.files(folder, tenant, tenant.container(role))
    return {file.path.rpartition("/")[2]: (file.mode, file.uid) for file in found}


def test_who_speaks_tls_is_given_what_it_takes(tmp_path: Path) -> None:
    _, castor, _ = twins()
    assert paths(tmp_path, castor, Role.LDAP) == {
        "authority.pem": (0o444, 0),
        "server.pem": (0o400, 10001),
        "server.key": (0o400, 10001),
    }
    assert paths(tmp_path, castor, Role.CLIENT) == {"authority.pem": (0o444, 0)}
    assert paths(tmp_path, castor, Role.DNS) == {}


def test_tenant_without_tls_has_no_authority(tmp_path: Path) -> None:
    tenant = plan_of("tenants: {alpha: {services: {ldap}}}").tenant("alpha")
    assert paths(tmp_path, tenant, Role.LDAP) == {}
    assert not list(tmp_path.iterdir())


def test_all_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    _, castor, _ = twins()
    certificates.authority(tmp_path, castor)
    made = list(tmp_path.rglob("*"))
    assert [path.name for path in made if path.is_file()]
    for path in made:
        assert path.stat().st_mode & 0o077 == 0, path


def test_twins_have_authorities_of_their_own_and_keep_them(tmp_path: Path) -> None:
    _, castor, pollux = twins()
    first = certificates.authority(tmp_path, castor)
    assert first.certificate != certificates.authority(tmp_path, pollux).certificate
    assert certificates.authority(tmp_path, castor) == first


def test_several_makers_end_with_one_authority(tmp_path: Path) -> None:
    _, castor, _ = twins()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: certificates.authority(tmp_path, castor), range(16)))
    assert len({one.key for one in found}) == 1
    assert [path.name for path in (tmp_path / "authorities").iterdir()] == ["castor"]
