"""Turns pydantic's errors into a sentence of what is wrong and one of what to do."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from testbed.model import copies, topology
from testbed.model.document import Path, Value, kind_of, shown

_MODELS: tuple[tuple[str, type[BaseModel]], ...] = (
    (r"", topology.Topology),
    (r"uplink", topology.Uplink),
    (r"sut", topology.Sut),
    (r"sut ssh", topology.Ssh),
    (r"sut addresses \d+", topology.LocalAddress),
    (r"TENANT", topology.Tenant),
    (r"TENANT services", topology.Services),
    (r"TENANT services dns", topology.Dns),
    (r"TENANT services ldap", topology.Ldap),
    (r"TENANT services ldap second", topology.Second),
    (r"TENANT services kdc", topology.Kdc),
    (r"TENANT servers \d+", topology.Server),
    (r"TENANT routes \d+", topology.Route),
)


def describe(detail: ErrorDetails, path: Path, value: Value) -> tuple[str, str]:
    """Return what is wrong at `path`, where `value` is, and what to do about it."""
    context = detail.get("ctx", {})
    if "what" in context and "hint" in context:
        return f"{dotted(path)}: {context['what']}", str(context["hint"])
    describer = _DESCRIBERS.get(detail["type"])
    if describer is None:
        return f"{dotted(path)}: {detail['msg']}", "see topologies/README.md for what may be here"
    return describer(path, context, value)


def dotted(path: Path) -> str:
    """Return `path` as people write it.

    >>> dotted(("tenants", "alpha", "servers", 0))
    '`tenants.alpha.servers[0]`'
    """
    steps = [
        f"[{step}]"
        if isinstance(step, int)
        else f".{step if re.fullmatch(r'[A-Za-z0-9_-]{1,60}', step) else shown(step)}"
        for step in path
    ]
    return f"`{''.join(steps).removeprefix('.')}`" if path else "the topology"


def _unknown(path: Path, _: Mapping[str, Any], __: Value) -> tuple[str, str]:
    keys = _keys_at(path[:-1])
    key = str(path[-1])
    close = get_close_matches(key, keys, n=1)
    hint = f"did you mean `{close[0]}:`?" if close else f"known keys: {', '.join(keys)}"
    return f"unknown key {shown(key)} in {dotted(path[:-1])}", hint


def _keys_at(path: Path) -> list[str]:
    tenant_less = ("TENANT", *path[1:]) if path[:1] == ("defaults",) else path
    if path[:1] == ("tenants",) and len(path) > 1:
        tenant_less = ("TENANT", *path[2:])
    text = " ".join(str(step) for step in tenant_less)
    for pattern, model in _MODELS:
        if re.fullmatch(pattern, text):
            extra = ["defaults"] if model is topology.Topology else []
            extra += copies.KEYS if model is topology.Tenant and path[:1] == ("tenants",) else ()
            return [*model.model_fields, *extra]
    return []


def _missing(path: Path, _: Mapping[str, Any], __: Value) -> tuple[str, str]:
    return f"{dotted(path[:-1])} has no `{path[-1]}:`", f"add `{path[-1]}:`"


def _must_be(what: str, hint: str) -> Callable[[Path, Mapping[str, Any], Value], tuple[str, str]]:
    def describe_type(path: Path, _: Mapping[str, Any], value: Value) -> tuple[str, str]:
        return f"{dotted(path)} must be {what}, not {kind_of(value)}", hint

    return describe_type


def _literal(path: Path, context: Mapping[str, Any], value: Value) -> tuple[str, str]:
    expected = str(context["expected"])
    close = get_close_matches(str(value), re.findall(r"'([^']*)'", expected), n=1)
    hint = f"did you mean `{close[0]}`?" if close else "write one of these"
    return f"{dotted(path)} must be {expected}", hint


def _bound(words: str, key: str) -> Callable[[Path, Mapping[str, Any], Value], tuple[str, str]]:
    def describe_bound(path: Path, context: Mapping[str, Any], value: Value) -> tuple[str, str]:
        hint = "use a number in this range"
        return f"{dotted(path)} must be {context[key]} or {words}, not {value}", hint

    return describe_bound


def _too_long(path: Path, context: Mapping[str, Any], _: Value) -> tuple[str, str]:
    return f"{dotted(path)} is longer than {context['max_length']} characters", "use a shorter one"


def _too_short(path: Path, _: Mapping[str, Any], __: Value) -> tuple[str, str]:
    return f"{dotted(path)} is an empty list", "add an entry, or remove the key for the default"


_MAPPING = _must_be("a mapping", "write `key: value` lines under it, or `{}`")
_LIST = _must_be("a list", "write it as `[a, b]`, or as lines that start with `- `")

_DESCRIBERS: dict[str, Callable[[Path, Mapping[str, Any], Value], tuple[str, str]]] = {
    "extra_forbidden": _unknown,
    "missing": _missing,
    "int_type": _must_be("a whole number", "write it in digits, without quotes"),
    "bool_type": _must_be("`true` or `false`", "write it without quotes"),
    "string_type": _must_be("text", "put it in quotes"),
    "dict_type": _MAPPING,
    "model_type": _MAPPING,
    "tuple_type": _LIST,
    "literal_error": _literal,
    "greater_than_equal": _bound("more", "ge"),
    "less_than_equal": _bound("less", "le"),
    "string_too_long": _too_long,
    "too_short": _too_short,
}
