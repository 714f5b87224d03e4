"""How everything of a deployment is called, labelled and keyed: pure functions of its id.

Interface names hold 15 bytes (IFNAMSIZ less its NUL), which is why the id has 6 characters.
"""

from __future__ import annotations

import base64
import hashlib
from ipaddress import IPv4Address

from testbed.plan.identity import DeploymentId
from testbed.plan.resources import Mac, Role

DEPLOYMENT_LABEL = "testbed.deployment"
KIND_LABEL = "testbed.kind"
TENANT_LABEL = "testbed.tenant"

VM_MAC = Mac("02:fd:00:00:00:01")
_ROLE_NUMBERS = {
    Role.CLIENT: 1,
    Role.DNS: 2,
    Role.LDAP: 3,
    Role.KDC: 4,
    Role.LDAP2: 5,
    Role.KDC2: 6,
}


def labels(deployment: DeploymentId, kind: str, tenant: str = "") -> dict[str, str]:
    """Return the Docker labels by which a resource of `kind` is found again."""
    return {DEPLOYMENT_LABEL: deployment, KIND_LABEL: kind, TENANT_LABEL: tenant}


def ipam_driver(deployment: DeploymentId) -> str:
    """Return the name of the deployment's IPAM plugin."""
    return f"tb-{deployment}"


def tap(deployment: DeploymentId) -> str:
    """Return the name of the VM's tap."""
    return f"tb{deployment}tap"


def tenant_link(deployment: DeploymentId, index: int) -> str:
    """Return the name of the host end of a tenant link."""
    return f"tb{deployment}t{index:05d}"


def tenant_resource(deployment: DeploymentId, tenant: str) -> str:
    """Return the name of a tenant's router namespace and of its Docker network."""
    return f"tb-{deployment}-{tenant}"


def container(deployment: DeploymentId, tenant: str, role: Role) -> str:
    """Return the name of a tenant's container; no role has a dash, so no two are alike."""
    return f"tb-{deployment}-{tenant}-{role}"


def uplink_mac(index: int) -> Mac:
    """Return the MAC of a router on the uplink: it tells the tenant in every capture."""
    return _mac((0x02, 0xFB, 0x00), index)


def lan_mac(index: int) -> Mac:
    """Return the MAC of a router on its tenant link."""
    return _mac((0x02, 0xFA, 0x00), index)


def container_mac(role: Role, index: int) -> Mac:
    """Return the MAC of a tenant's container."""
    return _mac((0x02, 0xFC, _ROLE_NUMBERS[role]), index)


def _mac(prefix: tuple[int, int, int], index: int) -> Mac:
    return Mac(":".join(f"{byte:02x}" for byte in (*prefix, *index.to_bytes(3))))


def ssh_address(deployment: DeploymentId) -> IPv4Address:
    """Return a loopback address of the deployment's own, outside 127.0/16 that others use."""
    a, b, c = _digest(deployment, "ssh")[:3]
    return IPv4Address(bytes((127, 1 + a % 254, b, 1 + c % 254)))


def secret(deployment: DeploymentId, *purpose: str) -> str:
    """Return the password for `purpose`, the same for the same deployment.

    It keeps tenants apart, not attackers out: the id is in every name.
    """
    return base64.b32encode(_digest(deployment, "secret", *purpose)[:15]).decode().lower()


def _digest(deployment: DeploymentId, *purpose: str) -> bytes:
    message = "\0".join(purpose).encode()
    return hashlib.blake2b(message, key=deployment.encode(), digest_size=32).digest()
