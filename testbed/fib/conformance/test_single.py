"""Row 46: FIBs that come and go one at a time, while the others are left alone."""

from __future__ import annotations

import errno
import json
import signal
import socket
import subprocess
import sys
from typing import Any

from .. import api as fib
from .. import apply, show, store
from ..document import InputError
from ..live import Live
from . import lab
from .case import Case, fib_socket, in_fork
from .test_changes import connection
from .test_resilience import file_of, traffic
from .test_sockets import DGRAM, source_info, wildcard

FOUR, SIX = socket.AF_INET, socket.AF_INET6
NEWCOMER = 40000
CHANGE_AND_DIE = """
import json, signal, sys
from fib.live import Live
entry = json.load(sys.stdin)
with Live() as live:
    signal.setitimer(signal.ITIMER_REAL, float(sys.argv[1]))
    while True:
        live.add(entry)
        live.delete([entry["id"]])
"""


def newcomer(number: int = NEWCOMER) -> dict[str, Any]:
    """Return a FIB that shares nothing with the lab's."""
    low = number & 0xFF
    return {
        "id": number,
        "name": f"newcomer{number}",
        "addresses": [f"10.65.{low}.1/24", f"fd00:65:{low:x}::1/64"],
        "routes": [
            {"to": f"10.65.{low}.0/24"},
            {"to": "192.168.0.0/24", "via": f"10.65.{low}.254"},
            {"to": "fd00:c0a8::/64", "via": f"fd00:65:{low:x}::fe"},
            {"to": f"fd00:65:{low:x}::/64"},
        ],
        "neighbours": [{"address": f"10.65.{low}.254", "mac": "02:fb:00:00:00:99"}],
    }


