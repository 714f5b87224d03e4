"""What the eBPF programs cost the verifier and the kernel's stack: no more than has been written down.

docs/fib-programs.json is the record; `make conformance` makes a new one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from testbed.api import Running, Tenant

RECORD = Path(__file__).parents[2] / "docs/fib-programs.json"
GROWTH = 1.25
# Of what is new: a tenth of the verifier's million instructions, and half of the kernel's 512 bytes.
WALKED, STACK_BYTES = 100_000, 256

pytestmark = pytest.mark.topology("bare")


def by_name(programs: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {program["program"]: program for program in programs}


def test_programs_have_not_grown_beyond_their_record(deployment: Running, tenant: Tenant) -> None:
    del tenant  # the lease
    measured = deployment.sut.channel.run(["/opt/fib/bpf/fib-measure", "/opt/fib/bpf"])
    found, recorded = by_name(json.loads(measured.stdout)), by_name(json.loads(RECORD.read_text()))
    assert {"fib_ingress", "fib_egress", "fib_socket", "fib_lookup"} <= found.keys()
    for name, program in found.items():
        assert program["walked"] <= WALKED
        assert program["stack_bytes"] <= STACK_BYTES
        assert program["translated_bytes"] > 0
        assert program["compiled_bytes"] > 0, "the kernel interprets it"
        for figure in ("walked", "translated_bytes", "compiled_bytes", "stack_bytes"):
            limit = GROWTH * recorded.get(name, program)[figure] + 64
            assert program[figure] <= limit, f"{name}: {figure}; if it must be, `make conformance`"
