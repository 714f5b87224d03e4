"""Files for containers, made of `tenants/ROLE/*.j2`, and how they are packed; questions of health."""

from __future__ import annotations

import io
import tarfile
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from testbed.plan import escaping

TENANTS = Path(__file__).parents[2] / "tenants"

SERVICE_UID = 10001
"""User and group that servers run as; `tenants/base/Dockerfile` makes them."""

ETC = "/etc/testbed"
"""Where a container's own files are."""

SECRET_MODE = 0o400
_PUBLIC_MODE = 0o444
_MODIFIED_S = 1  # one time for all, but not 0: nsd takes that for a zone without changes to read


@dataclass(frozen=True, slots=True)
class FileSpec:
    """A file inside a container; its directory is part of the image."""

    path: str
    content: bytes = field(repr=False)
    mode: int
    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Question:
    """A command inside the container itself: the service works if it exits 0 and prints `answer`.

    It carries no secret: passwords and keys are read from files that only its user can read.
    """

    argv: tuple[str, ...]
    answer: str = ""


def files_archive(files: tuple[FileSpec, ...]) -> bytes:
    """Return `files` as a tar archive, to be unpacked at a container's root; same in, same out."""
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for file in files:
            member = tarfile.TarInfo(file.path.removeprefix("/"))
            member.size = len(file.content)
            member.mtime = _MODIFIED_S
            member.mode, member.uid, member.gid = file.mode, file.uid, file.gid
            archive.addfile(member, io.BytesIO(file.content))
    return output.getvalue()


def root_file(path: str, content: bytes, mode: int = _PUBLIC_MODE) -> FileSpec:
    """Return a file of root's, for all to read unless `mode` says otherwise."""
    return FileSpec(path, content, mode, 0, 0)


def service_file(path: str, content: bytes) -> FileSpec:
    """Return a file that only the service reads."""
    return FileSpec(path, content, SECRET_MODE, SERVICE_UID, SERVICE_UID)


def render(name: str, **values: object) -> bytes:
    """Return the template `tenants/NAME.j2` with these values.

    Raises:
        ValueError: a value cannot be written in the template's format.
    """
    return _templates().get_template(f"{name}.j2").render(values).encode()


@cache
def _templates() -> Environment:
    # HTML escaping would corrupt these formats: each value passes a filter of its own format.
    environment = Environment(  # noqa: S701
        loader=FileSystemLoader(TENANTS),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    filters = (
        *(escaping.endpoint, escaping.host, escaping.kadmin, escaping.ldif, escaping.line),
        *(escaping.owner, escaping.plain, escaping.principal, escaping.quoted, escaping.rdata),
    )
    environment.filters.update({function.__name__: function for function in filters})
    return environment
