"""One resolver address for all tenants: it stands for the DNS server of the socket's own FIB."""

from __future__ import annotations

import json
import re

import pytest

from scenarios.guest import as_json
from testbed.api import Capture, Role, Running, Tenant, frames_of, leaks

pytestmark = [pytest.mark.exclusive, pytest.mark.tenants("alpha", "bravo", "charlie")]

VIRTUAL = "192.0.2.53"
NAME = "app.corp.test"

# A plain resolver: asks the virtual address in each FIB, connected and not, and says who answered.
ASK = """
import struct
virtual, name, numbers = json.loads(sys.argv[1])
question = b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + bytes(1)
query = struct.pack("!6H", 7, 0x100, 1, 0, 0, 0) + question + struct.pack("!2H", 1, 1)
answers = []
for number in numbers:
    with fib.thread_fib(number):
        for is_connected in (False, True):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
                s.settimeout(3)
                try:
                    if is_connected:
                        s.connect((virtual, 53))
                        s.send(query)
                    else:
                        s.sendto(query, (virtual, 53))
                    reply, peer = s.recvfrom(512)
                    shown = s.getpeername()[0] if is_connected else peer[0]
                    answers.append([socket.inet_ntoa(reply[-4:]), shown])
                except OSError as error:
                    answers.append([str(error), ""])
say(answers)
"""

# Unmodified programs. dig refuses an answer from another address than it asked; hey tells whom it cannot
# reach, which nobody is at that port.
PROGRAMS = {
    "dig": f"dig +short +tries=1 +time=3 {NAME}",
    "dig by TCP": f"dig +tcp +short +tries=1 +time=3 {NAME}",
    "libc": f"getent ahostsv4 {NAME}",
    "Go": f"GODEBUG=netdns=go hey -n 1 -c 1 -t 15 http://{NAME}:9/",
}
IN_FIB = """
file=$(mktemp)
echo "nameserver $1" >"$file"
mount --bind "$file" /etc/resolv.conf
rm "$file"
exec fibctl exec "$2" -- sh -c "$3"
"""


def test_virtual_resolver_is_each_tenants_own(
    deployment: Running, tenants: tuple[Tenant, ...], wire: Capture
) -> None:
    servers = {t.fib: str(t.plan.container(Role.DNS).addresses[0].ip) for t in tenants}
    # One whose server is nobody: with equal addresses everywhere, nothing would tell whose is meant.
    silent = tenants[-1]
    servers[silent.fib] = str(silent.plan.network.subnets[0].network_address + 200)
    expected = [address_of(tenant) for tenant in tenants[:-1]]
    with deployment.virtual_resolver(VIRTUAL, servers):
        told = as_json([VIRTUAL, NAME, [tenant.fib for tenant in tenants]])
        with deployment.program(ASK, told) as program:
            answers = program.said()
    answered = [[address, VIRTUAL] for address in expected for _ in range(2)]
    assert answers == [*answered, *[["timed out", ""]] * 2], json.dumps(answers)
    frames = wire.frames()
    for tenant in tenants:
        asked = [f for f in frames_of(frames, tenant.plan) if f.destination_port == 53]
        assert [str(frame.destination) for frame in asked] == [servers[tenant.fib]] * 2
    assert not leaks(deployment.plan, frames, tenants)


@pytest.mark.parametrize("program", PROGRAMS)
def test_unmodified_program_resolves_by_one_resolv_conf(
    program: str, deployment: Running, tenants: tuple[Tenant, ...]
) -> None:
    servers = {t.fib: str(t.plan.container(Role.DNS).addresses[0].ip) for t in tenants}
    argv = ["unshare", "--mount", "sh", "-ec", IN_FIB, "sh", VIRTUAL]
    found = {}
    with deployment.virtual_resolver(VIRTUAL, servers):
        for tenant in tenants:
            said = deployment.sut.channel.run([*argv, str(tenant.fib), PROGRAMS[program]])
            found[tenant.name] = set(re.findall(r"(?<![\d.])192\.168\.\d+\.\d+", said.stdout))
    assert found == {tenant.name: {address_of(tenant)} for tenant in tenants}
    assert len({str(addresses) for addresses in found.values()}) > 1, "nothing tells them apart"


def address_of(tenant: Tenant) -> str:
    """Return the address that the tenant's DNS has for the name."""
    return next(r.value for r in tenant.plan.records if r.owner == f"{NAME}." and r.type == "A")
