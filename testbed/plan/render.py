"""The plan as JSON data, for `testbed plan --format json`; passwords are redacted."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import TypeAlias

from testbed.plan.resources import Plan, Secret

Json: TypeAlias = "str | int | list[Json] | dict[str, Json] | None"

REDACTED = "***"


def plan_view(plan: Plan) -> dict[str, Json]:
    """Return `plan` in the shape of its dataclasses, addresses as text, without any password."""
    view = view_of(plan)
    if not isinstance(view, dict):
        raise TypeError("a plan is a mapping")
    return view


def view_of(value: object) -> Json:
    """Return a part of a plan in the same shape."""
    if isinstance(value, Secret):
        return {"name": value.name, "password": REDACTED}
    if is_dataclass(value):
        return {field.name: view_of(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple):
        return [view_of(item) for item in value]
    if value is None or isinstance(value, int):
        return value
    return str(value)  # text, enumerations, addresses
