"""Can a tenant's client reach an address: by ICMP echo, and by TCP up to the handshake."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from testbed.errors import ResourceError
from testbed.plan.fib import expected_arrival
from testbed.plan.resources import Address
from testbed.probe.inside import Client


class Reached(StrEnum):
    """How an attempt ended."""

    YES = "yes"
    REFUSED = "refused"  # a RST, or ICMP port unreachable
    UNREACHABLE = "unreachable"  # an ICMP error
    SILENCE = "silence"


@dataclass(frozen=True, slots=True)
class Echo:
    """What ping saw: packets sent and answered, and an error text if it got one."""

    sent: int
    received: int
    error: str

    @property
    def ok(self) -> bool:
        """Whether packets were sent and every one was answered."""
        return 0 < self.sent == self.received


def ping(client: Client, address: Address, *, count: int = 1, wait_s: float = 2) -> Echo:
    """Send `count` echo requests, 20 ms apart, and wait `wait_s` for the last answer."""
    argv = ("ping", "-n", "-c", str(count), "-i", "0.02", "-W", str(wait_s), str(address))
    with client.asks(f"ping {address}") as entry:
        echo = _read_echo(client.run(argv).output)
        answer = f"{echo.received} of {echo.sent} answered {echo.error}".rstrip()
        entry.reached(
            answer, expected_arrival(client.plan, client.tenant, address), is_there=echo.ok
        )
    return echo


def _read_echo(output: str) -> Echo:
    match = re.search(r"(\d+) packets transmitted, (\d+) received", output)
    error = re.search(r"From \S+.*? (Destination .*|Time to live exceeded|Packet .*)", output)
    sent, received = (int(match[1]), int(match[2])) if match else (0, 0)
    return Echo(sent, received, error[1].strip() if error else "" if match else output.strip())


_CONNECT = """
import errno, socket, sys, time
address, port, wait_s, source_port = sys.argv[1], *map(float, sys.argv[2:])
family = socket.AF_INET6 if ":" in address else socket.AF_INET
with socket.socket(family, socket.SOCK_STREAM) as s:
    s.settimeout(wait_s)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if source_port:
        s.bind(("", int(source_port)))
    start = time.monotonic()
    try:
        s.connect((address, int(port)))
        result = "yes"
    except TimeoutError:
        result = "silence"
    except OSError as error:
        result = "refused" if error.errno == errno.ECONNREFUSED else "unreachable"
    print(result, time.monotonic() - start)
"""


@dataclass(frozen=True, slots=True)
class Connected:
    """How a TCP handshake ended and how long that took."""

    result: Reached
    elapsed_s: float


def connect(
    client: Client, address: Address, port: int, *, wait_s: float = 2, source_port: int = 0
) -> Connected:
    """Try a TCP handshake and close."""
    arguments = (str(address), str(port), str(wait_s), str(source_port))
    with client.asks(f"connect {address} port {port}") as entry:
        answer = client.run(("python3", "-c", _CONNECT, *arguments))
        if answer.exit_code != 0:  # its source port is taken, say
            raise ResourceError(f"{client} cannot try to connect: {answer.output.strip()}")
        result, _, elapsed = answer.output.strip().partition(" ")
        connected = Connected(Reached(result), float(elapsed))
        entry.reached(
            connected.result,
            expected_arrival(client.plan, client.tenant, address),
            is_there=connected.result in {Reached.YES, Reached.REFUSED},
        )
    return connected
