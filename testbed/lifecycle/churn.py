"""Takes tenants out of a running deployment and brings them back, while the others are served.

Of a tenant that is out nothing is left that others share with it: no FIB, no address in the SUT, not
known to the daemon, no router and no link.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from testbed.drivers import links
from testbed.lifecycle import daemon
from testbed.lifecycle.deployment import Deployment
from testbed.plan.fibstate import fib_entries
from testbed.plan.resources import TenantPlan
from testbed.sut.extension import COMMAND

_LIMIT_S = 300


def take_out(deployment: Deployment, tenants: Sequence[TenantPlan]) -> None:
    """Remove `tenants`, whose services do not run, from SUT and host; the rest goes on."""
    plan, sut = deployment.plan, deployment.sut()
    gone = {tenant.fib for tenant in tenants}
    sut.channel.run([COMMAND, "delete", *map(str, sorted(gone))], timeout_s=_LIMIT_S)
    left = tuple(tenant for tenant in plan.tenants if tenant.fib not in gone)
    daemon.ensure(replace(plan, tenants=left), sut)
    links.remove_tenants(tenants)


def bring_back(deployment: Deployment, tenants: Sequence[TenantPlan]) -> None:
    """Make routers and links of `tenants` again, their FIBs, and let the daemon know them."""
    plan, sut = deployment.plan, deployment.sut()
    links.make_tenants(plan, tenants, deployment.uplink)
    back = {tenant.fib for tenant in tenants}
    fibs = [fib for fib in plan.sut.fibs if fib.fib in back]
    sut.channel.run([COMMAND, "add", "-"], stdin=fib_entries(fibs), timeout_s=_LIMIT_S)
    daemon.ensure(plan, sut)
