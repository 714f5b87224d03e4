from __future__ import annotations

import threading
from dataclasses import dataclass

import pytest

from testbed.fib.services.scheduler import Scheduler


@dataclass(eq=False)
class Item:
    fib: int
    is_light: bool = False
    received_s: float = 0.0


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def scheduler(
    workers: int = 4, *, longest_queue: int = 100, clock: Clock | None = None
) -> Scheduler[Item]:
    return Scheduler(workers, longest_queue=longest_queue, clock=clock or Clock())


def take_all(queue: Scheduler[Item]) -> list[Item]:
    """Take until nothing may run: a closed scheduler would hide that, so look inside."""
    taken = []
    while (job := queue._next()) is not None:
        taken.append(job)
    return taken


def submit(queue: Scheduler[Item], *fibs: int) -> list[Item]:
    items = [Item(fib) for fib in fibs]
    assert all(queue.submit(item) for item in items)
    return items


def test_one_tenant_leaves_a_worker_to_others() -> None:
    queue = scheduler()
    submit(queue, 1, 1, 1, 1, 1)
    assert [item.fib for item in take_all(queue)] == [1, 1, 1]
    submit(queue, 2)
    assert [item.fib for item in take_all(queue)] == [2]


def test_a_single_worker_serves_whoever_comes() -> None:
    queue = scheduler(workers=1)
    submit(queue, 1)
    assert len(take_all(queue)) == 1


def test_tenants_take_turns() -> None:
    queue = scheduler()
    submit(queue, 1, 1, 1, 2, 3)
    assert [queue._next().fib for _ in range(4)] == [1, 2, 3, 1]  # type: ignore[union-attr]


def test_a_tenant_whose_servers_are_gone_holds_one_worker_until_they_answer() -> None:
    queue = scheduler()
    submit(queue, 1, 1, 1)
    first = take_all(queue)
    for item in first:
        queue.done(item, is_unavailable=True)
    submit(queue, 1, 1, 1)
    (only,) = take_all(queue)
    queue.done(only)
    assert len(take_all(queue)) == 2


def test_suspects_together_hold_half_of_the_workers() -> None:
    queue = scheduler()
    for fib in (1, 2, 3):
        submit(queue, fib)
        (item,) = take_all(queue)
        queue.done(item, is_unavailable=True)
    submit(queue, 1, 2, 3, 4, 4)
    assert [item.fib for item in take_all(queue)] == [1, 2, 4, 4]


def test_a_request_that_runs_long_makes_its_tenant_suspect() -> None:
    clock = Clock()
    queue = scheduler(clock=clock)
    submit(queue, 1)
    take_all(queue)
    clock.now_s = 2.5
    submit(queue, 1, 2)
    assert [item.fib for item in take_all(queue)] == [2]


def test_what_asks_no_server_goes_first_and_is_not_limited() -> None:
    queue = scheduler(workers=2)
    submit(queue, 1, 1)
    take_all(queue)
    light = Item(1, is_light=True)
    assert queue.submit(light)
    assert take_all(queue) == [light]


def test_a_full_queue_is_its_own_tenants_trouble() -> None:
    queue = scheduler(longest_queue=2)
    submit(queue, 1, 1)
    assert not queue.submit(Item(1))
    assert queue.submit(Item(2))


def test_taken_jobs_make_room_in_the_queue() -> None:
    queue = scheduler(longest_queue=2)
    submit(queue, 1, 1)
    take_all(queue)
    assert queue.submit(Item(1))


def test_jobs_that_waited_too_long_are_given_up() -> None:
    queue = scheduler(workers=2)
    old = [Item(1, received_s=1), Item(2, received_s=2), Item(1, is_light=True, received_s=2)]
    young = Item(1, received_s=9)
    for item in (*old, young):
        queue.submit(item)
    assert set(map(id, queue.expire(5))) == set(map(id, old))
    assert take_all(queue) == [young]


def test_fibs_with_a_job_under_way_for_too_long_are_known() -> None:
    clock = Clock()
    queue = scheduler(clock=clock)
    (item,) = submit(queue, 7)
    take_all(queue)
    clock.now_s = 11
    submit(queue, 8)
    take_all(queue)
    assert queue.overdue(1) == [7]
    queue.done(item)
    assert queue.overdue(1) == []


@pytest.mark.timeout(5)
def test_closing_sends_waiting_workers_home() -> None:
    queue = scheduler()
    taken: list[Item | None] = []
    worker = threading.Thread(target=lambda: taken.append(queue.take()))
    worker.start()
    queue.close()
    worker.join()
    assert taken == [None]
