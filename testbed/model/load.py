"""Reads a topology file and tells everything that is wrong with it at once.

Fields that are wrong are told, taken out, and the rest is examined on: so a typing mistake in one
tenant does not hide an address clash between two others. Rules that involve a field taken out are
silent, for they would speak of its default.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path as FilePath
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from testbed.errors import Problem, TopologyError
from testbed.model.check import find_troubles
from testbed.model.copies import expand
from testbed.model.document import Finding, Node, Path, Position, kind_of, parse_document
from testbed.model.topology import Tenant, Topology
from testbed.model.wording import describe, dotted

M = TypeVar("M", bound=BaseModel)

_LARGEST_BYTES = 32 << 20
_START = Position(1, 1)
_MOST_ROUNDS = 8


def load_topology(path: FilePath, *, name: str = "") -> Topology:
    """Read the topology in `path`; one without a name takes `name`, else the file's.

    Raises:
        TopologyError: with every problem in the order of the file; nothing else, whatever is there.
    """
    where = str(path).encode("utf-8", "backslashreplace").decode().replace("\n", "\\n")
    try:
        text = _read(path)
    except _WrongError as error:
        raise _error(error.findings, where) from error
    return parse_topology(text, where=where, name=name or path.stem)


def parse_topology(text: str, *, where: str, name: str) -> Topology:
    """Return the topology described by `text`; `where` stands for the file, `name` is a default.

    Raises:
        TopologyError: as `load_topology`.
    """
    try:
        return _parse(text, name)
    except _WrongError as error:
        raise _error(error.findings, where) from error


class _WrongError(Exception):
    def __init__(self, *findings: Finding) -> None:
        super().__init__()
        self.findings = findings


@lru_cache(maxsize=4)
def _parse(text: str, name: str) -> Topology:
    """Return the topology described by `text`; what is wrong with it raises `_WrongError`.

    Once for each text: a command meets a topology in its file and in the record, for several ends,
    and one of ten thousand tenants takes seconds.
    """
    root, findings = parse_document(text)
    if root is None:
        raise _WrongError(*findings)
    if not isinstance(root.value, dict):
        hint = "start with `tenants:`"
        raise _WrongError(*findings, Finding(root.position, "type", "must be a mapping", hint))
    reader = _Reader(findings)
    topology = reader.read(root, root.value, name)
    if reader.findings or topology is None:
        raise _WrongError(*reader.findings)
    return topology


def _unreadable(what: str, hint: str, position: Position = _START) -> _WrongError:
    return _WrongError(Finding(position, "file", what, hint))


def _read(path: FilePath) -> str:
    try:
        # Not blocking: a pipe that nobody writes to would be waited for, and read only once.
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise _unreadable("it is no regular file", "give the path of a file")
            data = file.read(_LARGEST_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = error.strerror if isinstance(error, OSError) else str(error)
        is_missing = isinstance(error, FileNotFoundError)
        hint = "give the path of a topology file that you may read"
        hint = (is_missing and _meant(path)) or hint
        raise _unreadable(f"cannot read it: {reason}", hint) from error
    if len(data) > _LARGEST_BYTES:
        raise _unreadable("it is larger than 32 MiB", "move what tenants share to `defaults:`")
    try:
        return data.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode()
        position = Position(before.count("\n") + 1, len(before) - before.rfind("\n"))
        byte = data[error.start]
        raise _unreadable(
            f"byte 0x{byte:02x} is not UTF-8", "save it as UTF-8", position
        ) from error


def _meant(path: FilePath) -> str:
    """Return what may have been meant by the path of no file: one beside it, or in topologies/."""
    folders = (path.parent, path.parent / "topologies")
    known = {file.stem: file for folder in folders for file in sorted(folder.glob("*.yaml"))}
    close = get_close_matches(path.stem, known, n=1)
    return f"did you mean {str(known[close[0]])!r}?" if close else ""


def _error(findings: Iterable[Finding], where: str) -> TopologyError:
    first: dict[tuple[Position, str], Finding] = {}
    for finding in findings:
        # A wrong default is wrong in every tenant: once is enough.
        first.setdefault((finding.position, finding.code), finding)
    return TopologyError(
        [
            Problem(
                f"{where}:{found.position.line}:{found.position.column}", found.what, found.hint
            )
            for found in sorted(first.values(), key=lambda found: found.position)
        ]
    )


class _Reader:
    def __init__(self, findings: Iterable[Finding]) -> None:
        self.findings = list(findings)
        self._removed: set[Path] = set()

    def read(self, root: Node, content: Mapping[str, Node], name: str) -> Topology | None:
        content = {"name": Node(_START, name), **content}
        defaults = content.pop("defaults", None)
        if defaults is not None:
            self._settle(Tenant, defaults, ("defaults",))
        tenants = content.get("tenants")
        if tenants is not None and isinstance(tenants.value, dict):
            shared = defaults.value if defaults and isinstance(defaults.value, dict) else {}
            every = expand(tenants.value, self.findings)
            merged: dict[str, Node] = {
                tenant: self._merged(tenant, node, shared) for tenant, node in every.items()
            }
            content["tenants"] = Node(tenants.position, merged, tenants.key)
        topology, tree = self._settle(Topology, Node(root.position, content), ())
        if topology is not None:
            self._cross_check(topology, tree)
        return topology

    def _merged(self, name: str, node: Node, shared: Mapping[str, Node]) -> Node:
        own: Mapping[str, Node] = {}
        if isinstance(node.value, dict):
            own = node.value
        elif node.value is not None:
            what = f"{dotted(('tenants', name))} must be a mapping, not {kind_of(node.value)}"
            hint = "write `key: value` lines under it, or `{}`"
            self.findings.append(Finding(node.position, "type", what, hint))
            self._removed.add(("tenants", name))
        return Node(node.key or node.position, {**shared, **own}, node.key)

    def _settle(self, model: type[M], node: Node, base: Path) -> tuple[M | None, Node]:
        """Make a `model` of `node`, without what is wrong in it; return what was left of it."""
        for _ in range(_MOST_ROUNDS):
            try:
                return model.model_validate(node.plain()), node
            except ValidationError as error:
                details = error.errors(include_url=False, include_input=False)
            gone = {self._tell(detail, node, base) for detail in details}
            if () in gone:
                break
            node = node.without(gone)
        return None, node

    def _tell(self, detail: ErrorDetails, node: Node, base: Path) -> Path:
        """Record one error; return the path of what is to be taken out because of it."""
        is_key = detail["loc"][-1:] == ("[key]",)
        path = detail["loc"][:-1] if is_key else detail["loc"]
        found, place = node.at(path)
        is_unknown = detail["type"] == "extra_forbidden"
        position = (place.key if is_key or is_unknown else None) or place.position
        what, hint = describe(detail, (*base, *path), place.value)
        code = f"{detail['type']} {path[-1] if path else ''}"
        if (*base, *path) not in self._removed:  # else it is missing because it was wrong
            self.findings.append(Finding(position, code, what, hint))
        if not is_unknown:
            self._removed.add((*base, *found))
        return found

    def _cross_check(self, topology: Topology, tree: Node) -> None:
        for trouble in find_troubles(topology):
            if any(self._is_removed(path) for path in trouble.paths):
                continue
            # Of two fields that do not fit, show one that was written, not a default.
            places = [(*tree.at(path), path) for path in trouble.paths]
            written = (place for found, place, path in places if found == path)
            place = next(written, places[0][1])
            finding = Finding(place.position, trouble.code, trouble.what, trouble.hint)
            self.findings.append(finding)

    def _is_removed(self, path: Path) -> bool:
        return any(path[:length] in self._removed for length in range(1, len(path) + 1))
