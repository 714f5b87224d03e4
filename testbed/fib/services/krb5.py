"""A few calls of libkrb5 (MIT, 1.20) that python3-gssapi does not offer, by way of ctypes.

Owns: getting initial credentials with a password, and verifying that they come from the KDC that
shares a key with us. Each call has a context of its own (libkrb5 contexts must not be shared by
threads), the keytab is named in the call and nothing in the environment, and credentials live in
a memory cache that libkrb5 makes and destroys. ctypes releases the interpreter lock during calls.
Layouts and prototypes: krb5/krb5.h of MIT Kerberos 1.20.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ctypes import CFUNCTYPE, POINTER, Structure, byref, c_char_p, c_int, c_int32, c_uint, c_void_p
from functools import cache
from pathlib import Path
from typing import Any

_PARSE_NO_REALM = 0x1
# ERROR_TABLE_BASE_krb5: protocol error N of RFC 4120 is BASE + N.
_BASE = -1765328384
KDC_ERR_C_PRINCIPAL_UNKNOWN = _BASE + 6
KDC_ERR_CLIENT_REVOKED = _BASE + 18
KDC_ERR_KEY_EXP = _BASE + 23
KDC_ERR_PREAUTH_FAILED = _BASE + 24
AP_ERR_BAD_INTEGRITY = _BASE + 31
KDC_UNREACH = _BASE + 156
REALM_UNKNOWN = _BASE + 102
REALM_CANT_RESOLVE = _BASE + 132


class Krb5Error(Exception):
    """A libkrb5 call failed: which, its code and libkrb5's own message."""

    def __init__(self, call: str, code: int, text: str) -> None:
        super().__init__(f"{call}: {text} ({code})")
        self.call = call
        self.code = code
        self.text = text


class _Data(Structure):
    _fields_ = (("magic", c_int32), ("length", c_uint), ("data", c_void_p))


class _Keyblock(Structure):
    _fields_ = (
        ("magic", c_int32),
        ("enctype", c_int32),
        ("length", c_uint),
        ("contents", c_void_p),
    )


class _Creds(Structure):
    """`krb5_creds`; libkrb5 fills it, `krb5_free_cred_contents` empties it."""

    _fields_ = (
        ("magic", c_int32),
        ("client", c_void_p),
        ("server", c_void_p),
        ("keyblock", _Keyblock),
        ("times", c_int32 * 4),
        ("is_skey", c_uint),
        ("ticket_flags", c_int32),
        ("addresses", c_void_p),
        ("ticket", _Data),
        ("second_ticket", _Data),
        ("authdata", c_void_p),
    )


class _VerifyOptions(Structure):
    """`krb5_verify_init_creds_opt`."""

    _fields_ = (("flags", c_int32), ("ap_req_nofail", c_int))


class _TraceInfo(Structure):
    """`krb5_trace_info`."""

    _fields_ = (("message", c_char_p),)


