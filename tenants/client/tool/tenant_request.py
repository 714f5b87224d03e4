#!/usr/bin/python3
"""Talks to the SUT's multi-tenant daemon from a tenant's client; installed as `tenant-request`.

    tenant-request --server 10.64.0.1 whoami
    tenant-request --server 10.64.0.1 --udp echo hello
    tenant-request --server 10.64.0.1 login anna         (the password is a line on stdin)
    tenant-request --server 10.64.0.1 --service login@server.bravo.test ticket
    tenant-request --server 10.64.0.1 -                  (requests are lines on stdin, sent as they are)
    tenant-request --token-only --service login@server.bravo.test

Every reply is printed as one line of JSON: the daemon's own fields (docs/daemon.md) and "client",
what this side saw: local and peer {address, port}, connect_ms, elapsed_ms, and mutual (after a
ticket: whether the daemon proved itself). A failure is a line as well: {"error": "ECONNREFUSED",
"phase": "connect" | "request" | "reply", "detail", "elapsed_ms"}. With --hold a line
{"connected": {local, peer}, "elapsed_ms"} comes first, and nothing is sent until a line comes on
stdin; for `-` and `login` that is the request or the password itself.

Exit codes: 0 every request was answered, 1 refused, reset or closed by the other side, 2 usage,
3 timeout, 4 unreachable, 5 an answer that is not the daemon's, 6 no ticket, 7 any other error.
Python 3.11, standard library; python3-gssapi for tickets.
"""

from __future__ import annotations

import argparse
import base64
import errno
import json
import secrets
import socket
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_CLOSED = frozenset({errno.ECONNREFUSED, errno.ECONNRESET, errno.EPIPE, errno.ECONNABORTED})
_UNREACHABLE = frozenset(
    {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN, errno.EACCES}
)
_LONGEST_REPLY = 1 << 20


