"""The public API: all that scenarios may import.

Fixtures and markers come from the pytest plugin (`pytest --fixtures`, `pytest --markers`).
"""

from __future__ import annotations

from testbed import faults
from testbed.deadline import Deadline, NotYet, wait_for
from testbed.drivers.process import Finished
from testbed.errors import GuestError, ResourceError, TestbedError, WaitTimeoutError
from testbed.events import Event, Phase
from testbed.lifecycle.inventory import Inventory, Item
from testbed.lifecycle.privatehost import Command, PrivateHost, private_host
from testbed.plan.fib import Delivered, Forwarded, Refused, fib_of, lookup
from testbed.plan.resources import Address, FibId, Method, Plan, Record, Role, TenantPlan
from testbed.plan.services import user_dn
from testbed.probe.capture import Capture, Frame
from testbed.probe.directory import Bind, bind
from testbed.probe.dns import Lookup, look_up
from testbed.probe.inside import Client
from testbed.probe.kerberos import Ticket, get_ticket
from testbed.probe.matrix import Cell, Direction, Protocol, Talk, judge, talk_all
from testbed.probe.player import Conversation, Player
from testbed.probe.reach import Connected, Echo, Reached, connect, ping
from testbed.probe.request import (
    Held,
    Reply,
    Route,
    ask,
    held,
    log_in,
    new_nonce,
    present_ticket,
    resolve,
    route_to,
    service_token,
    who_am_i,
)
from testbed.probe.shell import Shell, run_by_ssh
from testbed.probe.wire import Leak, frames_of, leaks
from testbed.report.matrix import Matrix
from testbed.running import Program, Running, Tenant

__all__ = [
    "Address",
    "Bind",
    "Capture",
    "Cell",
    "Client",
    "Command",
    "Connected",
    "Conversation",
    "Deadline",
    "Delivered",
    "Direction",
    "Echo",
    "Event",
    "FibId",
    "Finished",
    "Forwarded",
    "Frame",
    "GuestError",
    "Held",
    "Inventory",
    "Item",
    "Leak",
    "Lookup",
    "Matrix",
    "Method",
    "NotYet",
    "Phase",
    "Plan",
    "Player",
    "PrivateHost",
    "Program",
    "Protocol",
    "Reached",
    "Record",
    "Refused",
    "Reply",
    "ResourceError",
    "Role",
    "Route",
    "Running",
    "Shell",
    "Talk",
    "Tenant",
    "TenantPlan",
    "TestbedError",
    "Ticket",
    "WaitTimeoutError",
    "ask",
    "bind",
    "connect",
    "faults",
    "fib_of",
    "frames_of",
    "get_ticket",
    "held",
    "judge",
    "leaks",
    "log_in",
    "look_up",
    "lookup",
    "new_nonce",
    "ping",
    "present_ticket",
    "private_host",
    "resolve",
    "route_to",
    "run_by_ssh",
    "service_token",
    "talk_all",
    "user_dn",
    "wait_for",
    "who_am_i",
]
