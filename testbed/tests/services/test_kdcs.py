"""The daemon remembers which KDC answered: by FIB, for a while, in files that never change."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.fib.services.kdcs import Conversation, Kdcs

REALM = "TWIN.TEST"
FIRST, FIRST6, SECOND = "192.168.0.88", "fd00:c0a8::88", "192.168.0.87"
KEPT_S = 300


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def heard(*asked: str, answered: str = "") -> Conversation:
    """Return what libkrb5 1.20 tells when it asks these addresses and the last one answers."""
    conversation = Conversation()
    for address in asked:
        conversation.hear(said(f"Sending initial UDP request to dgram {address}:88"))
    if answered:
        conversation.hear(said(f"Received answer (712 bytes) from dgram {answered}:88"))
    return conversation


def said(message: str) -> str:
    return f"[385] 1795811001.768017: {message}\n"


def order(kdcs: Kdcs, fib: int) -> list[str]:
    path = kdcs.file(fib)
    lines = path.read_text().splitlines() if path else []
    return [line.partition("kdc = ")[2] for line in lines if "kdc = " in line]


def test_who_answered_comes_first_and_the_silent_after(tmp_path: Path) -> None:
    kdcs = Kdcs(tmp_path)
    kdcs.learn(3, REALM, heard(FIRST, FIRST6, SECOND, answered=SECOND))
    assert order(kdcs, 3) == [f"{SECOND}:88", f"{FIRST}:88", f"[{FIRST6}]:88"]
    assert f" {REALM} = {{\n" in (kdcs.file(3) or tmp_path).read_text()


def test_another_fibs_order_stays_that_of_its_dns(tmp_path: Path) -> None:
    kdcs = Kdcs(tmp_path)
    kdcs.learn(3, REALM, heard(FIRST, SECOND, answered=SECOND))
    kdcs.learn(4, REALM, heard(FIRST, answered=FIRST))
    assert (order(kdcs, 3) != [], kdcs.file(4)) == (True, None)


def test_an_order_is_forgotten_when_nobody_answers(tmp_path: Path) -> None:
    kdcs = Kdcs(tmp_path)
    kdcs.learn(3, REALM, heard(FIRST, SECOND, answered=SECOND))
    kdcs.learn(3, REALM, heard())  # no server was asked: says nothing of any
    assert kdcs.file(3)
    kdcs.learn(3, REALM, heard(SECOND, FIRST))
    assert kdcs.file(3) is None


def test_an_order_is_kept_for_a_while(tmp_path: Path) -> None:
    clock = Clock()
    kdcs = Kdcs(tmp_path, clock=clock)
    kdcs.learn(3, REALM, heard(FIRST, SECOND, answered=SECOND))
    clock.now_s += KEPT_S - 1
    assert kdcs.file(3)
    clock.now_s += 1
    assert kdcs.file(3) is None


def test_a_file_never_changes(tmp_path: Path) -> None:
    kdcs = Kdcs(tmp_path)
    kdcs.learn(3, REALM, heard(FIRST, SECOND, answered=SECOND))
    one = kdcs.file(3)
    kdcs.learn(3, REALM, heard(SECOND, FIRST, answered=FIRST))
    other = kdcs.file(3)
    assert one != other
    kdcs.learn(4, REALM, heard(FIRST, SECOND, answered=SECOND))
    assert kdcs.file(4) == one
    assert sorted(tmp_path.iterdir()) == sorted(path for path in (one, other) if path)


def test_tcp_is_heard_too_and_a_server_counts_once() -> None:
    conversation = heard(FIRST, SECOND)
    conversation.hear(said(f"Initiating TCP connection to stream {FIRST}:88"))
    conversation.hear(said(f"Initiating TCP connection to stream {FIRST6}:88"))
    conversation.hear(said(f"Received answer (1502 bytes) from stream {FIRST6}:88"))
    assert conversation.asked == [(FIRST, "88"), (SECOND, "88"), (FIRST6, "88")]
    assert (conversation.answered, conversation.had_silence) == ((FIRST6, "88"), True)


@pytest.mark.parametrize(
    "message",
    [
        "Sending request (193 bytes) to TWIN.TEST",
        "Resolving hostname kdc.twin.test.",
        "Received answer (9 bytes) from dgram 192.168.0.88:88",  # to nothing that was asked here
        "Response was not from primary KDC",
    ],
)
def test_all_else_is_passed_over(message: str) -> None:
    conversation = Conversation()
    conversation.hear(said(message))
    assert (conversation.asked, conversation.answered, conversation.had_silence) == (
        [],
        None,
        False,
    )


def test_what_is_taken_is_heard_once() -> None:
    conversation = heard(FIRST, SECOND, answered=SECOND)
    assert conversation.take().had_silence
    assert not conversation.had_silence
    assert conversation.take() == Conversation()
