"""The leak matrix: every conversation of every tenant, looked for at every router."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from scenarios.checks import assert_no_leak
from testbed.api import Capture, Direction, Matrix, Protocol, Running, Tenant, judge, talk_all

EVERY_TENANT_HAS = {
    (Direction.INBOUND, Protocol.TCP),
    (Direction.INBOUND, Protocol.UDP),
    (Direction.INBOUND, Protocol.ICMP),
    (Direction.OUTBOUND, Protocol.ICMP),
    (Direction.OUTBOUND, Protocol.DNS),
}


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(
            ("alpha", "bravo", "charlie"),
            marks=pytest.mark.tenants("alpha", "bravo", "charlie"),
            id="proposal",
        ),
        pytest.param(
            ("castor", "pollux"),
            marks=[pytest.mark.tenants("castor", "pollux"), pytest.mark.topology("twins")],
            id="twins",
        ),
    ],
)
def test_frames_are_where_they_belong_and_nowhere_else(
    names: tuple[str, ...],
    deployment: Running,
    tenants: tuple[Tenant, ...],
    wire: Capture,
    matrix: Matrix,
) -> None:
    assert {tenant.name for tenant in deployment.plan.tenants} == set(names)
    with ThreadPoolExecutor(len(tenants)) as pool:  # mixed on the segment, as in real life
        had = list(pool.map(lambda t: talk_all(t.client, deployment.sut.channel), tenants))
    talks = [talk for one in had for talk in one]
    for tenant, own in zip(tenants, had, strict=True):
        assert {(talk.direction, talk.protocol) for talk in own} >= EVERY_TENANT_HAS
        assert any(talk.protocol in {Protocol.LDAP, Protocol.KERBEROS} for talk in own), tenant
    cells = judge(deployment.plan, talks, wire.frames())
    matrix.record(cells)
    assert len(cells) == len(talks) * len(tenants)
    wrong = [str(cell) for cell in cells if not cell.ok]
    assert not wrong, "\n".join(wrong)
    assert_no_leak(deployment.plan, wire)
