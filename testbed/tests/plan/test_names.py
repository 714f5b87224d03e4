"""Names, labels and keys."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given

from testbed.plan import names
from testbed.plan.identity import DeploymentId, parse_deployment_id
from testbed.plan.resources import Role
from testbed.tests.plan.topologies import ids


@pytest.mark.parametrize("text", ["", "abc", "abcdefg", "ABCDEF", "abc-ef", "abcde1", "abcde\n"])
def test_what_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no deployment id"):
        parse_deployment_id(text)


@given(ids)
def test_interface_names_fit_the_kernel(deployment: DeploymentId) -> None:
    assert len(names.tap(deployment).encode()) <= 15
    assert len(names.tenant_link(deployment, 99999).encode()) <= 15


@given(ids)
def test_ssh_address_is_a_loopback_address_nobody_else_uses(deployment: DeploymentId) -> None:
    address = names.ssh_address(deployment)
    octets = address.packed
    assert address.is_loopback
    assert octets[1] != 0
    assert 1 <= octets[3] <= 254
    assert address != ip_address("127.0.0.1")


@given(ids)
def test_secrets_differ_by_purpose(deployment: DeploymentId) -> None:
    made = {
        names.secret(deployment, "a", "bc"),
        names.secret(deployment, "ab", "c"),
        names.secret(deployment, "abc"),
        names.secret(DeploymentId("zzzzzz"), "a", "bc"),
    }
    assert len(made) >= 4 - (deployment == "zzzzzz")


def test_labels_say_whose_and_what() -> None:
    assert names.labels(DeploymentId("abcdef"), "network", "alpha") == {
        "testbed.deployment": "abcdef",
        "testbed.kind": "network",
        "testbed.tenant": "alpha",
    }


def test_macs_are_locally_administered_and_tell_role_and_index() -> None:
    assert names.container_mac(Role.KDC, 258) == "02:fc:04:00:01:02"
    assert names.uplink_mac(1) == "02:fb:00:00:00:01"
    assert names.lan_mac(1) == "02:fa:00:00:00:01"
