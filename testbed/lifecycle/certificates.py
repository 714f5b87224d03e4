"""A tenant's own certificate authority, and the certificates of its directory's servers.

Made once a deployment, kept in its folder where only its owner reads, and gone with it. Authorities of
twins have one and the same name: only their keys tell them apart.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from tempfile import mkdtemp

from testbed.plan.files import FileSpec
from testbed.plan.resources import ContainerPlan, Role, TenantPlan
from testbed.plan.services import Certified, tls_files

_FOLDER = "authorities"
_AUTHORITY = "authority"
_CERTIFICATE, _KEY = "pem", "key"


def authority(deployment: Path, tenant: TenantPlan) -> Certified:
    """Return the tenant's authority, made when it is not there yet; `deployment` is its folder."""
    return _read(_ensure(deployment, tenant), _AUTHORITY)


def files(deployment: Path, tenant: TenantPlan, container: ContainerPlan) -> tuple[FileSpec, ...]:
    """Return what TLS takes in `container` of a tenant, nothing where nobody there speaks it."""
    is_server = container.role.kind is Role.LDAP
    if not (tenant.directory and tenant.directory.tls) or not (
        is_server or container.role is Role.CLIENT
    ):
        return ()
    folder = _ensure(deployment, tenant)
    own = _read(folder, container.role) if is_server else None
    return tls_files(_read(folder, _AUTHORITY).certificate, own)


def _read(folder: Path, name: str) -> Certified:
    certificate, key = (folder / f"{name}.{kind}" for kind in (_CERTIFICATE, _KEY))
    return Certified(certificate.read_bytes(), key.read_bytes())


def _ensure(deployment: Path, tenant: TenantPlan) -> Path:
    """Return the tenant's folder; it appears whole, whoever else makes it or is killed meanwhile."""
    folder = deployment / _FOLDER / tenant.name
    if folder.is_dir():
        return folder
    folder.parent.mkdir(mode=0o700, exist_ok=True)
    draft = Path(mkdtemp(prefix=".", dir=folder.parent))
    try:
        for name, made in _made(tenant).items():
            _write(draft / f"{name}.{_CERTIFICATE}", made.certificate)
            _write(draft / f"{name}.{_KEY}", made.key)
        draft.rename(folder)
    except OSError:
        if not folder.is_dir():  # another process was faster
            raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return folder


def _made(tenant: TenantPlan) -> dict[str, Certified]:
    from testbed.drivers import x509  # noqa: PLC0415 - half a second, and most commands need it not

    signer = x509.new_authority(f"authority of {tenant.domain}")
    made: dict[str, Certified] = {_AUTHORITY: signer}
    for container in tenant.containers:
        if container.role.kind is Role.LDAP:
            addresses = tuple(own.ip for own in container.addresses)
            made[container.role] = x509.issue(signer, x509.Subject(container.hostname, addresses))
    return made


def _write(path: Path, content: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
