"""Puts the daemon's parts together, and sees it through its life: open, prepare, serve, reload."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .answer import Answerer
from .config import Config, ConfigError, KerberosConfig, Method, load_config
from .cutoff import cut_off
from .dispatch import Dispatcher
from .fibs import Fibs
from .job import Job
from .kerberos_login import CONFIGURATION, KerberosLogin
from .ldap_login import LdapLogin
from .log import Log
from .loop import Loop
from .privileges import Identity
from .resolve import resolve
from .scheduler import Scheduler
from .settings import Defect, Limits
from .sockets import open_datagram, open_listener
from .tcp import TcpService
from .udp import UdpService
from .workers import Workers

_RCACHE = "rcache"
# Kept free of clients: the workers' sockets, files and what libraries open.
_RESERVED_DESCRIPTORS = 256
_GOODBYE_S = 5.0


@dataclass(frozen=True, slots=True)
class Options:
    """The command line."""

    config: Path
    only_check: bool
    user: str
    state_directory: Path
    defects: frozenset[Defect]
    limits: Limits


class Daemon:
    """One daemon process; its methods are called once, in this order: open, prepare, serve."""

    def __init__(self, config: Config, *, options: Options, fibs: Fibs, log: Log) -> None:
        self._options = options
        self._fibs = fibs
        self._log = log
        self._generation = 1
        self._loop = Loop()
        self._scheduler: Scheduler[Job] = Scheduler(
            options.limits.workers, longest_queue=options.limits.longest_queue
        )
        self._dispatcher = Dispatcher(config, scheduler=self._scheduler, log=log)
        self._ready_file = options.state_directory / "ready.json"
        self._directory = LdapLogin(
            timeout_s=options.limits.ldap_timeout_s,
            socket_fib=fibs.socket_fib,
            reuse_connection=Defect.REUSE_LDAP in options.defects,
            allow_empty_password=Defect.ALLOW_EMPTY_PASSWORD in options.defects,
        )
        self._realm = KerberosLogin(
            rcache_directory=options.state_directory / _RCACHE,
            verify_kdc=Defect.NO_KDC_VERIFY not in options.defects,
            keytab_of=self._keytab_of,
        )
        self._listener: socket.socket | None = None
        self._datagram: socket.socket | None = None
        self._tcp: TcpService | None = None
        self._udp: UdpService | None = None
        self._give_up_s = float("inf")

    def open(self, *, owner: Identity) -> None:
        """Open what may need root: sockets, and a state directory that `owner` may write."""
        port = self._dispatcher.config.port
        self._listener = open_listener(port, prepare=self._fibs.set_socket_any)
        self._datagram = open_datagram(port, prepare=self._fibs.set_socket_any)
        state = self._options.state_directory
        for directory in (state, state / _RCACHE):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            if os.geteuid() == 0:
                os.chown(directory, owner.uid, owner.gid)
        # Of a daemon that was killed. The port is ours, so nobody else's.
        self._ready_file.unlink(missing_ok=True)

    def prepare(self) -> None:
        """Load the libraries that the tenants need, so that no request has to.

        Raises:
            ImportError: when one is missing.
        """
        file = self._options.state_directory / "krb5.conf"
        file.write_text(CONFIGURATION, encoding="ascii")
        os.environ["KRB5_CONFIG"] = str(file)
        methods = self._dispatcher.config.methods()
        if Method.LDAP in methods:
            self._directory.prepare()
        if Method.KERBEROS in methods:
            self._realm.prepare()

    def serve(self, *, descriptors: int) -> None:
        """Serve until SIGTERM or SIGINT."""
        assert self._listener is not None and self._datagram is not None  # noqa: PT018, S101
        limits, loop = self._options.limits, self._loop
        workers = Workers(
            limits.workers, scheduler=self._scheduler, answerer=self._answerer(), log=self._log
        )
        self._tcp = TcpService(
            self._listener,
            loop=loop,
            dispatcher=self._dispatcher,
            fibs=self._fibs,
            limits=limits,
            capacity=max(1, descriptors - _RESERVED_DESCRIPTORS),
            log=self._log,
        )
        self._udp = UdpService(
            self._datagram,
            loop=loop,
            dispatcher=self._dispatcher,
            fibs=self._fibs,
            log=self._log,
            name_source=Defect.NO_PKTINFO not in self._options.defects,
        )
        loop.on_signals([signal.SIGHUP, signal.SIGTERM, signal.SIGINT], self._on_signal)
        loop.every_tick(self._on_tick)
        workers.start()
        self._tcp.start()
        self._udp.start()
        self._announce("ready")
        loop.run()
        self._ready_file.unlink(missing_ok=True)
        self._scheduler.close()
        self._log.write({"event": "end"})

    def _on_tick(self, now_s: float) -> None:
        limits = self._options.limits
        for job in self._scheduler.expire(now_s - limits.queue_timeout_s):
            self._dispatcher.give_up(job, f"no worker was free for {limits.queue_timeout_s:g} s")
        for fib in self._scheduler.overdue(now_s - limits.request_timeout_s):
            number = cut_off(
                fib,
                socket_fib=self._fibs.socket_fib,
                own_port=self._dispatcher.config.port,
                own_descriptors=self._tcp.descriptors() if self._tcp else (),
            )
            self._log.write({"event": "cut-off", "fib": fib, "sockets": number})

    def _answerer(self) -> Answerer:
        return Answerer(
            fibs=self._fibs,
            resolve=resolve,
            directory=self._directory,
            realm=self._realm,
            timeout_s=self._options.limits.request_timeout_s,
            set_thread_fib=Defect.NO_THREAD_FIB not in self._options.defects,
        )

    def _keytab_of(self, config: KerberosConfig) -> Path:
        if Defect.FIRST_KEYTAB not in self._options.defects:
            return config.keytab
        tenants = self._dispatcher.config.tenants.values()
        return next(tenant.kerberos.keytab for tenant in tenants if tenant.kerberos)

    def _on_signal(self, number: signal.Signals) -> None:
        if number is signal.SIGHUP:
            self._reload()
        else:
            self._begin_to_end()

    def _reload(self) -> None:
        try:
            config = load_config(self._options.config)
        except ConfigError as error:
            self._log.write({"event": "reload-refused", "problems": list(error.problems)})
            return
        if config.port != self._dispatcher.config.port:
            problem = (
                f"port: {config.port} instead of {self._dispatcher.config.port} needs a restart"
            )
            self._log.write({"event": "reload-refused", "problems": [problem]})
            return
        self._dispatcher.config = config
        self._generation += 1
        self._announce("reloaded")

    def _announce(self, event: str) -> None:
        line = {"event": event, **self._facts()}
        if event == "ready":
            sys.stdout.write(json.dumps(line) + "\n")
            sys.stdout.flush()
        draft = self._ready_file.with_suffix(".new")
        draft.write_text(json.dumps(line) + "\n", encoding="ascii")
        draft.replace(self._ready_file)  # whoever reads it sees all of it
        self._log.write(line)

    def _facts(self) -> Mapping[str, object]:
        return {
            "pid": os.getpid(),
            "uid": os.getuid(),
            "port": self._dispatcher.config.port,
            "workers": self._options.limits.workers,
            "tenants": len(self._dispatcher.config.tenants),
            "generation": self._generation,
            "config_sha256": hashlib.sha256(self._options.config.read_bytes()).hexdigest(),
            "defects": sorted(self._options.defects),
        }

    def _begin_to_end(self) -> None:
        assert self._tcp is not None and self._udp is not None  # noqa: PT018, S101
        if self._tcp.is_closing:  # asked twice
            self._loop.stop()
            return
        self._give_up_s = time.monotonic() + _GOODBYE_S
        self._tcp.close()
        self._udp.close()
        self._loop.every_tick(self._end_if_done)
        self._loop.call_soon(lambda: self._end_if_done(time.monotonic()))

    def _end_if_done(self, now_s: float) -> None:
        assert self._tcp is not None  # noqa: S101
        if not self._tcp.number_open or now_s >= self._give_up_s:
            self._loop.stop()
