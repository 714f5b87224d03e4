"""What others change while `fibctl apply` is at work: noticed if it matters, and told."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

from .. import apply, change
from ..failure import StateFailure
from . import lab
from .case import Case
from .test_changes import without

FOUR, SIX = socket.AF_INET, socket.AF_INET6


class Others(Case):
    def setUp(self) -> None:
        self.addCleanup(lab.put, lab.document())

    def _looks_while_added(
        self, family: socket.AddressFamily, meanwhile: Callable[[], object]
    ) -> int:
        """Add an address and its routes, somebody else changing something meanwhile; return the looks."""
        lab.put(without(1, family))

        def execute(*arguments: Any) -> int:
            made = real_execute(*arguments)
            meanwhile()
            return made

        real_execute = change.execute
        with (
            mock.patch.object(apply, "execute", execute),
            mock.patch.object(apply, "read_present", wraps=apply.read_present) as look,
        ):
            lab.put(lab.document())
        return look.call_count

    def test_additions_are_not_looked_at_again(self) -> None:
        for family in self.families():
            with self.subTest(family=family):
                self.assertEqual(self._looks_while_added(family, lambda: None), 1)

    def test_removals_are_looked_at_again(self) -> None:
        with mock.patch.object(apply, "read_present", wraps=apply.read_present) as look:
            lab.put(without(1, FOUR))
        self.assertEqual(look.call_count, 2)

    def test_what_is_none_of_ours_is_let_pass(self) -> None:
        def meanwhile() -> None:
            lab.run("ip", "addr", "add", "10.99.0.1/32", "dev", "lo")
            lab.run("ip", "addr", "del", "10.99.0.1/32", "dev", "lo")
            lab.run("ip", "route", "add", "198.51.100.0/24", "dev", "lo", "table", "77")
            lab.run("ip", "route", "del", "198.51.100.0/24", "dev", "lo", "table", "77")
            lab.run("ip", "link", "add", "fibc-other", "type", "dummy")
            lab.run("ip", "link", "del", "fibc-other")

        self.assertEqual(self._looks_while_added(FOUR, meanwhile), 1)

    def test_what_comes_and_goes_is_no_failure(self) -> None:
        def meanwhile() -> None:
            lab.run("ip", "addr", "add", "10.99.0.1/32", "dev", lab.NIC)
            lab.run("ip", "addr", "del", "10.99.0.1/32", "dev", lab.NIC)

        self.assertEqual(self._looks_while_added(FOUR, meanwhile), 2)

    def test_damage_meanwhile_is_a_failure(self) -> None:
        for what, command in _damage():
            with self.subTest(damage=what), self.assertRaises(StateFailure):
                self._looks_while_added(FOUR, lambda c=command: lab.run(*c))  # type: ignore[misc]

    def test_link_that_went_down_meanwhile_is_a_failure(self) -> None:
        self.addCleanup(lab.await_link_local)
        self.addCleanup(lab.put, lab.document())
        with self.assertRaises(StateFailure):
            self._looks_while_added(FOUR, lambda: lab.run("ip", "link", "set", lab.NIC, "down"))


def _damage() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield what somebody may do to tenant 2 or to all, with a command that does it."""
    device = ("dev", lab.NIC)
    for family, version, own, other in (
        (FOUR, "-4", f"{lab.server(2, FOUR)}/29", "10.99.0.1/32"),
        (SIX, "-6", f"{lab.server(2, SIX)}/64", "fd00:99::1/128"),
    ):
        ip, hop = ("ip", version), lab.router(2, family)
        mac = ("lladdr", "02:fb:00:00:00:99", "nud", "permanent")
        yield f"{version} address", (*ip, "addr", "del", own, *device)
        yield f"{version} one more address", (*ip, "addr", "add", other, *device)
        yield f"{version} neighbour", (*ip, "neigh", "del", hop, *device)
        yield f"{version} MAC", (*ip, "neigh", "replace", hop, *mac, *device)
        yield f"{version} routes", (*ip, "route", "flush", "table", "100002")
        yield f"{version} rule", (*ip, "rule", "del", "pref", "10")