_OUT = POINTER(c_void_p)
_ON_TRACE = CFUNCTYPE(None, c_void_p, POINTER(_TraceInfo), c_void_p)
# name: (result, arguments). Everything with result c_int32 is a krb5_error_code.
_PROTOTYPES = {
    "krb5_init_context": (c_int32, (_OUT,)),
    "krb5_init_context_profile": (c_int32, (c_void_p, c_int32, _OUT)),
    "krb5_free_context": (None, (c_void_p,)),
    "krb5_set_trace_callback": (c_int32, (c_void_p, _ON_TRACE, c_void_p)),
    "profile_init_path": (c_int32, (c_char_p, _OUT)),
    "profile_release": (None, (c_void_p,)),
    "krb5_get_error_message": (c_void_p, (c_void_p, c_int32)),
    "krb5_free_error_message": (None, (c_void_p, c_void_p)),
    "krb5_parse_name": (c_int32, (c_void_p, c_char_p, _OUT)),
    "krb5_parse_name_flags": (c_int32, (c_void_p, c_char_p, c_int, _OUT)),
    "krb5_set_principal_realm": (c_int32, (c_void_p, c_void_p, c_char_p)),
    "krb5_unparse_name": (c_int32, (c_void_p, c_void_p, POINTER(c_void_p))),
    "krb5_free_unparsed_name": (None, (c_void_p, c_void_p)),
    "krb5_free_principal": (None, (c_void_p, c_void_p)),
    "krb5_kt_resolve": (c_int32, (c_void_p, c_char_p, _OUT)),
    "krb5_kt_have_content": (c_int32, (c_void_p, c_void_p)),
    "krb5_kt_close": (c_int32, (c_void_p, c_void_p)),
    "krb5_get_init_creds_opt_alloc": (c_int32, (c_void_p, _OUT)),
    "krb5_get_init_creds_opt_free": (None, (c_void_p, c_void_p)),
    "krb5_get_init_creds_opt_set_tkt_life": (None, (c_void_p, c_int32)),
    "krb5_get_init_creds_opt_set_forwardable": (None, (c_void_p, c_int)),
    "krb5_get_init_creds_opt_set_change_password_prompt": (None, (c_void_p, c_int)),
    "krb5_get_init_creds_password": (
        c_int32,
        (
            c_void_p,
            POINTER(_Creds),
            c_void_p,
            c_char_p,
            c_void_p,
            c_void_p,
            c_int32,
            c_char_p,
            c_void_p,
        ),
    ),
    "krb5_free_cred_contents": (None, (c_void_p, POINTER(_Creds))),
    "krb5_verify_init_creds_opt_init": (None, (POINTER(_VerifyOptions),)),
    "krb5_verify_init_creds_opt_set_ap_req_nofail": (None, (POINTER(_VerifyOptions), c_int)),
    "krb5_verify_init_creds": (
        c_int32,
        (c_void_p, POINTER(_Creds), c_void_p, c_void_p, c_void_p, POINTER(_VerifyOptions)),
    ),
}


@cache
def load_library() -> ctypes.CDLL:
    """Load libkrb5 once for the process and give its functions their prototypes."""
    library = ctypes.CDLL("libkrb5.so.3")
    for name, (result, arguments) in _PROTOTYPES.items():
        function = getattr(library, name)
        function.restype = result
        function.argtypes = arguments
    return library


