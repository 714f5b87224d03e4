"""The reference of the public API: every name of `testbed.api`, and what pytest hands out."""

from __future__ import annotations

import contextlib
import enum
import inspect
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from testbed import api
from testbed.pytest_plugin import fixtures
from testbed.pytest_plugin.wishes import MARKERS

_INTRODUCTION = """\
# `testbed.api`

All that scenarios may import; how to use it: [scenarios.md](../scenarios.md). Options of pytest are
told by `pytest --help`, under `testbed`.
"""


def api_page() -> str:
    """Return the page."""
    parts = [_INTRODUCTION, "## Fixtures\n", *_fixtures(), "\n## Markers\n", *_markers()]
    for name in sorted(api.__all__, key=str.lower):
        parts += ["", f"## `{name}`", "", *_entry(name, getattr(api, name))]
    return "\n".join(parts) + "\n"


def _fixtures() -> Iterator[str]:
    for name, value in vars(fixtures).items():
        if type(value).__name__ == "FixtureFunctionDefinition" and not name.startswith("_"):
            yield f"- `{name}`: {_first(inspect.getdoc(value))}"


def _markers() -> Iterator[str]:
    for line in MARKERS:
        call, _, meaning = line.partition(": ")
        yield f"- `{call}`: {meaning}"


def _entry(name: str, value: Any) -> Iterator[str]:
    if inspect.isclass(value):
        yield from _class(value)
    elif inspect.isfunction(value):
        yield f"```python\n{name}{_signature(value)}\n```\n"
        yield _doc(value)
    elif inspect.ismodule(value):
        yield f"{_first(inspect.getdoc(value))}\n"
        for member, function in vars(value).items():
            home = getattr(function, "__module__", "")
            is_own = f"{home}.".startswith(f"{value.__name__}.")
            if is_own and inspect.isfunction(function) and not member.startswith("_"):
                yield f"- `{member}{_signature(function)}`: {_first(inspect.getdoc(function))}"
    else:  # a NewType or an alias
        yield f"`{value}`"


def _class(value: type) -> Iterator[str]:
    yield _doc(value)
    if issubclass(value, enum.Enum):
        yield "\n" + ", ".join(f"`{member.name}`" for member in value)
        return
    members = list(_members(value))
    if members:
        yield ""
        yield from members


def _members(value: type) -> Iterator[str]:
    if is_dataclass(value):
        for field in fields(value):
            if not field.name.startswith("_"):
                yield f"- `{field.name}: {field.type}`"
    for name, member in vars(value).items():
        if name.startswith("_"):
            continue
        told = member.func if hasattr(member, "func") else member
        if isinstance(told, classmethod | staticmethod):
            told = told.__func__
        if isinstance(member, property) or hasattr(member, "func"):
            yield f"- `{name}`: {_first(inspect.getdoc(told))}"
        elif inspect.isfunction(told):
            yield f"- `{name}{_signature(told)}`: {_first(inspect.getdoc(told))}"


def _signature(value: Any) -> str:
    """Return the signature as it stands in the source, without `self`; of blocks, what they are."""
    signature = inspect.signature(value)
    shown = [
        parameter.replace(annotation=_Said(parameter.annotation))
        for parameter in signature.parameters.values()
        if parameter.name not in {"self", "cls"}
    ]
    returned = str(signature.return_annotation)
    if value.__code__.co_filename == contextlib.__file__:  # made by contextlib.contextmanager
        returned = returned.replace("Iterator[", "AbstractContextManager[")
    return str(signature.replace(parameters=shown, return_annotation=_Said(returned)))


@dataclass(frozen=True)
class _Said:
    """An annotation, which signatures would put in quotes."""

    text: str

    def __repr__(self) -> str:
        return self.text


def _doc(value: Any) -> str:
    return inspect.getdoc(value) or ""


def _first(doc: str | None) -> str:
    return " ".join((doc or "").partition("\n\n")[0].split())