class Single(Case):
    def setUp(self) -> None:
        lab.put(lab.document())
        self.addCleanup(lab.put, lab.document())
        self.live = self.enterContext(Live())

    def test_row_46_added_and_deleted_alone(self) -> None:
        before = show.show()
        with traffic(1) as wrong:
            self.live.add(newcomer())
            self.assertEqual(fib.fib_of_address("10.65.64.1"), NEWCOMER)
            with fib_socket(NEWCOMER, FOUR, DGRAM) as made:
                made.connect((lab.CLIENT[FOUR], 9))
                self.assertEqual(made.getsockname()[0], "10.65.64.1")
            self.assertEqual(self.live.add(newcomer()), {})
            self.live.delete([NEWCOMER])
            self.assertEqual(self.live.delete([NEWCOMER]), {})
            with fib_socket(NEWCOMER) as late, self.refused(errno.ENETUNREACH):
                late.connect((lab.CLIENT[FOUR], 9))
            self.assertEqual(wrong, [])
        after = show.show()
        before.pop("drops"), after.pop("drops")
        self.assertEqual(before, after)

    def test_row_46_a_tenant_of_the_lab_comes_back(self) -> None:
        self.live.delete([2])
        for family in self.families():
            with wildcard(family, socket.SOCK_STREAM) as listener:
                self.live.add(lab.fib_entry(2))
                with lab.tenant_socket(2, family, socket.SOCK_STREAM) as client:
                    client.connect((lab.server(2, family), 5000))
                    with listener.accept()[0] as accepted:
                        self.assertEqual(fib.socket_fib(accepted), 2)
                self.live.delete([2])
        self.live.add(lab.fib_entry(2))
        self.assertEqual(apply.apply_again(), {})

    def test_row_46_what_was_done_alone_is_what_apply_would_do(self) -> None:
        for number in (40000, 40001, 40002, 5, 6):
            self.live.add(newcomer(number))
            self.assertEqual(apply.apply_again(), {})
        changed = newcomer(5)
        changed["addresses"].append("10.65.5.2/24")
        self.live.add(changed)
        self.assertEqual(apply.apply_again(), {})
        self.live.delete([40001, 5])
        self.assertEqual(apply.apply_again(), {})

    def test_row_46_no_rule_of_ipv6_changes_for_a_number_to_spare(self) -> None:
        self.live.add(newcomer())
        before = lab.run("ip", "-6", "rule")
        self.live.add(newcomer(NEWCOMER + 15))
        self.assertEqual(before, lab.run("ip", "-6", "rule"))
        self.live.delete([NEWCOMER, NEWCOMER + 15])
        self.assertEqual(before, lab.run("ip", "-6", "rule"))
        for family in self.families():  # its own rule or another's of the block: to nowhere
            for number in (NEWCOMER, NEWCOMER + 1):
                with fib_socket(number, family) as made, self.refused(errno.ENETUNREACH):
                    made.connect((lab.CLIENT[family], 9))

    def test_row_46_fib_of_ipv4_alone_gets_ipv6(self) -> None:
        """Without, it has no rule of IPv6 (each is dear to the kernel), and leads nowhere as well."""
        before = lab.run("ip", "-6", "rule")
        entry = newcomer()
        for key, part in (("addresses", str), ("routes", lambda route: route["to"])):
            entry[key] = [one for one in entry[key] if ":" not in part(one)]
        self.live.add(entry)
        self.assertEqual(before, lab.run("ip", "-6", "rule"))
        self.assertEqual(apply.apply_again(), {})
        with fib_socket(NEWCOMER, SIX, DGRAM) as made, self.refused(errno.EADDRNOTAVAIL):
            made.connect((lab.CLIENT[SIX], 9))
        raw = fib_socket(NEWCOMER, SIX, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
        with raw, self.refused(errno.ENETUNREACH):
            raw.connect((lab.CLIENT[SIX], 0))
        self.live.add(newcomer())
        self.assertEqual(apply.apply_again(), {})
        with fib_socket(NEWCOMER, SIX, DGRAM) as made:
            made.connect((lab.CLIENT[SIX], 9))
            self.assertEqual(made.getsockname()[0], "fd00:65:40::1")

    def test_row_31_ipv6_source_without_a_route_leads_nowhere(self) -> None:
        """Not even by a route of FIB 0, for a socket without FIB that names its source."""
        entry = newcomer()
        entry["routes"] = [route for route in entry["routes"] if ":" not in route["to"]]
        self.live.add(entry)
        lab.run("ip", "link", "add", "fibc-wan", "type", "dummy")
        self.addCleanup(lab.run, "ip", "link", "del", "fibc-wan")
        lab.run("ip", "link", "set", "fibc-wan", "up")
        lab.run("ip", "-6", "route", "add", "default", "dev", "fibc-wan")
        name = source_info(SIX, "fd00:65:40::1")
        with wildcard(SIX, DGRAM) as made, self.refused(errno.EHOSTUNREACH):
            made.sendmsg([b"x"], [name], 0, (lab.CLIENT[SIX], 9))
        with wildcard(SIX, DGRAM) as made:  # but for that source there is a way
            made.sendto(b"x", (lab.CLIENT[SIX], 9))

    def test_row_46_many_in_one_call_are_refused_as_a_whole(self) -> None:
        before = show.show()
        good, taken, bad = newcomer(), newcomer(40001), newcomer(40002)
        taken["addresses"] = [f"{lab.server(1, FOUR)}/32"]
        taken["name"] = "tenant3"
        with self.assertRaises(InputError) as caught:
            self.live.add([good, taken])
        problems = "\n".join(caught.exception.problems)
        self.assertIn("belongs to FIB 1 'tenant1'", problems)
        self.assertIn("the name is taken by FIB 3 'tenant3'", problems)
        bad["addresses"] = ["ten", "eleven"]
        with self.assertRaises(InputError) as caught:
            self.live.add([good, bad])
        self.assertEqual(len(caught.exception.problems), 2)
        self.assertEqual(before, show.show())

    def test_row_46_what_the_kernel_refuses_is_taken_back(self) -> None:
        entry = newcomer()
        entry["routes"].append({"to": "10.66.0.0/24", "via": "10.65.64.1"})  # itself
        with self.assertRaises(ExceptionGroup):
            self.live.add(entry)
        self.assertEqual(apply.apply_again(), {})
        self.assertNotIn(NEWCOMER, [known["id"] for known in store.load()["fibs"]])
        self.live.add(newcomer())

    def test_row_45_sockets_of_a_deleted_tenant_are_aborted(self) -> None:
        with connection(2, FOUR) as (client, accepted), connection(1, FOUR, 5499) as (other, own):
            self.live.delete([2])
            with self.refused(errno.ECONNABORTED):
                accepted.recv(9)
            with self.refused(errno.ECONNRESET):
                client.recv(9)
            other.send(b"undisturbed")
            self.assertEqual(own.recv(99), b"undisturbed")
        entry = lab.fib_entry(2)
        entry["name"] = "another"
        with self.assertRaisesRegex(InputError, "rests for another"):
            self.live.add(entry)

    def test_row_53_change_killed_at_any_moment(self) -> None:
        """By another process: a fork would keep the traffic's listeners open."""
        ended = set()
        with traffic(1) as wrong:
            for turn in range(8):
                argv = [sys.executable, "-c", CHANGE_AND_DIE, str(0.001 + turn * 0.012)]
                with file_of(json.dumps(newcomer())) as entry:
                    done = subprocess.run(argv, stdin=entry, env=lab.environment(), check=False)
                ended.add(done.returncode)
                with Live() as after:  # mends what was half done
                    after.delete([NEWCOMER])
                self.assertEqual(apply.apply_again(), {})
            self.assertEqual(wrong, [])
        self.assertEqual(ended, {-signal.SIGALRM})

    def test_row_46_another_process_is_noticed(self) -> None:
        def elsewhere() -> int:
            with Live() as live:
                live.add(newcomer())
            return 0

        self.assertEqual(in_fork(elsewhere), 0)
        self.assertEqual(self.live.add(newcomer()), {})
        lab.put(lab.document())
        self.assertEqual(self.live.delete([NEWCOMER]), {})
