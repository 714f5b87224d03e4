"""The reference of JSON output: a schema for each verb, and a page that tells them."""

from __future__ import annotations

import json
from typing import Any

from pydantic import TypeAdapter

from testbed.cli import views

_VIEWS: tuple[tuple[str, type], ...] = (
    ("testbed status --format json", views.StatusView),
    ("testbed up --format json", views.UpView),
    ("testbed plan --format json", views.PlanView),
    ("testbed inspect TARGET --format json", views.InspectView),
    ("testbed doctor --format json", views.DoctorView),
    ("testbed events --format json", views.EventView),
)
_INTRODUCTION = """\
# JSON output

The field `schema` names the shape and its version. A version changes when a field goes away or
changes its meaning; new fields do not change it, so ignore those that you do not know. The schemas
are JSON Schema 2020-12. Passwords are shown as `***`.

| command | `schema` | JSON Schema |
|---|---|---|
"""
_LINES = """
`testbed events` and the steps of `--progress json` (on stderr) are one object a line.
"""


def output_page() -> str:
    """Return the page."""
    rows = []
    for command, view in _VIEWS:
        name = schema_name(view)
        rows.append(f"| `{command}` | `{name}` | [{name}](schema/{_file(name)}.json) |\n")
    return _INTRODUCTION + "".join(rows) + _LINES


def schemas() -> dict[str, str]:
    """Return each schema's text by the name of its file."""
    return {
        _file(schema_name(view)): json.dumps(schema_of(view), indent=2) + "\n" for _, view in _VIEWS
    }


def schema_of(view: type) -> dict[str, Any]:
    """Return the JSON Schema of `view`."""
    schema = TypeAdapter(view).json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def schema_name(view: type) -> str:
    """Return what the field `schema` of such output says, such as `testbed.status/1`."""
    properties = TypeAdapter(view).json_schema(mode="serialization")["properties"]
    return str(properties["schema"]["const"])


def _file(name: str) -> str:
    return name.removeprefix("testbed.").replace("/", ".")
