"""The FIB of a thread: its own, inherited, never a dead one's. Programs in the SUT, seen on the wire."""

from __future__ import annotations

import pytest

from scenarios.guest import as_json, client_address, sent_by_sut
from testbed.api import Capture, Running, Tenant, frames_of, leaks, new_nonce

# Two threads that have set their FIBs before either makes its socket.
SIBLINGS = """
import threading
client, (one, nonce_one), (other, nonce_other) = json.loads(sys.argv[1])
all_set, seen = threading.Barrier(2), {}
def work(number, nonce):
    fib.thread_fib(number)
    all_set.wait(10)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        seen[number] = [fib.get_thread_fib(), fib.socket_fib(s), s.getsockopt(socket.SOL_SOCKET, socket.SO_MARK)]
        s.sendto(nonce.encode(), (client, 9))
    all_set.wait(10)
threads = [threading.Thread(target=work, args=pair) for pair in ((one, nonce_one), (other, nonce_other))]
for thread in threads: thread.start()
for thread in threads: thread.join()
say([seen.get(one), seen.get(other), fib.get_thread_fib()])
"""

# What a thread of a FIB starts: a thread, a fork, another program.
HEIRS = """
import subprocess, threading
client, number, nonces = json.loads(sys.argv[1])
SEND = "import socket, sys; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(sys.argv[1].encode(), (sys.argv[2], 9))"
def send(nonce):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.sendto(nonce.encode(), (client, 9))
def work():
    fib.thread_fib(number)
    thread = threading.Thread(target=send, args=(nonces["thread"],))
    thread.start()
    thread.join()
    child = os.fork()
    if not child:
        try:
            send(nonces["fork"])
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    subprocess.run([sys.executable, "-c", SEND, nonces["program"], client], check=False)
    send(nonces["itself"])
first = threading.Thread(target=work)
first.start()
first.join()
say("done")
"""

# The kernel gives the next thread the number after ns_last_pid: that of one that had a FIB.
# A thread that was joined has still its number for a moment, and on a busy machine somebody else may take it.
RECYCLED = """
import os, threading, time
number = int(sys.argv[1])
def make(action):
    seen = []
    thread = threading.Thread(target=lambda: seen.append((threading.get_native_id(), action())))
    thread.start()
    thread.join()
    return seen[0]
deadline = time.monotonic() + 30
while time.monotonic() < deadline:
    dead, _ = make(lambda: fib.thread_fib(number))
    while os.path.exists(f"/proc/self/task/{dead}") and time.monotonic() < deadline:
        os.sched_yield()
    with open("/proc/sys/kernel/ns_last_pid", "w") as file:
        file.write(str(dead - 1))
    again, seen = make(fib.get_thread_fib)
    if again == dead:
        say(seen)
        break
else:
    say("no thread got the number of the dead one")
"""

REFUSED = """
import errno
def error_of(action):
    try:
        action()
    except OSError as error:
        return errno.errorcode[error.errno]
    return "none"
number = int(sys.argv[1])
fib.thread_fib(number)
answers = []
for wrong in (-1, 65536, 2**31):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        answers.append([error_of(lambda: fib.api._call(1, wrong % 2**64)),
                        error_of(lambda: fib.set_socket_fib(s, wrong)), fib.socket_fib(s)])
say([answers, fib.get_thread_fib()])
"""

# No tenant has this FIB: nothing may answer, neither a tenant nor this machine itself.
EMPTY = """
import errno
def error_of(family, address, port):
    with socket.socket(family, socket.SOCK_STREAM) as s:
        s.settimeout(2)
        try:
            s.connect((address, port))
        except OSError as error:
            return errno.errorcode.get(error.errno, str(error))
        return "connected"
port, empty = int(sys.argv[1]), int(sys.argv[2])
answers = {}
for number in (0, empty):
    with fib.thread_fib(number):
        for address in sys.argv[3:]:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            answers[f"{number} {address}"] = error_of(family, address, port)
say(answers)
"""


@pytest.mark.tenants(2, overlap="client")
def test_siblings_have_each_their_own_fib(
    deployment: Running, tenants: tuple[Tenant, ...], wire: Capture
) -> None:
    nonces = {new_nonce(tenant.name): tenant.name for tenant in tenants}
    told = [
        str(client_address(tenants[0])),
        *([t.fib, n] for t, n in zip(tenants, nonces, strict=True)),
    ]
    with deployment.program(SIBLINGS, as_json(told)) as program:
        *seen, main = program.said()
    assert seen == [[tenant.fib] * 3 for tenant in tenants]
    assert main == 0, "the thread that started them has got a FIB"
    frames = wire.frames()
    for tenant, nonce in zip(tenants, nonces, strict=True):
        (sent,) = sent_by_sut(deployment.plan, frames_of(frames, tenant.plan), nonce)
        assert sent.source == tenant.server
    assert not leaks(deployment.plan, frames, tenants, nonces=nonces)


@pytest.mark.tenants(2, overlap="client")
def test_what_a_thread_starts_has_its_fib(
    deployment: Running, tenants: tuple[Tenant, ...], wire: Capture
) -> None:
    tenant = tenants[0]
    nonces = {heir: new_nonce(tenant.name) for heir in ("thread", "fork", "program", "itself")}
    told = [str(client_address(tenant)), tenant.fib, nonces]
    with deployment.program(HEIRS, as_json(told)) as program:
        assert program.said() == "done"
    frames = frames_of(wire.frames(), tenant.plan)
    sent = {
        heir: len(sent_by_sut(deployment.plan, frames, nonce)) for heir, nonce in nonces.items()
    }
    assert sent == dict.fromkeys(nonces, 1)
    owners = dict.fromkeys(nonces.values(), tenant.name)
    assert not leaks(deployment.plan, wire.frames(), tenants, nonces=owners)


def test_thread_with_a_dead_ones_number_starts_without_its_fib(
    deployment: Running, tenant: Tenant
) -> None:
    with deployment.program(RECYCLED, tenant.fib) as program:
        assert program.said() == 0


def test_fib_that_does_not_exist_is_refused_and_changes_nothing(
    deployment: Running, tenant: Tenant
) -> None:
    with deployment.program(REFUSED, tenant.fib) as program:
        answers, thread = program.said()
    assert answers == [["EINVAL", "EINVAL", tenant.fib]] * 3
    assert thread == tenant.fib


def test_fib_without_tenant_reaches_nobody(
    deployment: Running, tenant: Tenant, wire: Capture
) -> None:
    addresses = [*(str(address.ip) for address in tenant.plan.server_addresses), "127.0.0.1", "::1"]
    empty = 1 + max(fib.fib for fib in deployment.plan.sut.fibs) + 1000
    with deployment.program(EMPTY, deployment.plan.sut.port, empty, *addresses) as program:
        answers = program.said()
    # FIB 0 is the machine's own: it shows that somebody listens there.
    assert {answers[f"0 {address}"] for address in addresses} == {"connected"}
    assert {answers[f"{empty} {address}"] for address in addresses} == {"ENETUNREACH"}
    assert not sent_by_sut(deployment.plan, frames_of(wire.frames(), tenant.plan))
