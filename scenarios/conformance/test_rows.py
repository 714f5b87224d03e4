"""Runs the conformance suite inside the SUT: one test for each row and pitfall of the specification.

The suite (`python3 -m fib.conformance`, docs/fib.md) makes tenants of its own and needs the SUT for
itself, so it has one: the topology `bare`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.api import Running, Tenant

SUITE = Path(__file__).parents[2] / "testbed/fib/conformance"
MODULES = sorted(path.stem for path in SUITE.glob("test_*.py"))

pytestmark = [
    pytest.mark.topology("bare"),
    pytest.mark.exclusive,
    pytest.mark.timeout(300, func_only=True),
]


@pytest.mark.parametrize("module", MODULES)
def test_rows_hold(module: str, deployment: Running, tenants: tuple[Tenant, ...]) -> None:
    del tenants  # the lease
    suite = ("env", "PYTHONPATH=/opt/fib", "python3", "-m", "fib.conformance", f".{module}.")
    result = deployment.sut.channel.run(suite, timeout_s=280, check=False)
    report = result.stdout + result.stderr
    assert result.returncode == 0, report
    assert "\nRan 0 tests" not in report
    assert " ... ok\n" in report
