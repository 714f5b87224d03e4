"""Stress: many threads and FIBs, recycled thread ids, thousands of addresses, killed control processes.

Each takes FIB_SECONDS (effort.py); the long form also starts 100,000 threads and has 4,000 FIBs.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from .. import api as fib
from .. import programs
from . import effort, lab
from .case import Case, fib_socket
from .test_resilience import file_of, traffic
from .test_sockets import STREAM

FOUR = socket.AF_INET
PORT = 5950
THREADS = 32
PID_MAX = "kernel/pid_max"
FEW_PIDS = 3000
"""So few thread ids that each is had again and again."""
LEAST_KILLS = 6

# Numbers that no other test has just given back: a deleted FIB's rests for a minute.
FIRST = 20000


def stress(seconds: float, children: int) -> subprocess.Popen[str]:
    """Start fib-stress."""
    argv = [
        str(programs.directory() / "fib-stress"),
        str(int(seconds)),
        str(THREADS),
        str(children),
    ]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)


class Stress(Case):
    def result(self, running: subprocess.Popen[str]) -> dict[str, int]:
        """Wait for fib-stress and check that no thread or socket had another FIB than its own."""
        printed, _ = running.communicate()
        self.assertEqual(running.returncode, 0, printed)
        result: dict[str, int] = json.loads(printed)
        sys.stderr.write(f"{printed.strip()} ... ")
        self.assertEqual(result["mismatches"], 0)
        self.assertGreater(result["sockets"], 1000)
        return result

    def test_row_03_and_row_09_threads_of_many_fibs_with_recycled_ids(self) -> None:
        with lab.setting(PID_MAX, str(FEW_PIDS)):
            children = 100_000 if effort.is_long() else 2 * FEW_PIDS
            result = self.result(stress(effort.SECONDS, children))
        self.assertGreater(result["recycled"], children // 3)

    def test_row_53_control_process_killed_under_load(self) -> None:
        """`fibctl apply` is killed at any moment, over and over; FIBs come and go meanwhile."""
        self.addCleanup(lab.put, lab.document())
        few = json.dumps(lab.document(fibs=[lab.fib_entry(1), lab.fib_entry(3)]))
        everything = json.dumps(lab.document())
        chance = effort.chance()
        running, kills = stress(effort.SECONDS, 0), 0
        with traffic(1) as wrong:
            # On a busy host the stress may be over sooner; the traffic goes on.
            while running.poll() is None or kills < LEAST_KILLS:
                kill_apply(few if kills % 2 else everything, chance.uniform(0, 2))
                kills += 1
            self.assertEqual(wrong, [])
        self.result(running)
        lab.put(lab.document())
        self.assertEqual(lab.put(lab.document()), {})

    def test_row_21_connections_to_thousands_of_addresses_at_once(self) -> None:
        """One client address and port, one wildcard listener, as many FIBs: all at the same time."""
        count = 4000 if effort.is_long() else 150
        self.addCleanup(lab.put, lab.document())
        allow_descriptors(2 * count + 100)
        lab.put(lab.document(fibs=[many_entry(n) for n in range(1, count + 1)], default_fib=0))
        lab.run("ip", "-n", "fibc-r1", "route", "add", "10.65.0.0/16", "via", lab.server(1, FOUR))
        self.addCleanup(lab.run, "ip", "-n", "fibc-r1", "route", "del", "10.65.0.0/16")
        with contextlib.ExitStack() as stack:
            listener = stack.enter_context(fib_socket(0))
            listener.bind(("", PORT))
            listener.listen(64)
            wrong = []
            for number in range(1, count + 1):
                client = stack.enter_context(lab.tenant_socket(1, FOUR, STREAM, 40000))
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.connect((many_address(number), PORT))
                accepted = stack.enter_context(listener.accept()[0])
                if fib.socket_fib(accepted) != FIRST + number:
                    wrong.append((number, fib.socket_fib(accepted)))
                accepted.send(b"%d" % number)
                self.assertEqual(client.recv(9), b"%d" % number)
            self.assertEqual(wrong, [])


def kill_apply(text: str, after_s: float) -> None:
    """Start `fibctl apply` and kill it."""
    environment = {**os.environ, "PYTHONPATH": str(Path(programs.__file__).parent.parent)}
    argv = [sys.executable, "-m", "fib", "apply"]
    with (
        file_of(text) as document,
        subprocess.Popen(argv, stdin=document, stdout=subprocess.DEVNULL, env=environment) as child,
    ):
        time.sleep(after_s)  # the moment to die, not a wait
        child.send_signal(signal.SIGKILL)


def many_address(number: int) -> str:
    """Return the address of one of thousands of FIBs."""
    return f"10.65.{number // 250}.{number % 250 + 1}"


def many_entry(number: int) -> dict[str, Any]:
    """Return one of thousands of FIBs: its own address, and router 1 as everybody's."""
    return {
        "id": FIRST + number,
        "name": f"many{number}",
        "addresses": [f"{many_address(number)}/32"],
        "routes": [{"to": "192.168.0.0/24", "via": lab.router(1, FOUR)}, {"to": "10.64.0.0/29"}],
        "neighbours": [{"address": lab.router(1, FOUR), "mac": lab.mac(1)}],
    }


def allow_descriptors(count: int) -> None:
    """Let this process open so many files."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, max(count, hard)))
