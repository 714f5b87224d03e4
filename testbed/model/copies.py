"""Tenants by the thousand: `count:` makes copies of one, `mix:` lets them differ in turn.

Copies are made of the document's nodes, before anything is validated: whatever is wrong in a copy
is shown where its original stands, once. Text may hold placeholders: `{n}` and `{n:4}` are the
copy's number from 1, `{name}` its name, `{10.96.0.1 + 8}` an address that grows by 8 a copy.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address
from itertools import cycle, islice

from testbed.model.document import Finding, Node, Position, Value, kind_of, shown

MOST_COPIES = 65535
KEYS = ("count", "mix")
"""Keys of a tenant that are none of its model's."""

_MIX_HINT = "write `mix: [{share: 3, services: {dns, ldap}}, {services: {dns, kdc}}]`"
_PLACEHOLDER = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_NUMBER = re.compile(r"n(?::0?(?P<width>[1-9]))?")
_ADDRESS = re.compile(r"(?P<base>[0-9a-fA-F.:]{2,39})\s*\+\s*(?P<step>[0-9]{1,12})")


def expand(tenants: Mapping[str, Node], findings: list[Finding]) -> dict[str, Node]:
    """Return `tenants` with each that has a `count:` replaced by its copies, in order.

    What is wrong with counts, mixes and placeholders is appended to `findings`.
    """
    expanded: dict[str, Node] = {}
    for key, node in tenants.items():
        if not _is_template(node):
            copies: Iterable[tuple[str, Node]] = ((key, node),)
        else:
            copies = _Template.read(key, node, findings).copies()
        for name, copy in copies:
            where = node.key or node.position
            if len(expanded) >= MOST_COPIES:
                hint = f"{MOST_COPIES} are the most: use smaller counts"
                findings.append(Finding(where, "many", "too many tenants", hint))
                return expanded
            if expanded.setdefault(name, copy) is not copy:
                what = f"a second tenant is called {shown(name)}"
                hint = "give the copies names of their own: `other-{n}: {count: 10}`"
                findings.append(Finding(where, "duplicate", what, hint))
    return expanded


def _is_template(node: Node) -> bool:
    return isinstance(node.value, dict) and not {*KEYS}.isdisjoint(node.value)


@dataclass(frozen=True, slots=True)
class _Copy:
    """What placeholders stand for."""

    number: int
    name: str = ""


@dataclass(slots=True)
class _Template:
    """A tenant with a count: its name, its keys, the overriding keys of each in turn."""

    name: str
    node: Node
    count: int = 1
    turns: list[dict[str, Node]] = field(default_factory=lambda: [{}])
    filled: set[int] = field(default_factory=set)  # nodes with placeholders below, by id

    @classmethod
    def read(cls, key: str, node: Node, findings: list[Finding]) -> _Template:
        """Return the template; one whose count or mix is wrong has one copy, or no mix."""
        value = node.value if isinstance(node.value, dict) else {}
        own = {name: child for name, child in value.items() if name not in KEYS}
        template = cls(key, Node(node.position, own, node.key))
        where = node.key or node.position
        count = value.get("count")
        if count is None:
            hint = "add `count: 10`, or remove `mix:`"
            findings.append(Finding(where, "count", "`mix:` needs a `count:`", hint))
        elif isinstance(count.value, int) and count.value in range(1, MOST_COPIES + 1):
            template.count = int(count.value)
        else:
            what = f"`count:` must be a whole number from 1 to {MOST_COPIES}"
            findings.append(Finding(count.position, "count", what, "write it in digits"))
        if "mix" in value:
            template.turns = list(_turns(value["mix"], findings)) or [{}]
        template._look_for_placeholders(where, findings)
        return template

    def copies(self) -> Iterator[tuple[str, Node]]:
        """Yield the name and node of each copy."""
        shared = self.node.value if isinstance(self.node.value, dict) else {}
        pattern = self.name if "{" in self.name else f"{self.name}-{{n:{len(str(self.count))}}}"
        for number, turn in enumerate(islice(cycle(self.turns), self.count), start=1):
            name = _fill(pattern, _Copy(number))
            copy = _Copy(number, name)
            content: Value = {
                _fill(key, copy): self._filled(child, copy)
                for key, child in {**shared, **turn}.items()
            }
            yield name, Node(self.node.position, content, self.node.key)

    def _filled(self, node: Node, copy: _Copy) -> Node:
        if id(node) not in self.filled:
            return node
        match node.value:
            case dict() as mapping:
                value: Value = {_fill(k, copy): self._filled(n, copy) for k, n in mapping.items()}
            case list() as items:
                value = [self._filled(item, copy) for item in items]
            case str() as text:
                value = _fill(text, copy)
            case other:
                value = other
        return Node(node.position, value, node.key)

    def _look_for_placeholders(self, where: Position, findings: list[Finding]) -> None:
        in_name = _bad_placeholders(self.name, self.count, is_name=True)
        findings.extend(_bad(where, what) for what in in_name)
        for node in (self.node, *(child for turn in self.turns for child in turn.values())):
            self._mark(node, findings)

    def _mark(self, node: Node, findings: list[Finding]) -> bool:
        """Note which nodes have placeholders below; return whether this one has."""
        found = False
        match node.value:
            case dict() as mapping:
                for key, child in mapping.items():
                    found |= self._has_placeholder(key, child.key or child.position, findings)
                    found |= self._mark(child, findings)
            case list() as items:
                for item in items:
                    found |= self._mark(item, findings)
            case str() as text:
                found = self._has_placeholder(text, node.position, findings)
            case _:
                pass
        if found:
            self.filled.add(id(node))
        return found

    def _has_placeholder(self, text: str, where: Position, findings: list[Finding]) -> bool:
        if _PLACEHOLDER.search(text) is None:
            return False
        findings.extend(_bad(where, what) for what in _bad_placeholders(text, self.count))
        return True


