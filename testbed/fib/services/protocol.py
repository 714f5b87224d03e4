"""The wire protocol of the daemon: one JSON object a line over TCP, one a datagram over UDP.

Requests (`nonce` is any text of up to 128 characters and comes back as it was):

    {"op": "whoami", "nonce": N}                      which FIB and tenant am I in?
    {"op": "echo", "nonce": N, "data": TEXT}          the same, with my data back
    {"op": "resolve", "nonce": N, "name": HOST}       ask the tenant's DNS; without name: its server
    {"op": "login", "nonce": N, "user": U, "password": P, "method": "ldap" | "kerberos"}
                                                      without method: the tenant's own
    {"op": "ticket", "nonce": N, "token": BASE64}     a GSS-API initial token for our service

Replies have always the same keys, null where there is nothing to say:

    nonce, op, fib, tenant, local {address, port}, peer {address, port}, thread_fib,
    resolved {name, addresses}, verdict (accepted | refused | error), reason, method, principal,
    server {local, peer, fib} (the LDAP connection as the kernel has it), token, data,
    waited_ms (in the queue), elapsed_ms (all of it), worker

A TCP connection may carry any number of requests, one after another; each is answered before the
next is read. Whatever is not understood (no JSON, unknown key or op, a line over 64 KiB, a line
that does not end in time) is answered by one reply with verdict "error", and the connection is
closed. Over UDP such a datagram is answered too, unless it is a reply itself (it has a verdict):
otherwise two daemons, or a daemon and an echo service, could talk forever.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NoReturn

from .config import Method

MAX_LINE_BYTES = 64 * 1024
_MAX_NONCE = 128
_MAX_USER = 256
_MAX_PASSWORD = 1024
_HOST_NAME = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?")


class Op(StrEnum):
    """What a client can ask for."""

    WHOAMI = "whoami"
    ECHO = "echo"
    RESOLVE = "resolve"
    LOGIN = "login"
    TICKET = "ticket"

    @property
    def is_light(self) -> bool:
        """Whether it is answered without asking any server."""
        return self in {Op.WHOAMI, Op.ECHO}


class ProtocolError(Exception):
    """A request that cannot be understood; `nonce` and `op` as far as they could be read."""

    def __init__(self, reason: str, *, nonce: str | None = None, op: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.nonce = nonce
        self.op = op


@dataclass(frozen=True, slots=True)
class Request:
    """One request; fields of other operations are empty. Its repr shows no secret."""

    op: Op
    nonce: str
    name: str | None = None
    user: str = ""
    password: str = field(default="", repr=False)
    method: Method | None = None
    token: bytes = field(default=b"", repr=False)
    data: str | None = None


def parse_request(line: bytes) -> Request:
    """Understand one line or datagram.

    Raises:
        ProtocolError: what is wrong with it, fit to be sent back.
    """
    try:
        document = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise ProtocolError(f"not JSON: {reason}") from error
    if not isinstance(document, dict):
        raise ProtocolError("not a JSON object")
    members = _Members(document)
    nonce = members.text("nonce", longest=_MAX_NONCE, default="")
    members.nonce = nonce
    name = members.text("op", longest=32)
    members.op = name
    if name not in _PARSERS:
        members.fail(f"unknown op {name!r}, must be one of {', '.join(Op)}")
    request = _PARSERS[Op(name)](nonce, members)
    members.finish()
    return request


def is_reply(line: bytes) -> bool:
    """Whether a datagram looks like a reply of a daemon like this one."""
    try:
        document = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError):
        return False
    return isinstance(document, dict) and "verdict" in document


def encode(reply: Mapping[str, object]) -> bytes:
    """Return the reply as a line; ASCII only, so that no peer has to guess an encoding."""
    return json.dumps(reply, separators=(",", ":")).encode("ascii") + b"\n"


class _Members:
    """Takes typed members out of a request."""

    def __init__(self, document: dict[str, object]) -> None:
        self._left = dict(document)
        self.nonce: str | None = None
        self.op: str | None = None

    def fail(self, reason: str) -> NoReturn:
        raise ProtocolError(reason, nonce=self.nonce, op=self.op)

    def text(self, name: str, *, longest: int, default: str | None = None) -> str:
        value = self._left.pop(name, default)
        if not isinstance(value, str):
            self.fail(f"{name!r} is missing" if value is None else f"{name!r} is not a text")
        if len(value) > longest:
            self.fail(f"{name!r} is longer than {longest} characters")
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:  # half of a surrogate pair: no library would take it
            self.fail(f"{name!r} is not valid Unicode")
        return value

    def plain(self, name: str, *, longest: int) -> str:
        """Take a text that C libraries read to its end: a NUL would cut it short."""
        value = self.text(name, longest=longest)
        if any(ord(character) < 0x20 or ord(character) == 0x7F for character in value):
            self.fail(f"{name!r} contains control characters")
        return value

    def has(self, name: str) -> bool:
        if self._left.get(name) is None:
            self._left.pop(name, None)
            return False
        return True

    def finish(self) -> None:
        if self._left:
            self.fail(f"unknown key {', '.join(map(repr, sorted(self._left)))}")


def _parse_whoami(nonce: str, _members: _Members) -> Request:
    return Request(Op.WHOAMI, nonce)


def _parse_echo(nonce: str, members: _Members) -> Request:
    return Request(Op.ECHO, nonce, data=members.text("data", longest=MAX_LINE_BYTES, default=""))


def _parse_resolve(nonce: str, members: _Members) -> Request:
    if not members.has("name"):
        return Request(Op.RESOLVE, nonce)
    name = members.text("name", longest=253)
    if not _HOST_NAME.fullmatch(name):
        members.fail("'name' is not a host name")
    return Request(Op.RESOLVE, nonce, name=name)


def _parse_login(nonce: str, members: _Members) -> Request:
    method = None
    if members.has("method"):
        text = members.text("method", longest=32)
        if text not in list(Method):
            members.fail(f"unknown method {text!r}, must be one of {', '.join(Method)}")
        method = Method(text)
    user = members.plain("user", longest=_MAX_USER)
    password = members.plain("password", longest=_MAX_PASSWORD)
    return Request(Op.LOGIN, nonce, user=user, password=password, method=method)


def _parse_ticket(nonce: str, members: _Members) -> Request:
    text = members.text("token", longest=MAX_LINE_BYTES)
    try:
        token = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        members.fail("'token' is not base64")
    if not token:
        members.fail("'token' is empty")
    return Request(Op.TICKET, nonce, token=token)


_PARSERS: Mapping[str, Callable[[str, _Members], Request]] = {
    Op.WHOAMI: _parse_whoami,
    Op.ECHO: _parse_echo,
    Op.RESOLVE: _parse_resolve,
    Op.LOGIN: _parse_login,
    Op.TICKET: _parse_ticket,
}
