"""Asks the SUT's daemon from a tenant's client: who am I, resolve, log in, present a ticket.

The client runs `tenant-request` (tenants/client/tool), which speaks the daemon's protocol
(docs/daemon.md). What the daemon answered, and how the connection failed if it did, are data.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

from testbed.drivers.execution import Session
from testbed.errors import ResourceError
from testbed.plan.fib import Accepted, expected_arrival
from testbed.plan.records import known_values
from testbed.plan.resources import Address, FibId, Method
from testbed.probe.inside import Client
from testbed.probe.journal import Entry, Journal, in_words, is_password, right_or_wrong

_TOOL = "tenant-request"


@dataclass(frozen=True, slots=True)
class Reply:
    """What the daemon saw of one request, or `error`: an errno's name or what went wrong.

    `local` is the server address it was asked at, `server` the address of the tenant's server that
    judged a login, `resolved` what the tenant's DNS said.
    """

    nonce: str
    error: str = ""
    verdict: str = ""
    reason: str = ""
    fib: FibId | None = None
    thread_fib: FibId | None = None
    tenant: str = ""
    local: Address | None = None
    peer: tuple[Address, int] | None = None
    resolved: tuple[Address, ...] = ()
    method: str = ""
    principal: str = ""
    server: Address | None = None
    server_fib: FibId | None = None
    worker: int | None = None
    elapsed_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Route:
    """How a request goes: to which server address, from which source port, over what."""

    address: Address
    port: int
    source_port: int = 0
    udp: bool = False
    timeout_s: float = 15

    def argv(self, *extra: str) -> tuple[str, ...]:
        """Return the tool's command line; requests come on its standard input."""
        source = ("--source-port", str(self.source_port)) if self.source_port else ()
        return (
            *(_TOOL, "--server", str(self.address), "--port", str(self.port)),
            *("--timeout", str(self.timeout_s), *source, *(("--udp",) if self.udp else ())),
            *extra,
            "-",
        )


def route_to(client: Client, **options: Any) -> Route:
    """Return the route to the tenant's first server address, `options` as of `Route`."""
    address = options.pop("address", client.tenant.server_addresses[0].ip)
    return Route(address, client.plan.sut.port, **options)


def who_am_i(client: Client, route: Route) -> Reply:
    """Ask in which FIB and tenant the request arrived."""
    return ask(client, route, {"op": "whoami"})


def resolve(client: Client, route: Route, name: str) -> Reply:
    """Let the daemon resolve `name` with the DNS of the tenant it takes us for."""
    return ask(client, route, {"op": "resolve", "name": name})


def log_in(
    client: Client, route: Route, user: str, password: str, *, method: Method | None = None
) -> Reply:
    """Log in, by the tenant's own method unless `method` is given."""
    chosen = {"method": method} if method else {}
    return ask(client, route, {"op": "login", "user": user, "password": password, **chosen})


def present_ticket(client: Client, route: Route, token: str) -> Reply:
    """Present a service ticket as a GSS-API token (base64), see `service_token`."""
    return ask(client, route, {"op": "ticket", "token": token})


def service_token(client: Client, cache: str, server_host: str) -> str:
    """Return a GSS-API token for the daemon at `server_host`, from the credential cache `cache`."""
    argv = (
        "env",
        f"KRB5CCNAME={cache}",
        _TOOL,
        "--token-only",
        "--service",
        f"login@{server_host}",
    )
    answer = client.run(argv)
    if answer.exit_code != 0:
        raise ResourceError(f"no service ticket: {answer.output.strip()}")
    return str(json.loads(answer.output.splitlines()[-1])["token"])


def ask(client: Client, route: Route, request: Mapping[str, Any]) -> Reply:
    """Send one request and return its reply; a nonce is added unless it has one."""
    message = {"nonce": new_nonce(client.tenant.name), **request}
    with client.asks(_question(client, route, request)) as entry:
        answer = client.run(route.argv(), stdin=json.dumps(message).encode() + b"\n")
        lines = answer.output.splitlines()
        if not lines:
            raise ResourceError(f"{_TOOL} printed nothing and exited {answer.exit_code}")
        reply = parse_reply(lines[-1], message["nonce"])
        _judge(entry, client, route, request, reply)
    return reply


def _question(client: Client, route: Route, request: Mapping[str, Any]) -> str:
    """Return the request in words, without secrets."""
    op = request.get("op")
    details = {"resolve": f" {request.get('name')}"}
    if op == "login":
        user = request.get("user", "")
        right = is_password(client.tenant, user, request.get("password", ""))
        details["login"] = f" as {user}, {right_or_wrong(right)}"
    kind = "udp" if route.udp else "tcp"
    return f"{op}{details.get(str(op), '')} at {route.address} port {route.port}/{kind}"


