"""Pitfalls P4, P7, P9, P13, P14 and P19: state that the kernel keeps for all tenants together."""

from __future__ import annotations

import contextlib
import errno
import json
import socket

from .. import api as fib
from . import lab
from .case import Case, fib_socket
from .test_sockets import STREAM, wildcard

FOUR = socket.AF_INET
SOURCE_PORT = 40000
FEW_PORTS = 10


class Shared(Case):
    def is_served(self, tenant: int) -> bool:
        """Whether a tenant's client is accepted, in its FIB, and answered."""
        with wildcard(FOUR, STREAM) as listener, lab.tenant_socket(tenant, FOUR, STREAM) as client:
            client.settimeout(lab.QUIET_S)
            try:
                client.connect((lab.server(tenant, FOUR), 5000))
            except TimeoutError:
                return False
            with listener.accept()[0] as accepted:
                accepted.send(b"x")
                return fib.socket_fib(accepted) == tenant and client.recv(9) == b"x"

    def test_p04_address_of_one_tenant_takes_no_route_of_another(self) -> None:
        def routes(tenant: int) -> list[str]:
            return sorted(
                line
                for flag in ("-4", "-6")
                for line in lab.run("ip", flag, "route", "show", "table", str(100000 + tenant))
                .strip()
                .splitlines()
            )

        self.addCleanup(lab.put, lab.document())
        entries = [lab.fib_entry(tenant) for tenant in lab.TENANTS]
        for entry in entries:
            entry["routes"] += [{"to": "10.99.0.0/24"}, {"to": "fd00:99::/64"}]
        lab.put(lab.document(fibs=entries))
        before = {tenant: routes(tenant) for tenant in (2, 3)}
        lab.run("ip", "addr", "del", f"{lab.server(1, FOUR)}/29", "dev", lab.NIC)
        lab.run("ip", "addr", "del", f"{lab.server(1, socket.AF_INET6)}/64", "dev", lab.NIC)
        self.assertEqual({tenant: routes(tenant) for tenant in (2, 3)}, before)
        self.assertTrue(self.is_served(2))

    def test_p07_tcp_metrics_are_kept_by_the_tenants_address(self) -> None:
        lab.run("ip", "tcp_metrics", "flush")
        for tenant in (1, 2):
            self.assertTrue(self.is_served(tenant))
        kept = json.loads(lab.run("ip", "-j", "tcp_metrics", "show"))
        pairs = {(entry["dst"], entry["source"]) for entry in kept}
        expected = {(lab.CLIENT[FOUR], lab.server(tenant, FOUR)) for tenant in (1, 2)}
        self.assertLessEqual(expected, pairs)

    def all_at_once(self) -> None:
        """Hold a connection of every tenant's client, all from one address and port."""
        with contextlib.ExitStack() as stack:
            listener = stack.enter_context(wildcard(FOUR, STREAM))
            for tenant in lab.TENANTS:
                client = stack.enter_context(lab.tenant_socket(tenant, FOUR, STREAM, SOURCE_PORT))
                client.connect((lab.server(tenant, FOUR), 5000))
                accepted = stack.enter_context(listener.accept()[0])
                self.assertEqual(fib.socket_fib(accepted), tenant)
                accepted.send(b"%d" % tenant)
                self.assertEqual(client.recv(9), b"%d" % tenant)
                accepted.close()  # the server's end first: the time to wait is its own
                self.assertEqual(client.recv(9), b"")

    def test_p09_connection_tracking_tells_tenants_apart(self) -> None:
        rules = (
            "add table inet fibc; "
            "add chain inet fibc seen { type filter hook prerouting priority 0; }; "
            "add rule inet fibc seen ct state new tcp dport 5000 counter"
        )
        lab.run("nft", rules)
        self.addCleanup(lab.run, "nft", "delete table inet fibc")
        self.all_at_once()
        self.assertIn(f"packets {len(lab.TENANTS)} ", lab.run("nft", "list table inet fibc"))

    def test_p13_and_p14_one_port_again_while_another_tenants_connection_waits(self) -> None:
        self.all_at_once()

        def all_wait() -> bool:
            waiting = lab.run("ss", "-Htan", "state", "time-wait", f"dport = :{SOURCE_PORT}")
            return len(waiting.splitlines()) == len(lab.TENANTS)

        lab.wait_for(all_wait, "the time to wait of each connection")  # from its client's FIN on
        self.all_at_once()

    def test_p19_tenant_without_ports_left_leaves_others_theirs(self) -> None:
        first = SOURCE_PORT + 100
        ports = f"{first} {first + FEW_PORTS - 1}"
        with contextlib.ExitStack() as stack:
            for tenant in (1, 2):
                listener = lab.tenant_socket(tenant, FOUR, STREAM, 389)
                stack.enter_context(listener).listen(2 * FEW_PORTS)
            stack.enter_context(lab.setting("net/ipv4/ip_local_port_range", ports))
            for _ in range(FEW_PORTS):
                stack.enter_context(fib_socket(1)).connect((lab.CLIENT[FOUR], 389))
            with fib_socket(1) as late, self.refused(errno.EADDRNOTAVAIL):
                late.connect((lab.CLIENT[FOUR], 389))
            for _ in range(FEW_PORTS):
                stack.enter_context(fib_socket(2)).connect((lab.CLIENT[FOUR], 389))
