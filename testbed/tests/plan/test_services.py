"""What containers are given: golden files, secrets that stay secret, names that stay names."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
import re
import tarfile
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.plan import files as packing
from testbed.plan import realm, services
from testbed.plan.files import TENANTS, FileSpec
from testbed.plan.resources import (
    ContainerPlan,
    DirectoryPlan,
    FibId,
    HostPlan,
    Leg,
    Mac,
    Method,
    Network,
    NetworkPlan,
    RealmPlan,
    Record,
    ReplicaPlan,
    Role,
    RouterPlan,
    Secret,
    TenantPlan,
)
from testbed.plan.services import service_files, service_question
from testbed.tests.conftest import Golden

GOLDEN = Path(__file__).parents[1] / "golden" / "services"
HOSTILE = "a b\"c''\\d $(id) `id` ; é☃ #!"
PASSWORDS = st.text(
    st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1, max_size=40
)
LABEL = st.from_regex(r"[a-z0-9_]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)


def _container(role: Role, host: int) -> ContainerPlan:
    addresses = (ip_interface(f"192.168.0.{host}/24"), ip_interface(f"fd00:c0a8::{host}/64"))
    mac = Mac(f"02:00:00:00:00:{host:02x}")
    return ContainerPlan(f"tb-alpha-{role}", role, f"{role}.alpha.test", mac, addresses)


_LEG = Leg("lan", Mac("02:00:00:00:00:fe"), (ip_interface("192.168.0.254/24"),))
TENANT = TenantPlan(
    name="alpha",
    index=1,
    fib=FibId(1),
    domain="alpha.test",
    server_host="server.alpha.test",
    server_addresses=(ip_interface("10.64.0.1/29"),),
    router=RouterPlan("tb-alpha", _LEG, _LEG, (), ()),
    network=NetworkPlan(
        "tb-alpha", "t0001", (ip_network("192.168.0.0/24"), ip_network("fd00:c0a8::/64")), ()
    ),
    containers=(
        _container(Role.CLIENT, 1),
        _container(Role.DNS, 53),
        _container(Role.LDAP, 89),
        _container(Role.LDAP2, 90),
        _container(Role.KDC, 88),
        _container(Role.KDC2, 87),
    ),
    resolvers=(ip_address("192.168.0.53"), ip_address("fd00:c0a8::53")),
    records=(
        Record("client.alpha.test.", "A", "192.168.0.1"),
        Record("1.0.168.192.in-addr.arpa.", "PTR", "client.alpha.test."),
        Record("client.alpha.test.", "AAAA", "fd00:c0a8::1"),
        Record(f"{ip_address('fd00:c0a8::1').reverse_pointer}.", "PTR", "client.alpha.test."),
        Record("server.alpha.test.", "A", "10.64.0.1"),
        Record("1.0.64.10.in-addr.arpa.", "PTR", "server.alpha.test."),
        Record("_kerberos._udp.alpha.test.", "SRV", "0 0 88 kdc.alpha.test."),
        Record("_kerberos.alpha.test.", "TXT", '"ALPHA.TEST"'),
        Record("same.example.", "A", "192.168.0.1"),
    ),
    probe_name="same.example",
    users=(Secret("alice", "wonderland"), Secret("bob", HOSTILE)),
    directory=DirectoryPlan(
        host="ldap.alpha.test",
        address=ip_address("192.168.0.89"),
        second=HostPlan("ldap2.alpha.test", ip_address("192.168.0.90")),
        base_dn="dc=alpha,dc=test",
        admin=Secret("admin", "directory-secret"),
        tls=False,
    ),
    realm=RealmPlan(
        host="kdc.alpha.test",
        address=ip_address("192.168.0.88"),
        second=ReplicaPlan(
            host="kdc2.alpha.test",
            address=ip_address("192.168.0.87"),
            principal=Secret("host/192.168.0.87", "replica-secret"),
        ),
        realm="ALPHA.TEST",
        master=Secret("K/M", "master-secret"),
        admin=Secret("admin/admin", "realm-secret"),
        services=("login/server.alpha.test",),
    ),
    login=Method.KERBEROS,
)
SECRETS = (
    "wonderland",
    HOSTILE,
    "directory-secret",
    "realm-secret",
    "master-secret",
    "replica-secret",
)
ROLES = pytest.mark.parametrize("role", list(Role))


def _files(role: Role, tenant: TenantPlan = TENANT) -> dict[str, FileSpec]:
    return {file.path: file for file in service_files(tenant, tenant.container(role))}


def _with_user(name: str, password: str) -> TenantPlan:
    return dataclasses.replace(TENANT, users=(Secret(name, password),))


def _shown(files: dict[str, FileSpec]) -> str:
    return "".join(
        f"=== {file.path} {file.mode:04o} {file.uid}:{file.gid}\n{file.content.decode()}\n"
        for file in files.values()
    )


@ROLES
def test_rendered_files_are_as_reviewed(role: Role, golden: Golden) -> None:
    golden(GOLDEN / f"{role}.txt", _shown(_files(role)))


def test_client_of_a_tenant_without_services_has_no_server_to_ask(golden: Golden) -> None:
    bare = dataclasses.replace(TENANT, resolvers=(), directory=None, realm=None, users=())
    golden(GOLDEN / "bare-client.txt", _shown(_files(Role.CLIENT, bare)))


@pytest.mark.parametrize("role", [Role.CLIENT, Role.LDAP])
def test_tls_is_configured_where_the_directory_has_it(role: Role) -> None:
    assert TENANT.directory is not None
    secured = dataclasses.replace(TENANT, directory=dataclasses.replace(TENANT.directory, tls=True))
    path = {Role.CLIENT: "/etc/ldap/ldap.conf", Role.LDAP: "/etc/testbed/slapd.conf"}[role]
    added = _files(role, secured)[path].content.splitlines()
    for line in _files(role)[path].content.splitlines():
        added.remove(line)
    settings = {line.split()[0].decode() for line in added if line and not line.startswith(b"#")}
    own = {"TLSCertificateFile", "TLSCertificateKeyFile"}
    assert settings == (own if role is Role.LDAP else {"TLS_CACERT"})
    if role is Role.LDAP:
        assert "-ZZ" in service_question(secured, secured.container(role)).argv
        assert "-ZZ" not in service_question(TENANT, TENANT.container(role)).argv


@ROLES
def test_secrets_are_readable_by_their_owner_only_and_shown_by_no_repr(role: Role) -> None:
    secrets = [secret.encode() for secret in SECRETS]
    for file in _files(role).values():
        assert "wonderland" not in repr(file)
        if any(secret in file.content for secret in secrets):
            assert file.mode & 0o077 == 0, file.path


@ROLES
def test_a_question_carries_no_secret(role: Role) -> None:
    argv = " ".join(service_question(TENANT, TENANT.container(role)).argv)
    for secret in SECRETS:
        assert secret not in argv


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.CLIENT])
def test_servers_have_no_capability(role: Role) -> None:
    assert services.CAPABILITIES[role] == ()


def test_servers_own_their_files_by_the_number_in_their_image() -> None:
    dockerfile = (TENANTS / "base" / "Dockerfile").read_text()
    assert f"groupadd --gid {packing.SERVICE_UID} service" in dockerfile
    assert f"useradd --uid {packing.SERVICE_UID} --gid service" in dockerfile


def test_second_kdc_takes_the_database_from_the_first_alone() -> None:
    first, second = _files(Role.KDC), _files(Role.KDC2)
    assert second["/etc/testbed/kpropd.acl"].content == b"host/kdc.alpha.test@ALPHA.TEST\n"
    assert first["/etc/testbed/replica"].content == b"192.168.0.87\n"
    shared = ("/etc/testbed/kdc.conf", "/etc/testbed/master.password")
    assert [first[path] for path in shared] == [second[path] for path in shared]
    # What it makes by itself is as good as nothing, but the key under which it is sent the rest.
    key = '-pw "replica-secret" "host/192.168.0.87"'
    (made,) = (
        line
        for line in second["/etc/testbed/principals"].content.decode().splitlines()
        if line.startswith("add_principal")
    )
    assert made.endswith(key)
    assert key in first["/etc/testbed/principals"].content.decode()


def test_only_kdc_sends_its_database_to_nobody() -> None:
    assert TENANT.realm is not None
    alone = dataclasses.replace(TENANT, realm=dataclasses.replace(TENANT.realm, second=None))
    files = _files(Role.KDC, alone)
    assert "/etc/testbed/replica" not in files
    assert "host/" not in files["/etc/testbed/principals"].content.decode()
    with pytest.raises(LookupError, match=r"ALPHA\.TEST"):
        _files(Role.KDC2, alone)


def test_keytab_is_where_the_realm_leaves_it() -> None:
    assert f"-k {realm.KEYTAB} " in _files(Role.KDC)["/etc/testbed/principals"].content.decode()


def test_tenant_without_resolvers_never_asks_those_of_the_host() -> None:
    assert services.docker_resolvers(TENANT) == ("192.168.0.53", "fd00:c0a8::53")
    alone = dataclasses.replace(TENANT, resolvers=())
    assert services.docker_resolvers(alone) == ("0.0.0.0",)  # noqa: S104 - a name server, no bind


def test_client_is_asked_for_its_zone_or_for_its_resolvers() -> None:
    client = TENANT.container(Role.CLIENT)
    assert service_question(TENANT, client).answer == "dns.alpha.test."
    elsewhere = dataclasses.replace(TENANT, containers=(client,))
    assert service_question(elsewhere, client).argv[0] == "cmp"


def test_archive_holds_the_files_as_specified() -> None:
    files = service_files(TENANT, TENANT.container(Role.LDAP))
    packed = packing.files_archive(files)
    assert packed == packing.files_archive(files)
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        for file, member in zip(files, archive.getmembers(), strict=True):
            stored = archive.extractfile(member)
            assert stored is not None
            assert stored.read() == file.content
            assert f"/{member.name}" == file.path
            assert (member.mode, member.uid, member.gid) == (file.mode, file.uid, file.gid)
            assert member.mtime > 0  # nsd ignores a zone file of the year 1970's first second


# --- DNS


@pytest.mark.parametrize(
    ("network", "zone"),
    [
        (ip_network("192.168.0.0/24"), "0.168.192.in-addr.arpa."),
        (ip_network("10.0.0.0/8"), "10.in-addr.arpa."),
        (ip_network("192.168.0.128/25"), "0.168.192.in-addr.arpa."),
        (ip_network("192.168.4.0/22"), "168.192.in-addr.arpa."),
        (ip_network("fd00:c0a8::/64"), "0.0.0.0.0.0.0.0.8.a.0.c.0.0.d.f.ip6.arpa."),
        (ip_network("fd00:c0a8::/62"), "0.0.0.0.0.0.0.8.a.0.c.0.0.d.f.ip6.arpa."),
    ],
)
def test_reverse_zone_holds_the_whole_network(network: Network, zone: str) -> None:
    domain = dataclasses.replace(
        TENANT, network=NetworkPlan("n", "t0001", (network,), ()), records=()
    )
    assert f"/etc/testbed/{zone}zone" in _files(Role.DNS, domain)
    assert f"{network.broadcast_address.reverse_pointer}.".endswith(f".{zone}")


@given(st.lists(LABEL, min_size=1, max_size=4), st.sampled_from(["alpha.test.", "test.", "org."]))
def test_every_record_is_in_the_closest_zone_alone(labels: list[str], parent: str) -> None:
    owner = ".".join([*labels, parent])
    tenant = dataclasses.replace(TENANT, records=(Record(owner, "A", "192.0.2.1"),))
    zones = {
        path.removeprefix("/etc/testbed/").removesuffix("zone"): file.content.decode()
        for path, file in _files(Role.DNS, tenant).items()
        if path.endswith("zone")
    }
    assert set(zones) == {
        ".",
        "alpha.test.",
        "0.168.192.in-addr.arpa.",
        "0.0.0.0.0.0.0.0.8.a.0.c.0.0.d.f.ip6.arpa.",
    }
    holding = [name for name, text in zones.items() if f"\n{owner} IN A 192.0.2.1\n" in text]
    assert holding == ["alpha.test." if f".{owner}".endswith(".alpha.test.") else "."]


@pytest.mark.parametrize(
    "record",
    [
        Record("x.alpha.test.", "A", "192.168.0.1\nevil IN A 1.2.3.4"),
        Record("x.alpha.test.", "TXT", "no quotes"),
        Record("x.alpha.test.", "TXT", '"closed" evil "'),
        Record("x.alpha.test.", "TXT", '"two\nlines"'),
        Record("x.alpha.test.", "SRV", "0 0 kdc.alpha.test."),
        Record("x.alpha.test.", "$INCLUDE", "/etc/passwd"),
        Record("x..alpha.test.", "A", "192.168.0.1"),
        Record(f"{'x' * 64}.alpha.test.", "A", "192.168.0.1"),
    ],
)
def test_record_that_no_zone_can_hold_is_refused(record: Record) -> None:
    tenant = dataclasses.replace(TENANT, records=(record,))
    with pytest.raises(ValueError):  # noqa: PT011 - each has its own words
        _files(Role.DNS, tenant)


def test_owner_stays_one_word_whatever_it_holds() -> None:
    hostile = '$ORIGIN evil" ;(\n.alpha.test.'
    tenant = dataclasses.replace(TENANT, records=(Record(hostile, "A", "192.168.0.1"),))
    zone = _files(Role.DNS, tenant)["/etc/testbed/alpha.test.zone"].content.decode()
    last = zone.splitlines()[-1]
    assert last == "\\036ORIGIN\\032evil\\034\\032\\059\\040\\010.alpha.test. IN A 192.168.0.1"


# --- LDAP


def _entries(tenant: TenantPlan) -> list[dict[str, list[str]]]:
    """Parse the rendered LDIF, which has every value in base64."""
    text = _files(Role.LDAP, tenant)["/etc/testbed/directory.ldif"].content.decode()
    entries = []
    for block in text.strip().split("\n\n"):
        entry: dict[str, list[str]] = {}
        for line in block.splitlines():
            name, _, value = line.partition(":: ")
            entry.setdefault(name, []).append(base64.b64decode(value, validate=True).decode())
        entries.append(entry)
    return entries


@given(name=PASSWORDS, password=PASSWORDS)
def test_directory_holds_any_user_and_password(name: str, password: str) -> None:
    base, people, user = _entries(_with_user(name, password))
    assert base["dn"] == ["dc=alpha,dc=test"]
    assert people["dn"] == ["ou=people,dc=alpha,dc=test"]
    assert user["uid"] == [name]
    stored = base64.b64decode(user["userPassword"][0].removeprefix("{SSHA}"))
    digest, salt = stored[:20], stored[20:]
    assert digest == hashlib.sha1(password.encode() + salt, usedforsecurity=False).digest()
    unescaped = re.sub(r"\\(.)", r"\1", user["dn"][0])
    assert unescaped == f"uid={name},ou=people,dc=alpha,dc=test"


def test_same_password_is_stored_differently_for_each_tenant() -> None:
    twin = dataclasses.replace(TENANT, name="bravo")
    assert _entries(TENANT)[2]["userPassword"] != _entries(twin)[2]["userPassword"]


@pytest.mark.parametrize(
    "base_dn", ["c=DE", 'o=the "best"', "dc=a+o=b,dc=test", "dc=", "", "alpha.test"]
)
def test_base_entry_that_cannot_be_made_is_refused(base_dn: str) -> None:
    assert TENANT.directory is not None
    directory = dataclasses.replace(TENANT.directory, base_dn=base_dn)
    with pytest.raises(ValueError, match="base DN"):
        _files(Role.LDAP, dataclasses.replace(TENANT, directory=directory))


# --- Kerberos


def _words(command: str) -> list[str]:
    """Split as libss does (krb5 src/util/ss/parse.c): blanks part words, "" in quotes is a quote."""
    words = re.findall(r'(?:"(?:[^"]|"")*"|[^ \t"])+', command)
    return [re.sub(r'"((?:[^"]|"")*)"', lambda m: m[1].replace('""', '"'), word) for word in words]


@given(name=PASSWORDS, password=PASSWORDS)
def test_realm_gets_any_user_and_password_as_one_word_each(name: str, password: str) -> None:
    tenant = _with_user(name, password)
    text = _files(Role.KDC, tenant)["/etc/testbed/principals"].content.decode()
    commands = [_words(line) for line in text.split("\n")[:-1]]
    user = commands[1]
    principal = re.sub(r"([\\/@])", r"\\\1", name)
    options = ["-clearpolicy", "+requires_preauth", "-pw"]
    assert user == ["add_principal", *options, password, principal]
    assert {command[0] for command in commands} == {"add_principal", "ktadd"}


@pytest.mark.parametrize("role", [Role.LDAP, Role.KDC])
@pytest.mark.parametrize("name", ["two\nlines", "return\r", "nul\0", "line\u2028separator"])
def test_control_characters_are_refused(role: Role, name: str) -> None:
    with pytest.raises(ValueError, match="control character"):
        _files(role, _with_user(name, "secret"))


@pytest.mark.parametrize("realm", ["A B", "A{", "A\nB", "", "[libdefaults]"])
def test_realm_that_krb5_conf_cannot_quote_is_refused(realm: str) -> None:
    assert TENANT.realm is not None
    tenant = dataclasses.replace(TENANT, realm=dataclasses.replace(TENANT.realm, realm=realm))
    for role in (Role.KDC, Role.CLIENT):
        with pytest.raises(ValueError, match="plain name"):
            _files(role, tenant)


@given(PASSWORDS)
def test_password_files_stay_in_their_directory(user: str) -> None:
    path = services.password_file(user)
    assert re.fullmatch(r"/etc/testbed/passwords/[A-Za-z0-9._~%-]+\.password", path)


@pytest.mark.parametrize("role", [Role.LDAP, Role.KDC])
def test_container_without_a_plan_for_its_service_is_an_error(role: Role) -> None:
    tenant = dataclasses.replace(TENANT, directory=None, realm=None)
    with pytest.raises(LookupError, match="alpha"):
        _files(role, tenant)
