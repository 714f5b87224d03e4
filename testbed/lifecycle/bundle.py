"""A bundle: one file that holds what it takes to run a failed test again, elsewhere.

It is a compressed tar of a few files with fixed names. A bundle may come from anybody: it is read
into memory within bounds, nothing of it is unpacked, and each field is checked before use.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import tarfile
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from testbed.errors import InputError, Problem
from testbed.lifecycle.private import write_private
from testbed.model.load import parse_topology
from testbed.model.topology import Topology

FORMAT = 1
SUFFIX = ".testbed.tar.gz"
_MANIFEST, _TOPOLOGY, _README = "bundle.json", "topology.yaml", "README"
CHANGES = "changes.patch"
_NAMES = frozenset({_MANIFEST, _TOPOLOGY, CHANGES, _README})
_LARGEST_BYTES = 32 << 20
_LONGEST_TEXT = 4096
# A file of the clone below its root, then what pytest calls the test: no control characters.
_TEST_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./-]*\.py")
_TEST_NAME = re.compile(r"[^\x00-\x1f\x7f]+")
_HINT = "use a bundle as a failed test left it"

_README_TEXT = """A failed test of the testbed, to be run again: clone the repository, then

    make setup
    .venv/bin/testbed replay {bundle}
    .venv/bin/testbed replay {bundle} --shell    # stays up, with a shell

Test: {test}
From: {commit}
{changes}
"""


@dataclass(frozen=True, slots=True)
class Bundle:
    """What is needed to run `test` again: the topology reduced to its tenants, in leased order.

    `whole`: it had the whole deployment for itself. `changes` is a patch, for people to look at and
    apply; nothing applies it by itself.
    """

    test: str
    tenants: tuple[str, ...]
    whole: bool
    seed: int
    versions: Mapping[str, str]
    failure: str
    topology: str = field(repr=False)
    changes: str = field(default="", repr=False)

    def parsed_topology(self) -> Topology:
        """Return the topology, which `read_bundle` has checked."""
        return parse_topology(self.topology, where=_TOPOLOGY, name="replay")

    @property
    def test_file(self) -> PurePosixPath:
        """The test's file, relative to the root of a clone."""
        return PurePosixPath(self.test.partition("::")[0])


def write_bundle(bundle: Bundle, path: Path) -> None:
    """Write `bundle` to `path`, for its owner alone: its topology has the tenants' passwords."""
    manifest = asdict(bundle) | {"format": FORMAT}
    topology, changes = manifest.pop("topology"), manifest.pop("changes")
    readme = _README_TEXT.format(
        bundle=path.name,
        test=bundle.test,
        commit=bundle.versions.get("testbed", "unknown"),
        changes=f"With changes: tar -xzOf {path.name} {CHANGES} | git apply" if changes else "",
    )
    files = {
        _README: readme,
        _MANIFEST: json.dumps(manifest, indent=2) + "\n",
        _TOPOLOGY: topology,
        CHANGES: changes,
    }
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for name, text in files.items():
            data = text.encode()
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o600
            tar.addfile(entry, io.BytesIO(data))
    write_private(path, archive.getvalue())


def read_bundle(path: Path) -> Bundle:
    """Read the bundle in `path`.

    Raises:
        InputError: when it is no bundle, is damaged, or holds what a bundle does not hold.
    """
    where = str(path).encode("utf-8", "backslashreplace").decode()
    try:
        files = _read_files(path)
        return _parse(files)
    except _UnfitError as error:
        raise InputError([Problem(where, str(error), _HINT)]) from error
    except InputError as error:
        problems = [Problem(f"{where}: {p.where}", p.what, p.hint) for p in error.problems]
        raise InputError(problems) from error
    except (OSError, EOFError, ValueError, tarfile.TarError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise InputError([Problem(where, f"cannot read it: {reason}", _HINT)]) from error


class _UnfitError(Exception):
    """What is wrong with a bundle."""


def _read_files(path: Path) -> dict[str, str]:
    """Return the files of a bundle; refuses everything that is not one of its plain files."""
    files: dict[str, str] = {}
    if path.exists() and not path.is_file():  # a pipe would be waited for
        raise _UnfitError("it is no regular file")
    with gzip.open(path) as file:
        data = file.read(_LARGEST_BYTES + 1)  # to its end, where its check sum is
    if len(data) > _LARGEST_BYTES:
        raise _UnfitError("it is larger than any bundle")
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
        for member in tar:
            if member.name not in _NAMES or not member.isreg() or member.name in files:
                raise _UnfitError(f"it holds {member.name!a}, which no bundle does")
            content = tar.extractfile(member)
            files[member.name] = content.read().decode() if content else ""
    missing = sorted({_MANIFEST, _TOPOLOGY} - files.keys())
    if missing:
        raise _UnfitError(f"it lacks {', '.join(missing)}")
    return files


def _parse(files: Mapping[str, str]) -> Bundle:
    fields = json.loads(files[_MANIFEST])
    if not isinstance(fields, dict):
        raise _UnfitError(f"{_MANIFEST} is no mapping")
    if fields.get("format") != FORMAT:
        what = f"it is of format {fields.get('format')!a}, this testbed reads format {FORMAT}"
        raise _UnfitError(what)
    bundle = Bundle(
        test=_text(fields, "test"),
        tenants=tuple(_strings(fields, "tenants")),
        whole=_typed(fields, "whole", bool),
        seed=_typed(fields, "seed", int),
        versions=_versions(fields),
        failure=_text(fields, "failure", longest=1 << 20),
        topology=files[_TOPOLOGY],
        changes=files.get(CHANGES, ""),
    )
    _check_test(bundle.test)
    topology = bundle.parsed_topology()
    for tenant in bundle.tenants:
        if tenant not in topology.tenants:
            raise _UnfitError(f"its topology lacks tenant {tenant!a}")
    if topology.sut.ssh is not None:
        # It would be logged in to, or reached through an interface of this host.
        raise _UnfitError("its SUT is a machine of somebody's, reached by ssh")
    return bundle


def _check_test(test: str) -> None:
    file, separator, name = test.partition("::")
    parts = PurePosixPath(file).parts
    if not _TEST_FILE.fullmatch(file) or ".." in parts or not separator:
        raise _UnfitError(f"{test!a} is no test of a clone")
    if not _TEST_NAME.fullmatch(name):
        raise _UnfitError(f"{test!a} is no name of a test")


def _typed(fields: Mapping[str, Any], name: str, kind: type) -> Any:
    value = fields.get(name)
    if type(value) is not kind:
        raise _UnfitError(f"{_MANIFEST}: {name!r} must be of type {kind.__name__}")
    return value


def _text(fields: Mapping[str, Any], name: str, *, longest: int = _LONGEST_TEXT) -> str:
    value: str = _typed(fields, name, str)
    if len(value) > longest:
        raise _UnfitError(f"{_MANIFEST}: {name!r} is too long")
    return value


def _strings(fields: Mapping[str, Any], name: str) -> list[str]:
    values = _typed(fields, name, list)
    if not all(isinstance(value, str) for value in values) or len(set(values)) < len(values):
        raise _UnfitError(f"{_MANIFEST}: {name!r} must be a list of different names")
    return list(values)


def _versions(fields: Mapping[str, Any]) -> dict[str, str]:
    found = _typed(fields, "versions", dict)
    if not all(isinstance(item, str) and len(item) < _LONGEST_TEXT for item in found.values()):
        raise _UnfitError(f"{_MANIFEST}: 'versions' must be texts")
    return dict(found)
