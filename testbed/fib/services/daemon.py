"""Puts the daemon's parts together and sees it through its life: serve, reload, end."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import sys
import threading
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
from .kdcs import Kdcs
from .kerberos_login import KerberosFiles, KerberosLogin
from .ldap_login import LdapLogin
from .log import Log
from .loop import Loop
from .resolve import resolve
from .scheduler import Scheduler
from .settings import Defect, Limits
from .sockets import Wildcards
from .state import StateDirectory
from .tcp import TcpService
from .udp import UdpService
from .workers import Workers

# Kept free of clients: the workers' sockets, files and what libraries open.
_RESERVED_DESCRIPTORS = 256
_GOODBYE_S = 5.0


@dataclass(frozen=True, slots=True)
class Setup:
    """What a daemon is made with; `descriptors` is how many it may have open."""

    config_file: Path
    limits: Limits
    defects: frozenset[Defect]
    descriptors: int


def require_libraries(config: Config) -> None:
    """Make sure that what the tenants of `config` need is installed; loads nothing.

    Raises:
        ImportError: naming what is missing.
    """
    modules = {Method.LDAP: "ldap", Method.KERBEROS: "gssapi"}
    missing = [
        modules[method]
        for method in sorted(config.methods())
        if importlib.util.find_spec(modules[method]) is None
    ]
    if missing:
        raise ImportError(f"Python modules are missing: {', '.join(missing)}")


class Daemon:
    """One daemon process. The sockets are open and the privileges gone when it is made."""

    def __init__(
        self,
        config: Config,
        wildcards: Wildcards,
        *,
        setup: Setup,
        state: StateDirectory,
        fibs: Fibs,
        log: Log,
    ) -> None:
        self._setup = setup
        self._state = state
        self._fibs = fibs
        self._log = log
        self._generation = 1
        self._loop = Loop()
        self._scheduler: Scheduler[Job] = Scheduler(
            setup.limits.workers, longest_queue=setup.limits.longest_queue
        )
        self._dispatcher = Dispatcher(config, scheduler=self._scheduler, log=log)
        self._directory = LdapLogin(
            timeout_s=setup.limits.ldap_timeout_s,
            socket_fib=fibs.socket_fib,
            thread_fib=fibs.get_thread_fib,
            reuse_connection=Defect.REUSE_LDAP in setup.defects,
            allow_empty_password=Defect.ALLOW_EMPTY_PASSWORD in setup.defects,
        )
        self._realm = KerberosLogin(
            state=KerberosFiles(state.krb5_conf, state.rcache),
            kdcs=Kdcs(state.kdcs),
            thread_fib=fibs.get_thread_fib,
            verify_kdc=Defect.NO_KDC_VERIFY not in setup.defects,
            keytab_of=self._keytab_of,
        )
        self._workers = Workers(
            setup.limits.workers, scheduler=self._scheduler, answerer=self._answerer(), log=log
        )
        self._tcp = TcpService(
            wildcards.listener,
            loop=self._loop,
            dispatcher=self._dispatcher,
            fibs=fibs,
            limits=setup.limits,
            capacity=max(1, setup.descriptors - _RESERVED_DESCRIPTORS),
            log=log,
        )
        self._udp = UdpService(
            wildcards.datagram,
            loop=self._loop,
            dispatcher=self._dispatcher,
            fibs=fibs,
            log=log,
            name_source=Defect.NO_PKTINFO not in setup.defects,
        )
        self._give_up_s = float("inf")

    def serve(self) -> None:
        """Serve until SIGTERM or SIGINT."""
        self._loop.on_signals([signal.SIGHUP, signal.SIGTERM, signal.SIGINT], self._on_signal)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGHUP])
        self._loop.every_tick(self._on_tick)
        self._workers.start()
        self._tcp.start()
        self._udp.start()
        self._announce("ready")
        threading.Thread(target=self._warm_up, name="warm-up", daemon=True).start()
        self._loop.run()
        self._state.retract()
        self._scheduler.close()
        self._log.write({"event": "end"})

    def _warm_up(self) -> None:
        """Load the libraries, so that the first login need not: a second or two in an emulated VM.

        Beside the service, since a SUT that starts has better things to wait for.
        """
        for load in (self._directory.load_library, self._realm.load_libraries):
            try:
                load()
            except (ImportError, OSError) as error:  # nobody may need it; whoever does is told
                self._log.write({"event": "library-missing", "error": str(error)})

    def _answerer(self) -> Answerer:
        return Answerer(
            fibs=self._fibs,
            resolve=resolve,
            directory=self._directory,
            realm=self._realm,
            timeout_s=self._setup.limits.request_timeout_s,
            set_thread_fib=Defect.NO_THREAD_FIB not in self._setup.defects,
        )

    def _keytab_of(self, config: KerberosConfig) -> Path:
        if Defect.FIRST_KEYTAB not in self._setup.defects:
            return config.keytab
        tenants = self._dispatcher.config.tenants.values()
        return next(tenant.kerberos.keytab for tenant in tenants if tenant.kerberos)

    def _on_tick(self, now_s: float) -> None:
        limits = self._setup.limits
        for job in self._scheduler.expire(now_s - limits.queue_timeout_s):
            self._dispatcher.give_up(job, f"no worker was free for {limits.queue_timeout_s:g} s")
        for fib in self._scheduler.overdue(now_s - limits.request_timeout_s):
            number = cut_off(
                fib,
                socket_fib=self._fibs.socket_fib,
                own_port=self._dispatcher.config.port,
                own_descriptors=self._tcp.descriptors(),
            )
            self._log.write({"event": "cut-off", "fib": fib, "sockets": number})

    def _on_signal(self, number: signal.Signals) -> None:
        if number is signal.SIGHUP:
            self._reload()
        else:
            self._begin_to_end()

    def _reload(self) -> None:
        port = self._dispatcher.config.port
        try:
            config = load_config(self._setup.config_file)
            require_libraries(config)
        except ConfigError as error:
            problems = list(error.problems)
        except ImportError as error:
            problems = [str(error)]
        else:
            problems = []
            if config.port != port:
                problems = [f"port: {config.port} instead of {port} needs a restart"]
        if problems:
            self._log.write({"event": "reload-refused", "problems": problems})
            return
        self._dispatcher.config = config
        self._generation += 1
        try:
            self._announce("reloaded")
        except OSError as error:  # a full disk must not end the service
            self._log.write({"event": "announce-failed", "error": str(error)})

    def _announce(self, event: str) -> None:
        facts = {"event": event, **self._facts()}
        if event == "ready":
            sys.stdout.write(json.dumps(facts) + "\n")
            sys.stdout.flush()
        self._state.announce(facts)
        self._log.write(facts)

    def _facts(self) -> Mapping[str, object]:
        return {
            "pid": os.getpid(),
            "uid": os.getuid(),
            "port": self._dispatcher.config.port,
            "workers": self._setup.limits.workers,
            "tenants": len(self._dispatcher.config.tenants),
            "generation": self._generation,
            "config_sha256": self._dispatcher.config.sha256,
            "defects": sorted(self._setup.defects),
        }

    def _begin_to_end(self) -> None:
        if self._tcp.is_closing:  # asked twice
            self._loop.stop()
            return
        self._give_up_s = time.monotonic() + _GOODBYE_S
        self._tcp.close()
        self._udp.close()
        self._loop.every_tick(self._end_if_done)
        self._loop.call_soon(lambda: self._end_if_done(time.monotonic()))

    def _end_if_done(self, now_s: float) -> None:
        if not self._tcp.number_open or now_s >= self._give_up_s:
            self._loop.stop()
