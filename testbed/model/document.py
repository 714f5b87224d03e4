"""A YAML document with the position of every node, and what is wrong with it as YAML.

Built from ruamel's parse events, not its constructors: so duplicate keys are all found at once,
and neither deep nesting nor aliases (which may be cyclic or exponential) can hurt. Plain scalars
are typed by the core schema (YAML 1.2.2, section 10.3.2), so `no` is text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, StringMark, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    DocumentStartEvent,
    Event,
    MappingStartEvent,
    ScalarEvent,
    SequenceStartEvent,
)
from ruamel.yaml.reader import ReaderError

_DEEPEST = 20  # a topology has 7 levels
_LONGEST_NUMBER = 18  # digits; Python refuses to convert thousands of them

Scalar = str | int | float | bool | None
Value = Scalar | dict[str, "Node"] | list["Node"]
Path = tuple[str | int, ...]


class Position(NamedTuple):
    """A place in the file, counted from 1 as editors do."""

    line: int
    column: int


class Finding(NamedTuple):
    """One thing wrong at one position. Equal codes at one position are told once."""

    position: Position
    code: str
    what: str
    hint: str


@dataclass(frozen=True, slots=True)
class Node:
    """A value with its position, and that of its key when it is in a mapping.

    A mapping or list in a mapping is where its key is: people look for the key, and a block
    starts on the line after.
    """

    position: Position
    value: Value
    key: Position | None = None

    def at(self, path: Path) -> tuple[Path, Node]:
        """Return how much of `path` exists, and the node there."""
        node = self
        for depth, step in enumerate(path):
            match node.value, step:
                case dict() as mapping, str() if step in mapping:
                    node = mapping[step]
                case list() as items, int() if step < len(items):
                    node = items[step]
                case _:
                    return path[:depth], node
        return path, node

    def plain(self) -> Any:
        """Return the value as plain Python data."""
        match self.value:
            case dict() as mapping:
                return {key: node.plain() for key, node in mapping.items()}
            case list() as items:
                return [node.plain() for node in items]
            case scalar:
                return scalar

    def without(self, paths: Iterable[Path]) -> Node:
        """Return a copy that lacks what the `paths` (none of them empty) lead to."""
        below: dict[str | int, list[Path]] = {}
        for path in paths:
            below.setdefault(path[0], []).append(path[1:])
        if not below:
            return self

        def kept(step: str | int, node: Node) -> Iterator[Node]:
            if () not in below.get(step, ()):
                yield node.without(below[step]) if step in below else node

        match self.value:
            case dict() as mapping:
                value: Value = {k: n for k, node in mapping.items() for n in kept(k, node)}
            case list() as items:
                value = [n for index, node in enumerate(items) for n in kept(index, node)]
            case scalar:
                value = scalar
        return Node(self.position, value, self.key)


def parse_document(text: str) -> tuple[Node | None, list[Finding]]:
    """Parse `text`; no node comes back when it is not YAML or empty, and then a finding says so."""
    builder = _Builder()
    try:
        for event in _events(text):
            builder.take(event)
    except _GiveUpError as stop:
        return None, [*builder.findings, stop.finding]
    if builder.root is None or builder.root.value is None:
        what, hint = "the file is empty", "describe at least one tenant: `tenants: {alpha: {}}`"
        return None, [*builder.findings, Finding(Position(1, 1), "empty", what, hint)]
    return builder.root, builder.findings


def shown(text: str) -> str:
    r"""Quote `text` for a message: short, and printable on any terminal.

    >>> shown("a\nb")
    "'a\\nb'"
    """
    short = text if len(text) <= 60 else f"{text[:57]}..."
    return repr(short).encode("ascii", "backslashreplace").decode()


def kind_of(value: object) -> str:
    """Return what `value` is, in words."""
    for kind, words in _KINDS:
        if isinstance(value, kind):
            return words
    return "nothing"


_KINDS: tuple[tuple[type, str], ...] = (
    (bool, "a truth value"),  # before int, which it is in Python
    (int, "a number"),
    (float, "a fraction"),
    (str, "text"),
    (list, "a list"),
    (dict, "a mapping"),
)


class _GiveUpError(Exception):
    def __init__(self, finding: Finding) -> None:
        super().__init__(finding)
        self.finding = finding


def _events(text: str) -> Iterator[Event]:
    hint = "mend the YAML; text with `: `, `#` or brackets in it needs quotes"
    try:
        yield from YAML(typ="safe", pure=True).parse(text)
    except ReaderError as error:
        before = text[: error.position]
        position = Position(before.count("\n") + 1, len(before) - before.rfind("\n"))
        what = (
            f"character {shown(text[error.position : error.position + 1])} is not allowed in YAML"
        )
        raise _GiveUpError(Finding(position, "yaml", what, "remove it")) from error
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = f"not YAML: {error.problem or error.context}"
        raise _GiveUpError(Finding(_position(mark), "yaml", what, hint)) from error
    except (YAMLError, ValueError, RecursionError) as error:
        # ruamel lets int() and chr() of some escapes and directives fail with plain ValueErrors
        what = f"not YAML: {shown(str(error))}"
        raise _GiveUpError(Finding(Position(1, 1), "yaml", what, hint)) from error


def _position(mark: StringMark | None) -> Position:
    return Position(mark.line + 1, mark.column + 1) if mark else Position(1, 1)


@dataclass(slots=True)
class _Open:
    """A collection whose end has not come yet; `key` waits for its value."""

    node: Node
    key: str | None = None
    key_position: Position | None = None

    @property
    def wants_key(self) -> bool:
        return isinstance(self.node.value, dict) and self.key is None


class _Builder:
    """Grows the tree event by event, without recursion."""

    def __init__(self) -> None:
        self.root: Node | None = None
        self.findings: list[Finding] = []
        self._open: list[_Open] = []
        self._documents = 0

    def take(self, event: Event) -> None:
        match event:
            case DocumentStartEvent():
                self._documents += 1
                if self._documents > 1:
                    self._give_up(event, "a second document", "keep one topology per file")
            case AliasEvent():
                hint = "write it out, or move what tenants share to `defaults:`"
                self._give_up(event, f"alias {shown(f'*{event.anchor}')} is not supported", hint)
            case ScalarEvent():
                self._scalar(event)
            case SequenceStartEvent() | MappingStartEvent():
                self._begin(event)
            case CollectionEndEvent():
                self._open.pop()

    def _give_up(self, event: Event, what: str, hint: str) -> None:
        raise _GiveUpError(Finding(_position(event.start_mark), "yaml", what, hint))

    def _scalar(self, event: ScalarEvent) -> None:
        position = _position(event.start_mark)
        if self._open and self._open[-1].wants_key:
            self._open[-1].key, self._open[-1].key_position = str(event.value), position
            return
        self._check_tag(event)
        is_plain = bool(event.implicit[0])
        self._add(position, _typed(event.value) if is_plain else str(event.value))

    def _begin(self, event: SequenceStartEvent | MappingStartEvent) -> None:
        parent = self._open[-1] if self._open else None
        if parent and parent.wants_key:
            self._give_up(event, "a key that is not plain text", "use a word as the key")
        if len(self._open) >= _DEEPEST:
            self._give_up(event, f"nested deeper than {_DEEPEST} levels", "no topology needs that")
        self._check_tag(event)
        position = (parent and parent.key_position) or _position(event.start_mark)
        value: Value = {} if isinstance(event, MappingStartEvent) else []
        self._open.append(_Open(self._add(position, value)))

    def _check_tag(self, event: ScalarEvent | SequenceStartEvent | MappingStartEvent) -> None:
        tag = event.ctag
        if tag is not None and str(tag) != "!":
            self._give_up(event, f"tag {shown(str(tag))} is not supported", "remove the tag")

    def _add(self, position: Position, value: Value) -> Node:
        if not self._open:
            self.root = Node(position, value)
            return self.root
        parent = self._open[-1]
        node = Node(position, value, parent.key_position)
        match parent.node.value:
            case list() as items:
                items.append(node)
            case dict() as mapping if parent.key is not None:
                first = mapping.setdefault(parent.key, node)
                if first is not node:
                    self._tell_duplicate(parent.key, node, first)
        parent.key = parent.key_position = None
        return node

    def _tell_duplicate(self, key: str, node: Node, first: Node) -> None:
        here, there = node.key or node.position, first.key or first.position
        what = f"key {shown(key)} is here twice"
        hint = f"keep one; the first is at line {there.line}, column {there.column}"
        self.findings.append(Finding(here, "duplicate", what, hint))


_CORE_SCHEMA: tuple[tuple[re.Pattern[str], Callable[[str], Scalar]], ...] = (
    (re.compile(r"null|Null|NULL|~|"), lambda _: None),
    (re.compile(r"true|True|TRUE"), lambda _: True),
    (re.compile(r"false|False|FALSE"), lambda _: False),
    (re.compile(rf"[-+]?[0-9]{{1,{_LONGEST_NUMBER}}}"), int),
    (re.compile(r"0x[0-9a-fA-F]{1,15}"), lambda text: int(text, 16)),
    (re.compile(r"0o[0-7]{1,18}"), lambda text: int(text, 0)),
    (re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"), float),
    (re.compile(r"[-+]?\.(inf|Inf|INF)"), lambda text: float(text.replace(".", "", 1))),
    (re.compile(r"\.(nan|NaN|NAN)"), lambda _: float("nan")),
)


def _typed(text: str) -> Scalar:
    for pattern, construct in _CORE_SCHEMA:
        if pattern.fullmatch(text):
            return construct(text)
    return text