class Krb5:
    """One libkrb5 context, for one thread; made by `open_krb5`."""

    def __init__(self, library: ctypes.CDLL, context: c_void_p) -> None:
        self._lib = library
        self._context = context

    def _check(self, call: str, code: int) -> None:
        if code:
            raise Krb5Error(call, code, self._message(code))

    def _message(self, code: int) -> str:
        pointer = self._lib.krb5_get_error_message(self._context, code)
        try:
            return (ctypes.cast(pointer, c_char_p).value or b"").decode("utf-8", "replace")
        finally:
            self._lib.krb5_free_error_message(self._context, pointer)

    @contextmanager
    def user_principal(self, user: str, realm: str) -> Iterator[c_void_p]:
        """Yield the principal of one component, whatever signs the user's name contains."""
        escaped = "".join(f"\\{sign}" if sign in "\\/@" else sign for sign in user)
        principal = c_void_p()
        self._check(
            "krb5_parse_name",
            self._lib.krb5_parse_name_flags(
                self._context, escaped.encode(), _PARSE_NO_REALM, byref(principal)
            ),
        )
        try:
            self._check(
                "krb5_set_principal_realm",
                self._lib.krb5_set_principal_realm(self._context, principal, realm.encode()),
            )
            yield principal
        finally:
            self._lib.krb5_free_principal(self._context, principal)

    @contextmanager
    def service_principal(self, name: str) -> Iterator[c_void_p]:
        """Yield the principal of a full name, realm included."""
        principal = c_void_p()
        self._check(
            "krb5_parse_name",
            self._lib.krb5_parse_name(self._context, name.encode(), byref(principal)),
        )
        try:
            yield principal
        finally:
            self._lib.krb5_free_principal(self._context, principal)

    def unparse(self, principal: c_void_p) -> str:
        """Return a principal's text."""
        text = c_void_p()
        self._check(
            "krb5_unparse_name",
            self._lib.krb5_unparse_name(self._context, principal, byref(text)),
        )
        try:
            return (ctypes.cast(text, c_char_p).value or b"").decode("utf-8", "replace")
        finally:
            self._lib.krb5_free_unparsed_name(self._context, text)

    @contextmanager
    def keytab(self, name: str) -> Iterator[c_void_p]:
        """Yield an open keytab; an unreadable or empty one is an error at once."""
        keytab = c_void_p()
        self._check(
            "krb5_kt_resolve",
            self._lib.krb5_kt_resolve(self._context, name.encode(), byref(keytab)),
        )
        try:
            self._check(
                "krb5_kt_have_content", self._lib.krb5_kt_have_content(self._context, keytab)
            )
            yield keytab
        finally:
            self._lib.krb5_kt_close(self._context, keytab)

    @contextmanager
    def initial_credentials(
        self, client: c_void_p, password: str, *, life_s: int
    ) -> Iterator[_Creds]:
        """Yield a TGT got with `password`; asks the KDC of the client's realm."""
        options = c_void_p()
        self._check(
            "krb5_get_init_creds_opt_alloc",
            self._lib.krb5_get_init_creds_opt_alloc(self._context, byref(options)),
        )
        creds = _Creds()
        try:
            self._lib.krb5_get_init_creds_opt_set_tkt_life(options, life_s)
            self._lib.krb5_get_init_creds_opt_set_forwardable(options, 0)
            # An expired password is a refusal, not a dialogue.
            self._lib.krb5_get_init_creds_opt_set_change_password_prompt(options, 0)
            self._check(
                "krb5_get_init_creds_password",
                self._lib.krb5_get_init_creds_password(
                    self._context,
                    byref(creds),
                    client,
                    password.encode(),
                    None,
                    None,
                    0,
                    None,
                    options,
                ),
            )
            yield creds
        finally:
            self._lib.krb5_free_cred_contents(self._context, byref(creds))
            self._lib.krb5_get_init_creds_opt_free(self._context, options)

    def verify(self, creds: _Creds, service: c_void_p, keytab: c_void_p) -> None:
        """Ask the KDC for a ticket to ourselves and open it with our key.

        Only the KDC that knows our key can make such a ticket. `ap_req_nofail` makes a missing
        key a failure, where libkrb5's default would let it pass.
        """
        options = _VerifyOptions()
        self._lib.krb5_verify_init_creds_opt_init(byref(options))
        self._lib.krb5_verify_init_creds_opt_set_ap_req_nofail(byref(options), 1)
        self._check(
            "krb5_verify_init_creds",
            self._lib.krb5_verify_init_creds(
                self._context, byref(creds), service, keytab, None, byref(options)
            ),
        )


@contextmanager
def open_krb5(files: tuple[Path, ...], told: Callable[[str], None]) -> Iterator[Krb5]:
    """Yield a libkrb5 context of its own for the calling thread.

    It is configured by `files`, the earlier the more they count, and says to `told` what it does.
    """
    library = load_library()
    context = _new_context(library, ":".join(map(str, files)))

    def on_trace(_context: Any, info: Any, _data: Any) -> None:
        if info:  # none when the context ends
            told(info.contents.message.decode("utf-8", "replace"))

    callback = _ON_TRACE(on_trace)  # held until the context is no more
    library.krb5_set_trace_callback(context, callback, None)
    try:
        yield Krb5(library, context)
    finally:
        library.krb5_free_context(context)


def _new_context(library: ctypes.CDLL, path: str) -> c_void_p:
    """Return a context with a profile of its own; whoever makes it frees it.

    The profile library shares what it has read of a file among all profiles of the process: so a
    profile is never changed, and a file never written anew under the same name.
    """
    profile, context = c_void_p(), c_void_p()
    code = library.profile_init_path(path.encode(), byref(profile))
    if not code:
        try:
            code = library.krb5_init_context_profile(profile, 0, byref(context))
        finally:
            library.profile_release(profile)  # the context has a copy
    if code:
        raise Krb5Error("krb5_init_context", code, "cannot read the Kerberos configuration")
    return context
