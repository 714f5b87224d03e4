"""`up` and `down` killed at any moment: the next `up` makes it whole, the next `down` leaves nothing.

Five kills, drawn by --seed, in every run: four of the commands and one of the IPAM driver, while `up` or
`down` goes on without it. TESTBED_KILLS=40 draws as many; TESTBED_KILLS=all kills at every step there is,
commands by each signal: a test for each command and signal, two hours in all.
TESTBED_KILLS_FROM=13 begins at step 13, to go on with a series or to have one step again.
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from signal import SIGINT, SIGKILL, Signals

import pytest

from scenarios.resilience.host import (
    EVENTS,
    TOPOLOGY,
    assert_as_before,
    assert_nothing_survives,
    bring_up,
    take_down,
)
from testbed.api import Command, Event, PrivateHost, private_host

KILLS = os.environ.get("TESTBED_KILLS", "5")
FIRST = int(os.environ.get("TESTBED_KILLS_FROM", "0"))
# More than any command tells; a kill beyond its last event does not come.
MOST_EVENTS = 40
USUAL_EVENTS = {"up": 24, "up again": 20, "down": 14}
USUAL_S = {"up": 8.0, "up again": 6.0, "down": 3.0}
INTERRUPTED = 130


@dataclass(frozen=True)
class Blow:
    """A command, and when and how it is killed: at its n-th event, or after some time.

    `of_driver`: it is the IPAM driver that is killed, not the command.
    """

    command: str
    event: int | None
    after_s: float
    signal: Signals
    group: bool
    of_driver: bool = False

    def __str__(self) -> str:
        moment = f"event {self.event}" if self.event is not None else f"{self.after_s:.2f} s"
        whom = "the IPAM driver" if self.of_driver else "its group" if self.group else "alone"
        return f"{self.command}: {self.signal.name} to {whom} at {moment}"


def drawn(count: int, seed: int) -> Iterator[Blow]:
    """Yield `count` kills of all commands in turn, drawn by `seed`."""
    source = random.Random(seed)  # noqa: S311 - no secret
    for number in range(count):
        of_driver = number % 5 == 4
        turn = source.choice(range(4)) if of_driver else number % 5
        command = ("up", "down", "up", "up again")[turn]
        by_event = of_driver or source.random() < 0.7
        yield Blow(
            command,
            source.randrange(USUAL_EVENTS[command]) if by_event else None,
            source.uniform(0.2, USUAL_S[command]),
            SIGKILL if of_driver else source.choice((SIGKILL, SIGKILL, SIGINT)),
            not of_driver and source.random() < 0.5,
            of_driver,
        )


def every(command: str, signal: Signals, _seed: int) -> Iterator[Blow]:
    """Yield a kill at each event of a command, and beyond the last; Ctrl-C is for the whole group."""
    group = signal is SIGINT
    return (Blow(command, event, 0.0, signal, group) for event in range(FIRST, MOST_EVENTS))


def every_of_driver(command: str, _seed: int) -> Iterator[Blow]:
    """Yield a kill of the IPAM driver at each event of a command, and beyond the last."""
    for event in range(FIRST, MOST_EVENTS):
        yield Blow(command, event, 0.0, SIGKILL, group=False, of_driver=True)


def series() -> dict[str, Callable[[int], Iterator[Blow]]]:
    """Return what makes the kills of each test, of the seed."""
    if KILLS != "all":
        return {"drawn": partial(drawn, int(KILLS))}
    found: dict[str, Callable[[int], Iterator[Blow]]] = {}
    for command in USUAL_EVENTS:
        for signal in (SIGKILL, SIGINT):
            found[f"{command}, {signal.name}"] = partial(every, command, signal)
        found[f"{command}, IPAM driver"] = partial(every_of_driver, command)
    return found


def strike(host: PrivateHost, command: Command, blow: Blow) -> str:
    """Kill the command as told; return what it was doing, empty when it had ended by itself."""
    if blow.event is None:
        timer = threading.Timer(blow.after_s, lambda: command.kill(blow.signal, group=blow.group))
        timer.start()
        code = command.wait()
        timer.cancel()
        return "something" if code != 0 else ""
    told = 0
    for told, event in enumerate(command.events(), 1):
        if told > blow.event and blow.of_driver:
            host.run("sh", "-c", "kill -KILL $0 || :", " ".join(map(str, host.pids("/ipam"))))
            return wait_without_driver(command, event)
        if told > blow.event:
            command.kill(blow.signal, group=blow.group)
            code = command.wait()
            # It may have been about to end by itself.
            assert code in {0, -SIGKILL, 128 + SIGKILL, INTERRUPTED, -SIGINT}
            return name_of(event)
    assert command.wait() == 0, command.said
    assert told, "it told no steps: nothing can be killed at one"
    return ""


def wait_without_driver(command: Command, event: Event) -> str:
    """The command ends well, or says what it lacks; return what it was doing."""
    code = command.wait()
    said = "\n".join(command.said)
    assert "Traceback" not in said
    assert code == 0 or (code == 1 and any(word in said for word in ("error: ", "ipam: not"))), said
    return name_of(event)


def name_of(event: Event) -> str:
    return f"{event.step} {event.tenant} {event.phase}"


def begin(host: PrivateHost, command: str) -> Command:
    if command == "down":
        return host.begin("down", "one", *EVENTS)
    return host.begin("up", TOPOLOGY, *EVENTS)


@pytest.mark.timeout(7200 if KILLS == "all" or int(KILLS) > 10 else 400)
@pytest.mark.parametrize("name", series())
def test_killed_at_any_moment(name: str, seed: int) -> None:
    with private_host() as host:
        before = host.inventory()
        for number, blow in enumerate(series()[name](seed)):
            if blow.command != "up":
                bring_up(host)
            doing = strike(host, begin(host, blow.command), blow)
            print(f"{number}. {blow}: {doing or 'it had ended'}", flush=True)  # noqa: T201 - shown on failure
            assert_nothing_survives(host)
            if number % 2:
                bring_up(host)
            take_down(host)
            assert_as_before(host, before)
            if KILLS == "all" and not doing:
                return
        assert KILLS != "all", f"it tells more than {MOST_EVENTS} steps"
