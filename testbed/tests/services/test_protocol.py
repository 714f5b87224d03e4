from __future__ import annotations

import base64
import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.fib.services.config import Method
from testbed.fib.services.protocol import (
    Op,
    ProtocolError,
    Request,
    encode,
    is_reply,
    parse_request,
)

LOGIN = {"op": "login", "user": "anna", "password": "geheim"}


def request(**members: object) -> Request:
    return parse_request(json.dumps({"nonce": "n", **members}).encode())


def refusal(**members: object) -> str:
    with pytest.raises(ProtocolError) as caught:
        request(**members)
    return caught.value.reason


def test_each_operation_is_understood() -> None:
    token = base64.b64encode(b"token").decode()
    assert request(op="whoami") == Request(Op.WHOAMI, "n")
    assert request(op="echo", data="hi").data == "hi"
    assert request(op="resolve", name="a.test").name == "a.test"
    assert request(op="resolve").name is None
    assert request(op="ticket", token=token).token == b"token"
    assert request(**LOGIN).method is None
    assert request(**LOGIN, method="kerberos").method is Method.KERBEROS


def test_null_is_as_good_as_absent() -> None:
    assert request(op="resolve", name=None).name is None
    assert request(**LOGIN, method=None).method is None


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({}, "'op' is missing"),
        ({"op": "rm"}, "unknown op 'rm'"),
        ({"op": 1}, "'op' is not a text"),
        ({"op": "whoami", "nonce": 1}, "'nonce' is not a text"),
        ({"op": "whoami", "nonce": "n" * 129}, "'nonce' is longer than 128"),
        ({"op": "whoami", "user": "x"}, "unknown key 'user'"),
        ({"op": "login", "user": "anna"}, "'password' is missing"),
        ({"op": "login", "user": "a\0b", "password": "x"}, "'user' contains control"),
        ({"op": "login", "user": "a", "password": "x\0y"}, "'password' contains control"),
        ({"op": "login", "user": "a", "password": "\ud800"}, "'password' is not valid Unicode"),
        ({"op": "login", "user": "a" * 257, "password": "x"}, "'user' is longer"),
        ({"op": "login", "user": "a", "password": "x", "method": "pam"}, "unknown method 'pam'"),
        ({"op": "resolve", "name": "a b"}, "'name' is not a host name"),
        ({"op": "resolve", "name": ""}, "'name' is not a host name"),
        ({"op": "ticket", "token": "#"}, "'token' is not base64"),
        ({"op": "ticket", "token": ""}, "'token' is empty"),
    ],
)
def test_what_is_wrong_is_said(members: dict[str, object], reason: str) -> None:
    assert reason in refusal(**members)


@pytest.mark.parametrize(
    "line", [b"", b"junk", b"[]", b"\xff", b"[" * 60_000, b'{"op":' + b"9" * 5000 + b"}"]
)
def test_what_is_no_object_is_an_error(line: bytes) -> None:
    with pytest.raises(ProtocolError):
        parse_request(line)


def test_an_error_names_the_request_as_far_as_it_was_read() -> None:
    with pytest.raises(ProtocolError) as caught:
        request(op="whoami", colour="red")
    assert (caught.value.nonce, caught.value.op) == ("n", "whoami")


def test_a_request_shows_no_secret() -> None:
    shown = repr(request(**LOGIN))
    assert "geheim" not in shown
    assert "anna" in shown


def test_a_reply_is_known_as_one() -> None:
    assert is_reply(encode({"verdict": "error"}))
    assert not is_reply(b'{"op": "whoami"}')
    assert not is_reply(b"[" * 60_000)


def test_an_encoded_reply_is_one_line_of_ascii() -> None:
    line = encode({"reason": "zwei\nZeilen ä"})
    assert line.count(b"\n") == 1
    assert line.isascii()


@given(st.binary(max_size=200))
def test_no_bytes_do_worse_than_a_protocol_error(line: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        parse_request(line)