class RequestFailedError(Exception):
    """No reply; `code` is the exit code."""

    def __init__(self, code: int, error: str, phase: str, detail: str = "") -> None:
        super().__init__(error)
        self.code = code
        self.error = error
        self.phase = phase
        self.detail = detail


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the command line says; return the exit code."""
    options = _options(argv)
    start_s = time.monotonic()
    try:
        if options.token_only:
            token, _ = _initial_token(options.service, mutual=not options.no_mutual)
            _print({"token": token, "service": options.service})
            return 0
        return _converse(options)
    except RequestFailedError as failure:
        line = {"error": failure.error, "phase": failure.phase, "detail": failure.detail}
        _print({**line, "elapsed_ms": _milliseconds_since(start_s)})
        return failure.code


def _converse(options: argparse.Namespace) -> int:
    start_s = time.monotonic()
    with _connect(options) as sock:
        connection = Connection(sock, is_udp=options.udp, connect_ms=_milliseconds_since(start_s))
        if options.hold:
            seen = {"local": connection.local, "peer": connection.peer}
            _print({"connected": seen, "elapsed_ms": connection.connect_ms})
            if options.op not in {"-", "login"} and not sys.stdin.readline():
                raise RequestFailedError(2, "EOF", "request", "stdin ended before the go-ahead")
        for request in _requests(options):
            _print(connection.ask(request))
    return 0


def _connect(options: argparse.Namespace) -> socket.socket:
    family = socket.AF_INET6 if ":" in options.server else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM if options.udp else socket.SOCK_STREAM)
    try:
        sock.settimeout(options.timeout)
        if options.source or options.source_port:
            # A scenario uses one port again and again; TIME_WAIT must not stand in the way.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((options.source or "", options.source_port))
        # Connected over UDP too: only replies from the very address asked are taken.
        sock.connect((options.server, options.port))
    except OSError as error:
        sock.close()
        raise _failure(error, "connect") from error
    return sock


@dataclass(frozen=True, slots=True)
class Request:
    """What goes over the wire; `context` is the initiator of a ticket."""

    line: bytes
    nonce: str | None
    context: Any = None


class Connection:
    """A connected socket, over which requests go one after another."""

    def __init__(self, sock: socket.socket, *, is_udp: bool, connect_ms: float) -> None:
        self._sock = sock
        self._is_udp = is_udp
        self._buffer = b""
        self.connect_ms = connect_ms
        self.local = _endpoint(sock.getsockname())
        self.peer = _endpoint(sock.getpeername())

    def ask(self, request: Request) -> dict[str, object]:
        """Send one request; return the daemon's reply with what we saw.

        Raises:
            RequestFailedError: without a reply, or with one that is not to this request.
        """
        start_s = time.monotonic()
        try:
            self._sock.sendall(request.line if self._is_udp else request.line + b"\n")
        except OSError as error:
            raise _failure(error, "request") from error
        reply = _understood(self._receive(), request)
        seen: dict[str, object] = {
            "local": self.local,
            "peer": self.peer,
            "connect_ms": self.connect_ms,
            "elapsed_ms": _milliseconds_since(start_s),
        }
        if request.context is not None:
            seen["mutual"] = _is_mutual(request.context, reply.get("token"))
        return {**reply, "client": seen}

    def _receive(self) -> bytes:
        try:
            if self._is_udp:
                return self._sock.recv(65535)
            while b"\n" not in self._buffer:
                data = self._sock.recv(65536)
                if not data or len(self._buffer) > _LONGEST_REPLY:
                    break
                self._buffer += data
        except OSError as error:
            raise _failure(error, "reply") from error
        line, end, self._buffer = self._buffer.partition(b"\n")
        if not end:
            raise RequestFailedError(1, "EOF", "reply", "closed before the end of a reply")
        return line


def _understood(line: bytes, request: Request) -> dict[str, Any]:
    try:
        reply = json.loads(line)
    except ValueError as error:
        raise RequestFailedError(5, "EBADMSG", "reply", f"not JSON: {line[:80]!r}") from error
    if not isinstance(reply, dict) or "verdict" not in reply:
        raise RequestFailedError(5, "EBADMSG", "reply", f"not a reply: {line[:80]!r}")
    # Without a nonce it is the daemon's word on something it could not read.
    if reply.get("nonce") not in {None, request.nonce}:
        detail = f"nonce {reply['nonce']!r}, not {request.nonce!r}"
        raise RequestFailedError(5, "EBADMSG", "reply", detail)
    return reply


def _requests(options: argparse.Namespace) -> Iterator[Request]:
    if options.op == "-":
        for line in sys.stdin.buffer:
            yield Request(line.rstrip(b"\n"), _nonce_of(line))
        return
    body = _body(options)
    for number in range(options.count):
        nonce = options.nonce or secrets.token_hex(8)
        if options.nonce and options.count > 1:
            nonce = f"{options.nonce}-{number}"
        context = None
        if options.op == "ticket" and options.token is None:
            # A new one each time: the daemon knows a replay.
            body["token"], context = _initial_token(options.service, mutual=not options.no_mutual)
        line = json.dumps({"op": options.op, "nonce": nonce, **body}).encode("ascii")
        yield Request(line, nonce, context)


def _body(options: argparse.Namespace) -> dict[str, object]:
    if options.op == "echo":
        return {"data": options.argument or ""}
    if options.op == "resolve":
        return {"name": options.argument}
    if options.op == "ticket":
        return {"token": options.token}
    if options.op == "login":
        password = sys.stdin.readline().rstrip("\n")
        return {"user": options.argument, "password": password, "method": options.method}
    return {}


def _nonce_of(line: bytes) -> str | None:
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):
        return None
    nonce = request.get("nonce", "") if isinstance(request, dict) else None
    return nonce if isinstance(nonce, str) else None


def _initial_token(service: str, *, mutual: bool) -> tuple[str, Any]:
    """Return a GSS-API token for `service` from the current credential cache, and its context."""
    try:
        import gssapi  # noqa: PLC0415 - only tickets need it, and it is slow to load
    except ImportError as error:
        raise RequestFailedError(6, "GSS", "request", str(error)) from error
    try:
        name = gssapi.Name(service, gssapi.NameType.hostbased_service)
        flags = [gssapi.RequirementFlag.out_of_sequence_detection]  # never empty: that is default
        if mutual:
            flags.append(gssapi.RequirementFlag.mutual_authentication)
        context = gssapi.SecurityContext(
            name=name, mech=gssapi.MechType.kerberos, usage="initiate", flags=flags
        )
        token = context.step()
    except gssapi.exceptions.GSSError as error:
        raise RequestFailedError(6, "GSS", "request", " ".join(str(error).split())) from error
    return base64.b64encode(token).decode("ascii"), context


def _is_mutual(context: Any, token: object) -> bool:
    import gssapi  # noqa: PLC0415

    if not isinstance(token, str):
        return False
    try:
        context.step(base64.b64decode(token))
    except gssapi.exceptions.GSSError:
        return False
    return bool(context.complete)


def _failure(error: OSError, phase: str) -> RequestFailedError:
    if isinstance(error, TimeoutError):
        return RequestFailedError(3, "ETIMEDOUT", phase, str(error))
    symbol = errno.errorcode.get(error.errno or 0, type(error).__name__)
    code = 1 if error.errno in _CLOSED else 4 if error.errno in _UNREACHABLE else 7
    return RequestFailedError(code, symbol, phase, str(error))


def _endpoint(name: tuple[Any, ...]) -> dict[str, object]:
    return {"address": name[0], "port": name[1]}


def _print(line: Mapping[str, object]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def _milliseconds_since(start_s: float) -> float:
    return round((time.monotonic() - start_s) * 1000, 3)


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="tenant-request",
        description=(__doc__ or "").partition("\n")[0],
        epilog=(__doc__ or "").partition("\n\n")[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--server", metavar="ADDRESS")
    parser.add_argument("--port", type=int, default=7007)
    parser.add_argument("--source", metavar="ADDRESS", help="bind to this address first")
    parser.add_argument("--source-port", type=int, default=0, metavar="PORT")
    parser.add_argument("--udp", action="store_true")
    parser.add_argument(
        "--timeout", type=float, default=15.0, metavar="S", help="for the handshake and each reply"
    )
    parser.add_argument("--count", type=int, default=1, help="ask so often, on one connection")
    parser.add_argument("--hold", action="store_true", help="connect, then wait for stdin")
    parser.add_argument("--nonce", help="instead of a random one")
    parser.add_argument("--method", choices=("ldap", "kerberos"), help="of a login")
    parser.add_argument("--service", metavar="SERVICE@HOST", help="whom a ticket is for")
    parser.add_argument("--token", help="a ticket got before, instead of a new one")
    parser.add_argument("--token-only", action="store_true", help="print a ticket, send nothing")
    parser.add_argument("--no-mutual", action="store_true", help="ask for no proof in return")
    parser.add_argument("op", nargs="?", choices=(*_ARGUMENTS, "-"), metavar="OP")
    parser.add_argument("argument", nargs="?", help="text to echo, name to resolve, user to log in")
    options = parser.parse_args(argv)
    problem = _problem(options)
    if problem:
        parser.error(problem)
    return options


# Which operations take an argument: never, perhaps, always.
_ARGUMENTS = {"whoami": False, "echo": None, "resolve": None, "login": True, "ticket": False}


def _problem(options: argparse.Namespace) -> str:
    needs_ticket = options.token_only or (options.op == "ticket" and options.token is None)
    takes_argument = _ARGUMENTS.get(options.op, False)
    sends = not options.token_only
    problems = (
        (needs_ticket and not options.service, "--service is needed for a ticket"),
        (sends and not (options.server and options.op), "--server and OP are needed"),
        (options.timeout <= 0 or options.count < 1, "--timeout and --count must be positive"),
        (takes_argument is True and options.argument is None, f"{options.op} needs an argument"),
        (takes_argument is False and options.argument is not None, "an argument too many"),
    )
    return next((what for is_so, what in problems if is_so), "")


if __name__ == "__main__":
    sys.exit(main())
