from __future__ import annotations

import pytest

from testbed.errors import ExitCode, PreflightError
from testbed.lifecycle import capacity
from testbed.lifecycle.capacity import Line, budget, require, warm_limit
from testbed.model.load import parse_topology
from testbed.plan.build import build_plan
from testbed.plan.identity import parse_deployment_id
from testbed.plan.resources import Plan

MIXED = "mix: [{share: 3, services: {dns, ldap}}, {services: {dns, kdc}}]"


def plan(count: int, more: str = "") -> Plan:
    text = f"{more}\ntenants: {{t: {{count: {count}, {MIXED}}}}}"
    return build_plan(parse_topology(text, where="t", name="t"), parse_deployment_id("aaaaaa"))


def line(lines: tuple[Line, ...], what: str) -> Line:
    return next(line for line in lines if line.what == what)


@pytest.fixture
def roomy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity, "_available_mib", lambda: 1 << 20)
    monkeypatch.delenv(capacity.WARM, raising=False)


@pytest.mark.usefixtures("roomy")
def test_memory_grows_with_tenants_by_a_router_and_our_own_share() -> None:
    few, many = (line(budget(plan(n)), "memory").needed for n in (100, 600))
    a_tenant = capacity.ROUTER_KIB + capacity.OURSELVES_TENANT_KIB
    assert many - few == pytest.approx(500 * a_tenant / 1024, abs=2)


@pytest.mark.usefixtures("roomy")
def test_services_that_start_with_up_count_in_full() -> None:
    at_once = line(budget(plan(200, "services_start: up")), "memory")
    on_lease = line(budget(plan(200, "services_start: lease")), "memory")
    kinds = {role.value: mib for role, mib in capacity.CONTAINER_MIB.items()}
    a_group = 4 * (kinds["client"] + kinds["dns"]) + 3 * kinds["ldap"] + kinds["kdc"]
    assert at_once.needed - on_lease.needed == pytest.approx(
        50 * a_group - capacity.LEAST_WARM * a_group / 12, abs=2
    )
    assert "at least" in on_lease.made_of
    assert "at least" not in at_once.made_of


@pytest.mark.usefixtures("roomy")
def test_guest_too_small_is_told_what_would_do() -> None:
    lines = budget(plan(600, "sut: {memory_mib: 256}"))
    guest = line(lines, "memory of the VM")
    assert not guest.fits
    with pytest.raises(PreflightError, match="does not fit: memory of the VM") as caught:
        require((guest,))
    mended = int(str(caught.value.hint).partition("memory_mib: ")[2].partition("}")[0])
    assert mended >= guest.needed
    assert mended % 256 == 0


def test_refusal_names_all_that_lacks_and_exits_as_environment() -> None:
    lacking = [Line(what, 3, 2, "MiB", "of this", f"mend {what}") for what in ("one", "two")]
    with pytest.raises(PreflightError, match=r"one: 3 of 2 MiB.*two: 3 of 2 MiB") as caught:
        require((*lacking, Line("three", 2, 2, "", "", "")))
    assert caught.value.exit_code is ExitCode.ENVIRONMENT
    assert str(caught.value.hint).split() == ["mend", "one", "mend", "two"]
    require((Line("three", 2, 2, "", "", ""),))


def test_warm_limit_follows_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(capacity.WARM, raising=False)
    some = plan(200)
    mean = sum(capacity.CONTAINER_MIB[c.role] for _, c in some.containers()) / 600

    def limit(available_mib: float, running: int) -> int:
        monkeypatch.setattr(capacity, "_available_mib", lambda: available_mib)
        return warm_limit(some, running)

    assert limit(capacity.RESERVE_MIB + 100 * mean + 1, 50) == 150
    assert limit(capacity.RESERVE_MIB - 30 * mean, 50) == pytest.approx(20, abs=1)
    assert limit(0, 0) == capacity.LEAST_WARM
    assert limit(1 << 20, 0) == 600


def test_warm_limit_may_be_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity, "_available_mib", lambda: 1 << 20)
    for given, limit in (("40", 40), ("1", capacity.LEAST_WARM), ("", 120), ("99999", 120)):
        monkeypatch.setenv(capacity.WARM, given)
        assert warm_limit(plan(40), 0) == limit
    monkeypatch.setenv(capacity.WARM, "many")
    with pytest.raises(PreflightError, match="TESTBED_WARM is 'many'"):
        warm_limit(plan(40), 0)
