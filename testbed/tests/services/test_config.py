from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.fib.services.config import ConfigError, Method, load_config, parse_config


def ldap_tenant(fib: int = 1, name: str = "alpha", **changes: Any) -> dict[str, Any]:
    return {
        "fib": fib,
        "name": name,
        "domain": "alpha.test",
        "login": "ldap",
        "ldap": {
            "host": "ldap.alpha.test",
            "port": 389,
            "base_dn": "dc=alpha,dc=test",
            "user_dn": "uid={user},ou=people,dc=alpha,dc=test",
        },
        "kerberos": None,
        **changes,
    }


def kerberos_tenant(fib: int = 2, name: str = "bravo", **changes: Any) -> dict[str, Any]:
    return {
        "fib": fib,
        "name": name,
        "domain": "bravo.test",
        "login": "kerberos",
        "ldap": None,
        "kerberos": {
            "realm": "BRAVO.TEST",
            "service": "login@server.bravo.test",
            "keytab": "/etc/tenantd/keytabs/2.keytab",
        },
        **changes,
    }


def text(*tenants: dict[str, Any], **changes: Any) -> str:
    return json.dumps({"version": 1, "port": 7007, "tenants": list(tenants), **changes})


def problems(document: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        parse_config(document)
    return caught.value.problems


def test_tenants_are_found_by_their_fib() -> None:
    config = parse_config(text(ldap_tenant(), kerberos_tenant()))
    assert [config.tenants[fib].name for fib in (1, 2)] == ["alpha", "bravo"]
    assert config.methods() == {Method.LDAP, Method.KERBEROS}


def test_the_service_principal_carries_the_realm() -> None:
    kerberos = parse_config(text(kerberos_tenant())).tenants[2].kerberos
    assert kerberos is not None
    assert kerberos.principal == "login/server.bravo.test@BRAVO.TEST"


def test_the_name_to_resolve_is_the_auth_servers_unless_given() -> None:
    config = parse_config(
        text(ldap_tenant(), kerberos_tenant(), ldap_tenant(3, "carol", resolve="www.carol.test"))
    )
    names = [config.tenants[fib].resolve for fib in (1, 2, 3)]
    assert names == ["ldap.alpha.test", "kdc.bravo.test", "www.carol.test"]


def test_a_second_directory_comes_after_the_first() -> None:
    told = {**ldap_tenant()["ldap"], "second": "ldap2.alpha.test"}
    ldap = parse_config(text(ldap_tenant(ldap=told))).tenants[1].ldap
    assert ldap is not None
    assert ldap.uris == ("ldap://ldap.alpha.test:389", "ldap://ldap2.alpha.test:389")
    assert problems(text(ldap_tenant(ldap={**told, "second": "a b"})))[0].startswith(
        "tenants[0].ldap.second: 'a b' does not look right"
    )


def test_an_authority_is_a_file_or_none() -> None:
    told = ldap_tenant()["ldap"]
    for authority, expected in ((None, None), ("/a.pem", Path("/a.pem"))):
        ldap = (
            parse_config(text(ldap_tenant(ldap={**told, "authority": authority}))).tenants[1].ldap
        )
        assert ldap is not None
        assert ldap.authority == expected
    relative = text(ldap_tenant(ldap={**told, "authority": "a.pem"}))
    assert problems(relative) == ("tenants[0].ldap.authority: must be an absolute path",)


def test_a_directory_may_be_given_by_address() -> None:
    uris: list[str] = []
    for host in ("192.168.0.89", "fd00:c0a8::59"):
        ldap = parse_config(text(ldap_tenant(ldap={**ldap_tenant()["ldap"], "host": host})))
        found = ldap.tenants[1].ldap
        assert found is not None
        uris += found.uris
    assert uris == ["ldap://192.168.0.89:389", "ldap://[fd00:c0a8::59]:389"]


def test_a_tenant_may_have_no_way_to_log_in() -> None:
    tenant = parse_config(text(ldap_tenant(login=None, ldap=None))).tenants[1]
    assert (tenant.login, tenant.resolve) == (None, None)


def test_no_tenant_at_all_is_a_configuration() -> None:
    assert parse_config(text()).tenants == {}


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ("[1, 2]", "document: is not an object"),
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('{"version": 1, "version": 1}', "key 'version' stands twice"),
        (text(version=2), "version: must be a number in 1..1, not 2"),
        (text(version=True), "version: must be a number"),
        (text(port=0), "port: must be a number in 1..65535, not 0"),
        (text(colour="red"), "colour: unknown key"),
        (text(tenants={}), "tenants: must be a list"),
        (text(ldap_tenant(0)), "tenants[0].fib: must be a number in 1..65535, not 0"),
        (text(ldap_tenant(name="")), "tenants[0].name: must be a text that is not empty"),
        (text(ldap_tenant(domain="a b")), "tenants[0].domain: 'a b' does not look right"),
        (text(ldap_tenant(login="pam")), "tenants[0].login: must be one of ldap, kerberos"),
        (text(ldap_tenant(login="kerberos")), "'kerberos' is not configured"),
        (text(ldap_tenant(), ldap_tenant(1, "x")), "tenants[1].fib: 1 is already that of 'alpha'"),
        (text(ldap_tenant(), ldap_tenant(2)), "tenants[1].name: 'alpha' is already"),
        (text(ldap_tenant(ldap={})), "tenants[0].ldap.host: must be a text"),
        (text(kerberos_tenant(kerberos={"keytab": "x"})), "keytab: must be an absolute path"),
    ],
)
def test_each_mistake_is_named_with_its_place(document: str, problem: str) -> None:
    assert any(problem in line for line in problems(document)), problems(document)


@pytest.mark.parametrize(
    "user_dn", ["uid=x,dc=alpha,dc=test", "uid={user},cn={user},dc=alpha,dc=test"]
)
def test_the_user_stands_once_in_the_dn(user_dn: str) -> None:
    ldap = {**ldap_tenant()["ldap"], "user_dn": user_dn}
    assert "exactly once" in problems(text(ldap_tenant(ldap=ldap)))[0]


def test_a_dn_of_another_tree_is_a_mistake() -> None:
    ldap = {**ldap_tenant()["ldap"], "base_dn": "dc=bravo,dc=test"}
    assert "does not lie under" in problems(text(ldap_tenant(ldap=ldap)))[0]


def test_all_mistakes_are_told_at_once() -> None:
    found = problems(text(ldap_tenant(0, ""), port=-1, colour=1))
    assert len(found) == 4


def test_a_file_that_cannot_be_read_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path / "nothing.json")


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["version", "tenants", "fib", "name", "ldap", "login", "x"]), inner
        )
    ),
    max_leaves=8,
)


@given(_JSON)
def test_no_document_does_worse_than_a_configuration_error(document: object) -> None:
    with contextlib.suppress(ConfigError):
        parse_config(json.dumps(document))