def _turns(node: Node, findings: list[Finding]) -> Iterator[dict[str, Node]]:
    """Yield what each copy of one cycle through the mix overrides."""
    if not isinstance(node.value, list) or not node.value:
        what = f"`mix:` must be a list of mappings, not {kind_of(node.value)}"
        findings.append(Finding(node.position, "mix", what, _MIX_HINT))
        return
    for entry in node.value:
        if not isinstance(entry.value, dict):
            what = f"an entry of `mix:` must be a mapping, not {kind_of(entry.value)}"
            findings.append(Finding(entry.position, "mix", what, _MIX_HINT))
            continue
        share = entry.value.get("share")
        times = 1
        if share is not None:
            if isinstance(share.value, bool) or share.value not in range(1, 1001):
                what = "`share:` must be a whole number from 1 to 1000"
                findings.append(Finding(share.position, "share", what, _MIX_HINT))
            else:
                times = int(str(share.value))
        for key in KEYS:
            if key in entry.value:
                inner = entry.value[key]
                what = f"`{key}:` inside `mix:`"
                findings.append(
                    Finding(inner.key or inner.position, "mix", what, "move it out of `mix:`")
                )
        left_out = {"share", *KEYS}
        override = {key: child for key, child in entry.value.items() if key not in left_out}
        for _ in range(times):
            yield override


def _bad(where: Position, what: str) -> Finding:
    hint = "use `{n}`, `{n:4}`, `{name}` or `{10.96.0.1 + 8}`; a brace itself is `{{` or `}}`"
    return Finding(where, f"placeholder {what}", what, hint)


def _bad_placeholders(text: str, count: int, *, is_name: bool = False) -> Iterator[str]:
    """Yield what is wrong with `text`, without quoting it: it may be a password."""
    for match in _PLACEHOLDER.finditer(text):
        inner = match[1]
        if inner is None:
            if match[0] in {"{", "}"}:
                yield "a brace that begins or ends no placeholder"
        elif not _NUMBER.fullmatch(inner) and not (inner == "name" and not is_name):
            last = _Copy(count)
            if is_name or _grown(inner, last) is None:
                yield "what is in braces here is no placeholder"


def _fill(text: str, copy: _Copy) -> str:
    """Return `text` with its placeholders filled; one that is none stays (it was told already)."""
    if "{" not in text and "}" not in text:
        return text

    def replace(match: re.Match[str]) -> str:
        inner = match[1]
        if inner is None:
            return match[0][0]
        number = _NUMBER.fullmatch(inner)
        if number:
            return f"{copy.number:0{number['width'] or 1}d}"
        if inner == "name":
            return copy.name
        return _grown(inner, copy) or match[0]

    return _PLACEHOLDER.sub(replace, text)


def _grown(inner: str, copy: _Copy) -> str | None:
    """Return the address that `BASE + STEP` is in `copy`; None when it is no address."""
    match = _ADDRESS.fullmatch(inner)
    if match is None:
        return None
    try:
        base: IPv4Address | IPv6Address = ip_address(match["base"])
        return str(base + int(match["step"]) * (copy.number - 1))
    except ValueError:  # AddressValueError is one: no address, or past the last one
        return None
