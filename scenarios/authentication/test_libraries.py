"""Row 54, P30: real libraries, unmodified, in threads of two FIBs at once; the kernel tells the FIBs.

Both tenants' servers have the same names and addresses; only the passwords differ. The libraries run
in one process in the SUT (`fib.conformance.libraries`), every socket of theirs is traced.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from testbed.api import Running, Tenant, user_dn

LIBRARIES = (
    "getaddrinfo",
    "getaddrinfo_a",
    "libldap",
    "libkrb5",
    "libkrb5 over TCP",
    "c-ares",
    "curl",
)
WITH_HELPERS = ("getaddrinfo_a", "curl")
THREADS = 4

pytestmark = [pytest.mark.topology("twins"), pytest.mark.tenants("castor", "pollux")]


def call(
    deployment: Running, tenants: tuple[Tenant, ...], library: str, passwords_of: tuple[Tenant, ...]
) -> dict[str, Any]:
    """Call a library in threads of all tenants; return what failed and what its sockets were."""
    asked = [
        question(tenant, other.users[0].password)
        for tenant, other in zip(tenants, passwords_of, strict=True)
    ]
    argv = ("env", "PYTHONPATH=/opt/fib", "python3", "-m", "fib.conformance.libraries", library)
    stdin = json.dumps({"threads": THREADS, "tenants": asked})
    finished = deployment.sut.channel.run(argv, stdin=stdin, timeout_s=120)
    result: dict[str, Any] = json.loads(finished.stdout)[library]
    return result


def question(tenant: Tenant, password: str) -> dict[str, Any]:
    """Return what a library needs to ask a tenant's servers."""
    directory, realm, user = tenant.plan.directory, tenant.plan.realm, tenant.users[0]
    assert directory is not None
    assert realm is not None
    return {
        "fib": tenant.fib,
        "host": directory.host,
        "port": 389,
        "user": user.name,
        "password": password,
        "user_dn": user_dn(directory, user.name),
        "realm": realm.realm,
    }


@pytest.mark.parametrize("library", LIBRARIES)
def test_every_socket_is_in_the_fib_of_the_thread_that_called(
    library: str, deployment: Running, tenants: tuple[Tenant, ...]
) -> None:
    result = call(deployment, tenants, library, tenants)
    assert (result["failed"], result["wrong"]) == ([], [])
    assert result["fibs"] == sorted(tenant.fib for tenant in tenants)
    assert sum(result["sockets"].values()) >= THREADS * len(tenants)
    assert result["connections"] >= THREADS * len(tenants)
    assert bool(result["helpers"]) == (library in WITH_HELPERS)
    assert ("SOCK_STREAM" in result["sockets"]) == (
        library in {"libldap", "libkrb5 over TCP", "curl"}
    )


@pytest.mark.parametrize("library", ["libldap", "libkrb5"])
def test_twins_password_is_refused_through_the_library(
    library: str, deployment: Running, tenants: tuple[Tenant, ...]
) -> None:
    result = call(deployment, tenants, library, tuple(reversed(tenants)))
    assert len(result["failed"]) == THREADS * len(tenants)
    assert result["wrong"] == []


@pytest.mark.exclusive
def test_control_without_thread_fibs_the_trace_shows_it(
    deployment: Running, tenants: tuple[Tenant, ...]
) -> None:
    with deployment.broken("thread-fib"):
        result = call(deployment, tenants, "getaddrinfo", tenants)
    assert len(result["failed"]) == THREADS * len(tenants)
    assert result["fibs"] == [0]
    assert len(result["wrong"]) >= THREADS * len(tenants)


@pytest.mark.xfail(reason="glibc's gai_misc.c: __gai_enqueue_request shares idle helpers")
def test_helper_threads_of_getaddrinfo_a_serve_one_fib(
    deployment: Running, tenants: tuple[Tenant, ...]
) -> None:
    result = call(deployment, tenants, "getaddrinfo_a in turn", tenants)
    assert result["fibs"] == sorted(tenant.fib for tenant in tenants)