def _judge(
    entry: Entry, client: Client, route: Route, request: Mapping[str, Any], reply: Reply
) -> None:
    """Write the reply down with what the oracle expects: which FIB, which verdict, which addresses."""
    verdict = expected_arrival(client.plan, client.tenant, route.address)
    expected = in_words(verdict)
    if not isinstance(verdict, Accepted):
        entry.answered(_told(reply), expected=expected, agrees=bool(reply.error))
        return
    agrees = not reply.error and reply.fib == verdict.fib
    if request.get("op") == "login":
        user, password = request.get("user", ""), request.get("password", "")
        word = "accepted" if is_password(client.tenant, user, password) else "refused"
        expected, agrees = f"{expected}, {word}", agrees and reply.verdict == word
    known = known_values(client.tenant.records, str(request.get("name")), "A", "AAAA")
    if request.get("op") == "resolve" and known is not None:
        expected = ", ".join([expected, *sorted(known)])
        agrees = agrees and set(map(str, reply.resolved)) == known
    entry.answered(_told(reply), expected=expected, agrees=agrees)


def _told(reply: Reply) -> str:
    """Return the reply in words."""
    if reply.error:
        return reply.error
    words = [f"FIB {reply.fib}", f"tenant {reply.tenant or 'none'}", reply.verdict, reply.reason]
    return ", ".join([*filter(None, words), *map(str, reply.resolved)])


@contextmanager
def held(client: Client, route: Route) -> Iterator[Held]:
    """Connect and hold the connection; requests go when the scenario says so."""
    with client.open(route.argv("--hold")) as session:
        yield Held(session, client.tenant.name, client.journal)


@dataclass(frozen=True, slots=True)
class Held:
    """A connection that waits for its requests."""

    session: Session
    tenant: str
    journal: Journal = field(default_factory=Journal, repr=False, compare=False)

    def connected(self) -> Mapping[str, Any]:
        """Wait for the handshake; return what the tool said of it (`error` if it failed)."""
        found: Mapping[str, Any] = json.loads(self.session.line())
        return found

    def ask(self, request: Mapping[str, Any]) -> Reply:
        """Send one request over the held connection and return its reply."""
        return self.reply(self.send(request))

    def send(self, request: Mapping[str, Any]) -> str:
        """Send a request, and return its nonce, for `reply`: other connections go on meanwhile."""
        message = {"nonce": new_nonce(self.tenant), **request}
        self.session.send(json.dumps(message).encode() + b"\n")
        return str(message["nonce"])

    def reply(self, nonce: str) -> Reply:
        """Wait for the reply to the request that `send` gave this nonce."""
        with self.journal.question(self.tenant, "request on a held connection") as entry:
            reply = parse_reply(self.session.line(limit_s=20), nonce)
            entry.answered(_told(reply))
        return reply


def new_nonce(tenant: str) -> str:
    """Return a nonce that names its tenant and is never drawn twice."""
    return f"nonce-{tenant}-{secrets.token_hex(8)}"


def parse_reply(line: str, nonce: str) -> Reply:
    """Read one line that the tool printed."""
    try:
        fields = json.loads(line)
    except ValueError as error:
        raise ResourceError(f"{_TOOL} said {line!r}") from error
    if "error" in fields:
        return Reply(nonce, error=str(fields["error"]), elapsed_ms=fields.get("elapsed_ms", 0.0))
    server = fields.get("server") or {}
    return Reply(
        nonce=fields["nonce"],
        verdict=fields["verdict"],
        reason=fields.get("reason") or "",
        fib=fields.get("fib"),
        thread_fib=fields.get("thread_fib"),
        tenant=fields.get("tenant") or "",
        local=_address(fields.get("local")),
        peer=_endpoint(fields.get("peer")),
        resolved=tuple(ip_address(a) for a in (fields.get("resolved") or {}).get("addresses", ())),
        method=fields.get("method") or "",
        principal=fields.get("principal") or "",
        server=_address(server.get("peer")),
        server_fib=server.get("fib"),
        worker=fields.get("worker"),
        elapsed_ms=fields.get("elapsed_ms", 0.0),
    )


def _address(endpoint: Mapping[str, Any] | None) -> Address | None:
    return ip_address(endpoint["address"]) if endpoint else None


def _endpoint(endpoint: Mapping[str, Any] | None) -> tuple[Address, int] | None:
    return (ip_address(endpoint["address"]), int(endpoint["port"])) if endpoint else None
