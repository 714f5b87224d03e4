from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.deadline import Deadline, wait_for
from testbed.errors import WaitTimeoutError
from testbed.lifecycle.lease import (
    Changed,
    Claim,
    Group,
    changed,
    claims,
    decide,
    holders,
    lease_deployment,
    lease_tenants,
    mark_restored,
)

SPAWN = multiprocessing.get_context("spawn")
WHOLE: Sequence[Group] = ()


def test_first_free_group_is_taken(tmp_path: Path) -> None:
    with (
        lease_tenants(tmp_path, [["a", "b"]]) as first,
        lease_tenants(tmp_path, [["b", "c"], ["c"]]) as second,
    ):
        assert (first, second) == (("a", "b"), ("c",))


def test_held_tenant_is_waited_for_and_its_holder_named(tmp_path: Path) -> None:
    with (
        lease_tenants(tmp_path, [["a"]], purpose="test_x"),
        pytest.raises(WaitTimeoutError, match=rf"a \(pid {os.getpid()}, test_x\)"),
        lease_tenants(tmp_path, [["a"]], limit_s=0.05),
    ):
        pass


def test_partly_free_group_holds_nothing(tmp_path: Path) -> None:
    with lease_tenants(tmp_path, [["b"]]):
        with (
            pytest.raises(WaitTimeoutError),
            lease_tenants(tmp_path, [["a", "b"]], limit_s=0.05),
        ):
            pass
        with lease_tenants(tmp_path, [["a"]], limit_s=0.05) as free:
            assert free == ("a",)


@pytest.mark.parametrize("group", [["a"], []])
def test_whole_deployment_excludes_everybody(tmp_path: Path, group: list[str]) -> None:
    with (
        lease_deployment(tmp_path),
        pytest.raises(WaitTimeoutError),
        lease_tenants(tmp_path, [group], limit_s=0.05),
    ):
        pass
    with (
        lease_tenants(tmp_path, [group]),
        pytest.raises(WaitTimeoutError),
        lease_deployment(tmp_path, limit_s=0.05),
    ):
        pass


def test_lease_ends_with_its_block_and_leaves_no_file(tmp_path: Path) -> None:
    assert holders(tmp_path) == ()
    with lease_tenants(tmp_path, [["a"]]):
        assert holders(tmp_path)
    assert holders(tmp_path) == ()
    assert [path.name for path in (tmp_path / "leases").iterdir()] == ["decision.lock"]


def test_all_holders_are_told_with_what_they_hold(tmp_path: Path) -> None:
    with (
        lease_tenants(tmp_path, [["a", "b"]], purpose="one"),
        lease_tenants(tmp_path, [[]], purpose="two"),
    ):
        pid = os.getpid()
        assert holders(tmp_path) == (
            f"a, b (pid {pid}, one)",
            f"the deployment, with others (pid {pid}, two)",
        )


def claim_in_process(
    folder: Path, groups: Sequence[Group], purpose: str, ends: tuple[Connection, Connection]
) -> None:
    """Say when the lease is had, and hold it until told to go."""
    said, told = ends
    lease = (
        lease_tenants(folder, groups, purpose=purpose)
        if groups
        else lease_deployment(folder, purpose=purpose)
    )
    with lease as group:
        said.send(group)
        told.recv()


@dataclass
class Other:
    """Another process with a claim."""

    pid: int
    says: Connection
    tells: Connection

    def has_it(self, limit_s: float = 20) -> bool:
        return self.says.poll(limit_s)

    def leave(self) -> None:
        self.tells.send("go")


@contextmanager
def other(folder: Path, groups: Sequence[Group], purpose: str = "other") -> Iterator[Other]:
    """Start a process that claims one of `groups`, and wait until its claim is in the queue."""
    says, said = SPAWN.Pipe()
    told, tells = SPAWN.Pipe()
    process = SPAWN.Process(
        target=claim_in_process, args=(folder, groups, purpose, (said, told)), daemon=True
    )
    process.start()
    assert process.pid
    pid = process.pid
    try:
        wait_for(
            lambda: any(claim.pid == pid for claim in claims(folder)),
            Deadline.after(20),
            what="the other's claim",
        )
        yield Other(pid, says, tells)
    finally:
        process.kill()
        process.join()


def test_lease_of_a_killed_process_is_free_at_once(tmp_path: Path) -> None:
    with other(tmp_path, [("a",)]) as killed:
        assert killed.has_it()
        os.kill(killed.pid, signal.SIGKILL)
        with lease_tenants(tmp_path, [["a"]], limit_s=5) as names:
            assert names == ("a",)


def test_who_waits_and_is_killed_keeps_nobody_waiting(tmp_path: Path) -> None:
    with lease_tenants(tmp_path, [["a"]]), other(tmp_path, WHOLE) as killed:
        os.kill(killed.pid, signal.SIGKILL)
        with lease_tenants(tmp_path, [["b"]], limit_s=5) as names:
            assert names == ("b",)


