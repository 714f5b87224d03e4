"""Conversations of a played client, over the loopback with a server of the test's own."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from testbed.deadline import Deadline
from testbed.probe.player import Conversation

Answer = Callable[[bytes], list[bytes]]
HANG_UP = [b""]


def said(line: bytes, **more: object) -> bytes:
    request = json.loads(line)
    return json.dumps(
        {"nonce": request["nonce"], "verdict": "", "tenant": "a", "fib": 1, **more}
    ).encode()


@pytest.fixture
def served() -> Iterator[Callable[[Answer], Conversation]]:
    """Return a conversation with a server that sends pieces, made from each line it gets."""
    made: list[socket.socket] = []

    def converse(answer: Answer) -> Conversation:
        listener = socket.create_server(("127.0.0.1", 0))
        own = socket.socket()
        own.settimeout(0)
        made.extend((listener, own))

        def serve() -> None:
            taken = listener.accept()[0]
            with taken, taken.makefile("rb") as lines:
                for line in lines:
                    pieces = answer(line)
                    for piece in pieces:
                        taken.sendall(piece)
                    if pieces == HANG_UP:
                        return

        threading.Thread(target=serve, daemon=True).start()
        conversation = Conversation("a", own)
        conversation.begin(listener.getsockname())
        assert not conversation.connected(Deadline.after(5))
        return conversation

    yield converse
    for each in made:
        each.close()


def test_replies_come_in_order_however_they_are_cut(
    served: Callable[[Answer], Conversation],
) -> None:
    def in_pieces(line: bytes) -> list[bytes]:
        reply = said(line, data=json.loads(line).get("data"))
        return [reply[:7], reply[7:] + b"\n"]

    talk = served(in_pieces)
    nonces = [talk.send({"op": "echo", "data": word}) for word in ("one", "two")]
    replies = [talk.reply(Deadline.after(5)) for _ in nonces]
    assert [reply.nonce for reply in replies] == nonces
    assert [(reply.error, reply.tenant, reply.fib) for reply in replies] == [("", "a", 1)] * 2


def test_end_of_the_connection_is_an_answer(served: Callable[[Answer], Conversation]) -> None:
    talk = served(lambda _: HANG_UP)
    assert talk.ask({"op": "whoami"}, Deadline.after(5)).error == "closed"


def test_silence_is_a_timeout(served: Callable[[Answer], Conversation]) -> None:
    talk = served(lambda _: [])
    assert talk.ask({"op": "whoami"}, Deadline.after(0.05)).error == "timeout"


def test_refused_connection_is_told_by_name() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        name = taken.getsockname()
    with socket.socket() as own:
        own.settimeout(0)
        talk = Conversation("a", own)
        talk.begin(name)
        assert talk.connected(Deadline.after(5)) == "ECONNREFUSED"
