"""Faults: a part of a tenant or of the SUT fails while a block lasts, and is whole again after it.

    with faults.service_stopped(tenant, Role.LDAP):
        ...

Undoing is guaranteed in three ways. The block's end undoes the fault whatever happens in it, and
checks that what was broken works. A note on disk, there before the fault is caused, says what is
broken: it goes only after the check. And where a process is killed inside the block, or undoing
fails, the next holder of the lease finds the note and makes the tenant anew, or gives the SUT the
plan's state again (`testbed.lifecycle.restore`).

A scenario holds the lease of what it breaks: the tenant's, or for the SUT the whole deployment's
(`@pytest.mark.exclusive`).
"""

from __future__ import annotations

from testbed.faults.directory import certificate_shown, tls_unknown
from testbed.faults.lines import gateway_moved, line_added
from testbed.faults.paths import address_owned, line_impaired, link_down, router_down
from testbed.faults.services import (
    dns_lying,
    kdc_rekeyed,
    password_changed,
    service_hung,
    service_stopped,
)
from testbed.faults.sut import address_moved, clock_skewed, daemon_stopped, routes_added, sut_off

__all__ = [
    "address_moved",
    "address_owned",
    "certificate_shown",
    "clock_skewed",
    "daemon_stopped",
    "dns_lying",
    "gateway_moved",
    "kdc_rekeyed",
    "line_added",
    "line_impaired",
    "link_down",
    "password_changed",
    "router_down",
    "routes_added",
    "service_hung",
    "service_stopped",
    "sut_off",
    "tls_unknown",
]
