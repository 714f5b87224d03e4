"""The reference multi-tenant daemon: one process, a few threads, every tenant's way to log in.

    python3 -m fib.services.tenantd --config /etc/tenantd/config.json

It listens on one wildcard TCP and one wildcard UDP socket (see `sockets`). Which tenant a request
belongs to is said by the FIB of its connection alone; a worker thread takes that FIB, resolves the
tenant's names and asks the tenant's LDAP or Kerberos servers through libc, libldap and libkrb5 as
Debian ships them, and answers what it saw. `protocol` has the wire format, `config` the
configuration, `docs/daemon.md` both for readers.

Started as root it keeps root only until its sockets are open, then becomes `tenantd` (else
`nobody`) with no capability left. SIGHUP reads the configuration again; connections stay. SIGTERM
ends it: requests under way are answered. Exit codes: 0 ended by signal, 1 could not serve, 2 bad
arguments or configuration, 3 something is missing on this machine.

It is ready when it has written its ready line to stdout and the same to STATE_DIR/ready.json:
{"event": "ready", "pid", "port", "workers", "tenants", "generation", "config_sha256", ...};
a reload that succeeded writes the file again with a higher generation.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .config import Config, ConfigError, load_config
from .daemon import Daemon, Setup, require_libraries
from .log import Log
from .privileges import PrivilegeError, drop_privileges, find_user, raise_descriptor_limit
from .settings import Defect, Limits
from .sockets import open_wildcards
from .state import StateDirectory

_EXIT_CANNOT_SERVE = 1
_EXIT_BAD_INPUT = 2
_EXIT_MISSING = 3
_STATE_DIRECTORY = Path("/run/tenantd")


class MissingError(Exception):
    """This machine lacks something that the daemon needs."""


@dataclass(frozen=True, slots=True)
class Options:
    """The command line."""

    config: Path
    only_check: bool
    user: str
    state_directory: Path
    defects: frozenset[Defect]
    limits: Limits


def main(argv: Sequence[str] | None = None) -> int:
    """Run the daemon until a signal ends it; return the exit code."""
    options = _options(argv)
    log = Log(sys.stderr.fileno())
    try:
        config = load_config(options.config)
        if not options.only_check:
            _start(config, options, log).serve()
    except ConfigError as error:
        return _fatal(log, str(error), _EXIT_BAD_INPUT)
    except (MissingError, PrivilegeError, ImportError) as error:
        return _fatal(log, str(error), _EXIT_MISSING)
    except OSError as error:
        return _fatal(log, str(error), _EXIT_CANNOT_SERVE)
    return 0


def _start(config: Config, options: Options, log: Log) -> Daemon:
    # Not at the top: --check needs no FIBs, and the parts are tested where there are none.
    from .. import api  # noqa: PLC0415, TID252 - shipped as `fib`, here `testbed.fib`

    # Sent before we can take it, it would end us; `serve` takes it then.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])
    require_libraries(config)
    try:
        api.get_thread_fib()
    except OSError as error:
        raise MissingError(f"the FIB extensions are not attached: {error}") from error
    user = find_user(options.user) if options.user else find_user("tenantd", "nobody")
    descriptors = raise_descriptor_limit()
    wildcards = open_wildcards(config.port, prepare=api.set_socket_any)
    state = StateDirectory(options.state_directory)
    state.create(user)
    drop_privileges(user)
    state.write_krb5_conf()
    _set_environment(state)
    setup = Setup(options.config, options.limits, options.defects, descriptors)
    return Daemon(config, wildcards, setup=setup, state=state, fibs=api, log=log)


def _set_environment(state: StateDirectory) -> None:
    """Tell the libraries what is the same for all tenants; once, before there are threads."""
    os.environ.update(
        {
            # glibc's resolver, and libkrb5's use of it. Without this a dead DNS holds a worker
            # for 10 s and more: 5 s a try, two tries, each server.
            "RES_OPTIONS": "timeout:1 attempts:2",
            # libldap: the host's ldap.conf says nothing about our tenants.
            "LDAPNOINIT": "1",
            "KRB5_CONFIG": str(state.krb5_conf),
        }
    )


def _fatal(log: Log, message: str, code: int) -> int:
    for line in message.splitlines():
        log.write({"event": "fatal", "error": line})
    return code


def _options(argv: Sequence[str] | None) -> Options:
    limits = Limits()
    defects = "\n".join(f"  {defect.value:22}{defect.meaning}" for defect in Defect)
    parser = argparse.ArgumentParser(
        prog="tenantd",
        description="Authenticates every tenant's users at the tenant's own servers.",
        epilog=f"defects, for negative controls only:\n{defects}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--config", type=Path, required=True, metavar="FILE")
    parser.add_argument("--check", action="store_true", help="check the configuration and exit")
    parser.add_argument("--workers", type=_positive, default=limits.workers, metavar="N")
    parser.add_argument("--user", default="", help="whom to become (default: tenantd, else nobody)")
    parser.add_argument("--state-dir", type=Path, default=_STATE_DIRECTORY, metavar="DIR")
    for name, default, meaning in (
        ("ldap", limits.ldap_timeout_s, "one network operation of libldap"),
        ("queue", limits.queue_timeout_s, "a request that waits for a worker"),
        ("request", limits.request_timeout_s, "a request that holds a worker"),
        ("line", limits.line_timeout_s, "a line that has begun, a reply that is not taken"),
        ("idle", limits.idle_timeout_s, "a connection without a request"),
    ):
        parser.add_argument(
            f"--{name}-timeout", type=_seconds, default=default, metavar="S", help=meaning
        )
    parser.add_argument(
        "--defect", action="append", default=[], type=Defect, choices=list(Defect), metavar="NAME"
    )
    given = parser.parse_args(argv)
    return Options(
        config=given.config,
        only_check=given.check,
        user=given.user,
        state_directory=given.state_dir,
        defects=frozenset(given.defect),
        limits=Limits(
            workers=given.workers,
            ldap_timeout_s=given.ldap_timeout,
            queue_timeout_s=given.queue_timeout,
            request_timeout_s=given.request_timeout,
            line_timeout_s=given.line_timeout,
            idle_timeout_s=given.idle_timeout,
        ),
    )


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < 1e6:
        raise argparse.ArgumentTypeError("must be more than 0")
    return seconds


if __name__ == "__main__":
    sys.exit(main())
