"""The reference of topology files: keys, defaults and meanings, from the models themselves.

A meaning is the string below a field in `testbed/model/topology.py`, read from the source: at run
time nobody needs it. A default that follows from other keys is put in words here.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from testbed.model import topology

_TITLES: tuple[tuple[str, type[BaseModel]], ...] = (
    ("Top level", topology.Topology),
    ("`sut`", topology.Sut),
    ("`sut.ssh`", topology.Ssh),
    ("`sut.addresses[]`", topology.LocalAddress),
    ("`uplink`", topology.Uplink),
    ("`tenants.NAME`", topology.Tenant),
    ("`tenants.NAME.servers[]`", topology.Server),
    ("`tenants.NAME.services`", topology.Services),
    ("`tenants.NAME.services.dns`", topology.Dns),
    ("`tenants.NAME.services.ldap`", topology.Ldap),
    ("`tenants.NAME.services.ldap.second`", topology.Second),
    ("`tenants.NAME.services.kdc`", topology.Kdc),
    ("`tenants.NAME.routes[]`", topology.Route),
)
_IN_WORDS = {
    "Topology.name": "the file's",
    "Topology.uplink": '`{v4: 10.64.0.0/12, v6: "fd00:64::/32"}`',
    "Topology.sut": "our VM",
    "Topology.services_start": "`up`, or `lease` for more than 64 containers",
    "Sut.kind": "`vm`, or `ssh` where `ssh` is given",
    "Sut.interface_fib": "none: FIB 0",
    "Tenant.fib": "its place in the list, from 1",
    "Tenant.client": "host 1",
    "Tenant.client6": "`::1`",
    "Tenant.router": "host 254",
    "Tenant.router6": "`::fe`",
    "Tenant.services": "none",
    "Tenant.servers": "1",
    "Tenant.next_hop": "from the block",
    "Tenant.next_hop6": "from the block",
    "Tenant.domain": "`NAME.test`",
    "Tenant.login": "what there is, `ldap` if both",
    "Server.v4": "from the block",
    "Server.v6": "from the block",
    "Dns.address": "host 53",
    "Dns.address6": "`::53`",
    "Ldap.address": "host 89",
    "Ldap.address6": "`::89`",
    "Ldap.base_dn": "made of the domain",
    "Second.address": "host 90",
    "Second.address6": "`::90`",
    "Kdc.address": "host 88",
    "Kdc.address6": "`::88`",
    "Kdc.realm": "the domain in capitals",
    "Route.via": "none: the router answers that it is unreachable",
}
_INTRODUCTION = """\
# Keys of a topology

What a topology is, and how tenants come by the thousand: [topologies/README.md](../../topologies/README.md).
Beside the keys of the top level there is `defaults`: keys of a tenant for all; a tenant that has
such a key itself overrides it as a whole.
"""


def topology_page() -> str:
    """Return the page."""
    meanings = _meanings()
    return "\n".join([_INTRODUCTION, *(_section(title, m, meanings) for title, m in _TITLES)])


def _section(title: str, model: type[BaseModel], meanings: dict[str, str]) -> str:
    lines = [
        f"## {title}",
        "",
        _sentences(model),
        "",
        "| key | default | meaning |",
        "|---|---|---|",
    ]
    for name, field in model.model_fields.items():
        default = _IN_WORDS.get(f"{model.__name__}.{name}") or _default(field)
        lines.append(f"| `{name}` | {default} | {_meaning(model, name, meanings)} |")
    return "\n".join([*lines, ""])


def _sentences(model: type[BaseModel]) -> str:
    return " ".join((inspect.getdoc(model) or "").split())


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "needed"
    value = field.get_default(call_default_factory=True)
    return "none" if value in (None, "", (), {}) else f"`{value}`"


def _meaning(model: type[BaseModel], name: str, meanings: dict[str, str]) -> str:
    for owner in model.__mro__:
        if f"{owner.__name__}.{name}" in meanings:
            return meanings[f"{owner.__name__}.{name}"]
    raise LookupError(f"`{model.__name__}.{name}` has no string below it that says what it means")


def _meanings() -> dict[str, str]:
    """Return the string below each field of each model, by MODEL.FIELD."""
    tree = ast.parse(inspect.getsource(topology))
    classes = (node for node in tree.body if isinstance(node, ast.ClassDef))
    return {f"{node.name}.{name}": text for node in classes for name, text in _of_class(node)}


def _of_class(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for field, below in zip(node.body, node.body[1:], strict=False):
        match field, below:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                yield name, " ".join(text.split())
