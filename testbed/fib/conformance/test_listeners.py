"""Rows 16 to 18 and 32: per-FIB listeners beside a wildcard one, on one port."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket

from .. import api as fib
from . import lab
from .case import Case, fib_socket, in_fork
from .test_sockets import DGRAM, STREAM

PORT = 5300
LOW_PORT = 79  # not for ordinary users
OTHER_UID = 65534
MANY = 60
SECOND = {socket.AF_INET: "10.64.0.2", socket.AF_INET6: "fd00:64:0:1::2"}
"""Another address of FIB 1's."""


def any_socket(number: int, family: socket.AddressFamily, kind: int) -> socket.socket:
    """Return a socket of a FIB bound to any address; TCP: listening."""
    made = fib_socket(number, family, kind)
    try:
        made.bind(("", PORT))
    except OSError:
        made.close()
        raise
    if kind == STREAM:
        made.listen(64)
    return made


class Listeners(Case):
    def reached(
        self,
        tenant: int,
        family: socket.AddressFamily,
        kind: int,
        sockets: dict[str, socket.socket],
    ) -> str:
        """Return the name of the socket that a tenant's client reaches, or 'none'."""
        for made in sockets.values():
            made.settimeout(lab.QUIET_S)
        with lab.tenant_socket(tenant, family, kind) as client:
            try:
                client.connect((lab.server(tenant, family), PORT))
                client.send(b"x")
            except ConnectionRefusedError:
                return "none"
            return next((name for name, made in sockets.items() if self.took(made, kind)), "none")

    def took(self, made: socket.socket, kind: int) -> bool:
        try:
            if kind == STREAM:
                made.accept()[0].close()
            else:
                made.recv(9)
        except TimeoutError:
            return False
        return True

    def test_row_16_listener_of_a_fib_is_reached_by_its_tenant_alone(self) -> None:
        for family in self.families():
            for kind in (STREAM, DGRAM):
                with self.subTest(family=family, kind=kind), any_socket(1, family, kind) as own:
                    self.assertEqual(self.reached(1, family, kind, {"own": own}), "own")
                    self.assertEqual(self.reached(2, family, kind, {"own": own}), "none")
                    self.assertEqual(fib.socket_fib(own), 1)

    def test_row_16_same_port_in_another_fib(self) -> None:
        for family in self.families():
            for kind in (STREAM, DGRAM):
                with (
                    self.subTest(family=family, kind=kind),
                    any_socket(1, family, kind) as one,
                    any_socket(2, family, kind) as two,
                ):
                    both = {"one": one, "two": two}
                    self.assertEqual(self.reached(1, family, kind, both), "one")
                    self.assertEqual(self.reached(2, family, kind, both), "two")
                    self.assertEqual(self.reached(3, family, kind, both), "none")

    def test_row_16_same_port_in_the_same_fib(self) -> None:
        for family in self.families():
            for kind in (STREAM, DGRAM):
                for number in (0, 1):
                    with (
                        self.subTest(family=family, kind=kind, fib=number),
                        any_socket(number, family, kind),
                        self.refused(errno.EADDRINUSE),
                    ):
                        any_socket(number, family, kind)

    def test_row_16_port_is_free_again_after_close(self) -> None:
        for family in self.families():
            for kind in (STREAM, DGRAM):
                for _ in range(3):
                    any_socket(1, family, kind).close()
                    any_socket(0, family, kind).close()

    def test_row_16_another_user_is_refused(self) -> None:
        """The kernel shares a port among sockets of one user only."""
        for family in self.families():
            for kind in (STREAM, DGRAM):
                with self.subTest(family=family, kind=kind):
                    with any_socket(0, family, kind):
                        self.assertEqual(self.as_other(family, kind), errno.EADDRINUSE)
                    self.assertEqual(self.as_other(family, kind), 0)

    def as_other(self, family: socket.AddressFamily, kind: int) -> int:
        """Return the errno with which another user fails to have the port in FIB 1."""

        def work() -> int:
            os.setgid(OTHER_UID)
            os.setuid(OTHER_UID)
            try:
                any_socket(1, family, kind).close()
            except OSError as error:
                return error.errno or 255
            return 0

        return in_fork(work)

    def test_rows_17_and_18_wildcard_gets_the_rest(self) -> None:
        for family in self.families():
            for kind in (STREAM, DGRAM):
                for order in ((0, 1), (1, 0)):
                    with (
                        self.subTest(family=family, kind=kind, order=order),
                        contextlib.ExitStack() as stack,
                    ):
                        sockets = {
                            f"fib{number}": stack.enter_context(any_socket(number, family, kind))
                            for number in order
                        }
                        self.assertEqual(self.reached(1, family, kind, sockets), "fib1")
                        self.assertEqual(self.reached(2, family, kind, sockets), "fib0")
                        self.assertEqual(self.reached(3, family, kind, sockets), "fib0")

    def test_row_17_wildcard_by_option_in_a_thread_of_a_fib(self) -> None:
        for family in self.families():
            with self.subTest(family=family), fib_socket(1, family, STREAM) as made:
                fib.set_socket_any(made)
                made.bind(("", PORT))
                made.listen()
                for tenant in lab.TENANTS:
                    self.assertEqual(self.reached(tenant, family, STREAM, {"any": made}), "any")

    def test_row_17_restricted_to_fib_0(self) -> None:
        for family in self.families():
            for kind in (STREAM, DGRAM):
                with self.subTest(family=family, kind=kind), fib_socket(0, family, kind) as made:
                    fib.set_socket_only(made)
                    made.bind(("", PORT))
                    if kind == STREAM:
                        made.listen()
                    made.settimeout(lab.QUIET_S)
                    with lab.tenant_socket(1, family, kind) as client:
                        client.settimeout(lab.QUIET_S)
                        with contextlib.suppress(TimeoutError):
                            client.connect((lab.server(1, family), PORT))
                            client.send(b"x")
                        self.assertFalse(self.took(made, kind))
                    loopback = "127.0.0.1" if family == socket.AF_INET else "::1"
                    with fib_socket(0, family, kind) as client:
                        client.connect((loopback, PORT))
                        client.send(b"x")
                        self.assertTrue(self.took(made, kind))

    def test_row_17_tenant_added_after_listen(self) -> None:
        few = [lab.fib_entry(1), lab.fib_entry(3)]
        lab.put(lab.document(fibs=few))
        self.addCleanup(lab.put, lab.document())
        for family in self.families():
            for kind in (STREAM, DGRAM):
                with self.subTest(family=family, kind=kind), any_socket(0, family, kind) as made:
                    lab.put(lab.document(fibs=few))
                    self.assertEqual(self.reached(1, family, kind, {"any": made}), "any")
                    lab.put(lab.document())
                    self.assertEqual(self.reached(2, family, kind, {"any": made}), "any")

    def test_row_16_listener_of_a_fib_with_several_addresses(self) -> None:
        self.with_second_addresses(last=True)
        for family in self.families():
            with self.subTest(family=family), any_socket(1, family, STREAM) as own:
                own.settimeout(lab.TIMEOUT_S)
                self.assertEqual(self.accepted(own, family, SECOND[family]), SECOND[family])
                with any_socket(0, family, STREAM) as wild:
                    self.assertEqual(self.accepted(own, family, SECOND[family]), SECOND[family])
                    self.assertEqual(self.reached(2, family, STREAM, {"wild": wild}), "wild")
                with fib_socket(1, family) as exact:
                    exact.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                    exact.bind((SECOND[family], PORT))
                    exact.listen()
                    self.assertEqual(self.accepted(exact, family, SECOND[family]), SECOND[family])

    def test_row_16_group_of_which_the_newest_listener_is_closed(self) -> None:
        """The others hear the addresses that it heard: all of the FIB, or the one they are bound to."""
        self.with_second_addresses(last=True)
        for family in self.families():
            for places, heard in (
                (("", ""), (lab.server(1, family), SECOND[family])),
                ((SECOND[family], SECOND[family]), (SECOND[family],)),
            ):
                with (
                    self.subTest(family=family, places=places),
                    contextlib.ExitStack() as stack,
                ):
                    # Who must not hear what is for the group: the next that would.
                    stack.enter_context(
                        self.sharing(family, "") if places[0] else any_socket(0, family, STREAM)
                    )
                    group = [
                        stack.enter_context(self.sharing(family, address)) for address in places
                    ]
                    group.pop().close()
                    for address in heard:
                        self.assertEqual(self.accepted(group[0], family, address), address)

    def test_row_16_more_listeners_than_are_remembered(self) -> None:
        self.with_second_addresses(last=True)
        for family in self.families():
            with self.subTest(family=family), contextlib.ExitStack() as stack:
                stack.enter_context(any_socket(0, family, STREAM))
                former = [self.sharing(family, "") for _ in range(9)]
                later = [stack.enter_context(self.sharing(family, "")) for _ in range(9)]
                for made in former:
                    made.close()
                with lab.tenant_socket(1, family, STREAM) as client:
                    client.connect((SECOND[family], PORT))
                    ready, _, _ = select.select(later, [], [], lab.TIMEOUT_S)
                    self.assertEqual(len(ready), 1)

    def test_row_16_preferred_address_changes_under_a_listener(self) -> None:
        for family in self.families():
            lab.put(lab.document())
            with (
                self.subTest(family=family),
                any_socket(1, family, STREAM) as own,
                any_socket(0, family, STREAM),
            ):
                self.with_second_addresses(last=False)
                for address in (lab.server(1, family), SECOND[family]):
                    self.assertEqual(self.accepted(own, family, address), address)

    def with_second_addresses(self, *, last: bool) -> None:
        """Give FIB 1 another address of each family: the first, which is preferred, or the last."""
        entry = lab.fib_entry(1)
        more = [f"{SECOND[socket.AF_INET]}/29", f"{SECOND[socket.AF_INET6]}/64"]
        own = entry["addresses"]
        entry["addresses"] = own + more if last else more + own
        lab.put(lab.document(fibs=[entry, lab.fib_entry(2), lab.fib_entry(3)]))
        self.addCleanup(lab.put, lab.document())

    def sharing(self, family: socket.AddressFamily, address: str) -> socket.socket:
        """Return a listener of FIB 1 that shares the port."""
        made = fib_socket(1, family)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.bind((address, PORT))
        made.listen()
        return made

    def accepted(self, listener: socket.socket, family: socket.AddressFamily, address: str) -> str:
        """Return the local address that a listener accepts tenant 1's connection on."""
        with lab.tenant_socket(1, family, STREAM) as client:
            client.connect((address, PORT))
            with listener.accept()[0] as peer:
                self.assertEqual(fib.socket_fib(peer), 1)
                return str(peer.getsockname()[0])

    def test_row_16_dual_stack_listener_of_a_fib(self) -> None:
        with fib_socket(1, socket.AF_INET6) as own:
            own.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            own.bind(("::", PORT))
            own.listen()
            for family in self.families():
                with self.subTest(family=family):
                    self.assertEqual(self.reached(1, family, STREAM, {"own": own}), "own")
                    self.assertEqual(self.reached(2, family, STREAM, {"own": own}), "none")

    def test_bind_that_failed_holds_no_port(self) -> None:
        with any_socket(0, socket.AF_INET, STREAM), fib_socket(0) as late:
            with self.refused(errno.EADDRINUSE):
                late.bind(("", PORT))
            late.bind(("127.0.0.1", 0))
        any_socket(0, socket.AF_INET, STREAM).close()

    def test_row_16_port_is_shared_as_the_kernel_shares_it(self) -> None:
        """By those that both ask for it, and by what is another port for other reasons."""
        four, six = socket.AF_INET, socket.AF_INET6
        port, address = socket.SO_REUSEPORT, socket.SO_REUSEADDR
        cases = (
            ((four, STREAM, port), (four, STREAM, port), True),
            ((four, STREAM, port), (four, STREAM, 0), False),
            ((four, STREAM, 0), (four, STREAM, port), False),
            ((four, DGRAM, address), (four, DGRAM, address), True),
            ((four, DGRAM, address), (four, DGRAM, 0), False),
            ((four, STREAM, 0), (four, DGRAM, 0), True),
            ((four, STREAM, 0), (six, STREAM, 0), True),
            ((six, STREAM, 0), (six, STREAM, 0), False),
        )
        for number in (0, 1):
            for first, second, shared in cases:
                with self.subTest(fib=number, first=first, second=second):
                    self.assertEqual(self.share(number, first, second), shared)

    def share(self, number: int, *wanted: tuple[socket.AddressFamily, int, int]) -> bool:
        """Whether sockets of these families, kinds and options of a FIB can have one port."""
        with contextlib.ExitStack() as stack:
            for family, kind, option in wanted:
                made = stack.enter_context(fib_socket(number, family, kind))
                if family == socket.AF_INET6:
                    made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                if option:
                    made.setsockopt(socket.SOL_SOCKET, option, 1)
                try:
                    made.bind(("", PORT))
                except OSError as error:
                    self.assertEqual(error.errno, errno.EADDRINUSE)
                    return False
        return True

    def test_row_16_ipv6_only_listener_of_a_fib(self) -> None:
        with fib_socket(1, socket.AF_INET6) as own:
            own.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            own.bind(("::", PORT))
            own.listen()
            self.assertEqual(self.reached(1, socket.AF_INET6, STREAM, {"own": own}), "own")
            self.assertEqual(self.reached(1, socket.AF_INET, STREAM, {"own": own}), "none")

    def test_bind_that_the_kernel_refused_holds_no_port(self) -> None:
        """The hook has let it pass: the socket's next bind must not count for that port."""
        with fib_socket(0) as late:
            os.seteuid(OTHER_UID)
            try:
                with self.refused(errno.EACCES):
                    late.bind(("", LOW_PORT))
            finally:
                os.seteuid(0)
            late.bind(("127.0.0.1", 0))
            with fib_socket(0) as other:
                other.bind(("", LOW_PORT))

    def test_row_32_group_within_a_fib(self) -> None:
        """Two sockets with SO_REUSEPORT in FIB 1 share what comes; one in FIB 2 gets its own."""
        for family in self.families():
            for kind in (STREAM, DGRAM):
                with self.subTest(family=family, kind=kind):
                    counts = self.shared_out(family, kind)
                    self.assertEqual(counts["two"], MANY)
                    self.assertEqual(counts["a"] + counts["b"], MANY)
                    self.assertGreater(min(counts["a"], counts["b"]), MANY // 8)

    def shared_out(self, family: socket.AddressFamily, kind: int) -> dict[str, int]:
        """Return how many of tenants' 1 and 2 clients came to each socket."""
        with contextlib.ExitStack() as stack:
            sockets = {}
            for name, number in (("a", 1), ("b", 1), ("two", 2)):
                made = stack.enter_context(fib_socket(number, family, kind))
                made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                made.bind(("", PORT))
                if kind == STREAM:
                    made.listen(128)
                made.settimeout(lab.QUIET_S)
                sockets[name] = made
            for tenant in (1, 2):
                for _ in range(MANY):
                    client = stack.enter_context(lab.tenant_socket(tenant, family, kind))
                    client.connect((lab.server(tenant, family), PORT))
                    client.send(b"x")
            return {name: self.drained(made, kind) for name, made in sockets.items()}

    def drained(self, made: socket.socket, kind: int) -> int:
        count = 0
        while self.took(made, kind):
            count += 1
        return count

    def test_row_24_no_address_of_the_family(self) -> None:
        entry = lab.fib_entry(2)
        entry["addresses"] = entry["addresses"][:1]
        entry["routes"] = [route for route in entry["routes"] if ":" not in route["to"]]
        lab.put(lab.document(fibs=[lab.fib_entry(1), entry, lab.fib_entry(3)]))
        self.addCleanup(lab.put, lab.document())
        for kind in (STREAM, DGRAM):
            made = fib_socket(2, socket.AF_INET6, kind)
            with made, self.refused(errno.EADDRNOTAVAIL):
                made.connect((lab.CLIENT[socket.AF_INET6], 9))
        with fib_socket(2, socket.AF_INET6, DGRAM) as made, self.refused(errno.EADDRNOTAVAIL):
            made.sendto(b"x", (lab.CLIENT[socket.AF_INET6], 9))
        with fib_socket(2, socket.AF_INET6, STREAM) as made, self.refused(errno.ECONNREFUSED):
            made.connect((f"::ffff:{lab.CLIENT[socket.AF_INET]}", 9))  # control: IPv4 is there