def test_waiting_for_the_whole_deployment_is_not_overtaken(tmp_path: Path) -> None:
    with (
        other(tmp_path, [("a",)]) as holder,
        other(tmp_path, WHOLE, "restart") as waiting,
    ):
        assert holder.has_it()
        with (
            pytest.raises(WaitTimeoutError, match=r"waits for the whole deployment .*restart"),
            lease_tenants(tmp_path, [["b"]], limit_s=0.2),
        ):
            pass
        assert not waiting.has_it(0)
    with other(tmp_path, WHOLE) as alone:
        assert alone.has_it()


def test_who_holds_something_does_not_queue_for_more_behind_who_waits_for_that(
    tmp_path: Path,
) -> None:
    with (
        lease_tenants(tmp_path, [["a"]]),
        other(tmp_path, WHOLE),
        other(tmp_path, [("a", "b")]),
        lease_tenants(tmp_path, [["b"]], limit_s=5) as further,
    ):
        assert further == ("b",)


def test_request_for_several_is_not_starved_by_single_ones(tmp_path: Path) -> None:
    with (
        other(tmp_path, [("a",)]),
        other(tmp_path, [("a", "b")]) as several,
        pytest.raises(WaitTimeoutError, match="waits for a and b"),
        lease_tenants(tmp_path, [["b"]], limit_s=0.2),
    ):
        pass
    with other(tmp_path, [("a", "b")]) as several:
        assert several.has_it()


def test_who_waits_for_others_does_not_keep_the_rest_from_anybody(tmp_path: Path) -> None:
    with (
        other(tmp_path, [("a",)]),
        other(tmp_path, [("a", "b")]),
        lease_tenants(tmp_path, [["b"], ["c"]], limit_s=5) as free,
    ):
        assert free == ("c",)


def test_lease_passes_on_in_the_order_of_asking(tmp_path: Path) -> None:
    with other(tmp_path, [("a",)]) as first:
        assert first.has_it()
        with other(tmp_path, [("a",)]) as second, other(tmp_path, [("a",)]) as third:
            first.leave()
            assert second.has_it()
            assert not third.has_it(0.1)
            second.leave()
            assert third.has_it()


TENANTS = ("a", "b", "c", "d")
groups_of = st.lists(
    st.lists(st.sampled_from(TENANTS), max_size=3, unique=True).map(tuple), min_size=1, max_size=4
).map(tuple)


@st.composite
def wishes(draw: st.DrawFn) -> list[Claim]:
    count = draw(st.integers(1, 8))
    made = []
    for number in range(1, count + 1):
        whole = draw(st.booleans()) and draw(st.booleans())
        groups = ((),) if whole else draw(groups_of)
        made.append(Claim(number, number, "", 0.0, whole, groups))
    return made


@given(wishes(), st.data())
def test_nobody_shares_and_everybody_is_served(queue: list[Claim], data: st.DataObject) -> None:
    """Whatever the order in which holders leave and waiters look."""
    living = {claim.number: claim for claim in queue}
    for _ in range(10 * len(queue)):
        if not living:
            return
        for number in data.draw(st.permutations(sorted(living))):
            claim = living[number]
            if claim.is_waiting:
                others = [other for other in living.values() if other.number != number]
                group = decide(claim, others)
                if group is not None:
                    living[number] = Claim(
                        number, number, "", 0.0, claim.whole, claim.groups, group
                    )
        holding = [claim for claim in living.values() if not claim.is_waiting]
        assert holding, "nobody holds anything, and yet all wait"
        held = [tenant for claim in holding for tenant in claim.holds or ()]
        assert len(held) == len(set(held))
        assert len(holding) == 1 or not any(claim.whole for claim in holding)
        del living[data.draw(st.sampled_from(holding)).number]
    assert not living


def test_what_a_killed_process_held_is_marked_as_changed(tmp_path: Path) -> None:
    with other(tmp_path, [("a", "b")]) as killed, other(tmp_path, [("b",)]) as waiting:
        assert killed.has_it()
        os.kill(killed.pid, signal.SIGKILL)
        assert waiting.has_it()
        assert changed(tmp_path) == Changed(frozenset({"a", "b"}), whole=False)
        mark_restored(tmp_path, Changed(frozenset({"a"}), whole=False))
        assert changed(tmp_path).tenants == {"b"}
    with lease_tenants(tmp_path, [["c"]]):
        assert changed(tmp_path).tenants == {"b"}  # the one that waited had got it, and was killed


def test_killed_holder_of_the_whole_leaves_the_whole_changed(tmp_path: Path) -> None:
    with other(tmp_path, WHOLE) as killed:
        assert killed.has_it()
    with lease_tenants(tmp_path, [["a"]]):
        assert changed(tmp_path) == Changed(frozenset(), whole=True)


def test_who_ends_properly_or_only_waited_changed_nothing(tmp_path: Path) -> None:
    with lease_tenants(tmp_path, [["a"]]), other(tmp_path, [("a",)]):
        pass
    assert not claims(tmp_path)
    assert not changed(tmp_path)


def test_claim_that_was_not_written_whole_is_void(tmp_path: Path) -> None:
    with lease_tenants(tmp_path, [["a"]]):
        (tmp_path / "leases" / "00000000.claim").write_text('{"number')
        assert len(claims(tmp_path)) == 1
    assert not changed(tmp_path)
