"""The verb `doctor`: what the host has and lacks, all at once."""

from __future__ import annotations

import json
import sys

from testbed.cli.telling import console
from testbed.cli.views import DoctorView, data_of
from testbed.lifecycle import preflight
from testbed.lifecycle.store import cache_root, state_root


def print_findings(*, as_json: bool) -> bool:
    """Print what was found; return whether the host is fit."""
    findings = preflight.examine(state_root(), cache_root())
    is_fit = all(finding.ok or finding.is_advice for finding in findings)
    if as_json:
        view = DoctorView(schema="testbed.doctor/1", ok=is_fit, findings=findings)
        sys.stdout.write(json.dumps(data_of(view), indent=2) + "\n")
        return is_fit
    out = console()
    for finding in findings:
        good, bad = "[green]✔[/green]", "[yellow]![/yellow]"
        mark = good if finding.ok else bad if finding.is_advice else "[red]✘[/red]"
        out.print(mark, end=" ")
        out.print(f"{finding.subject}: {finding.seen}", markup=False, highlight=False)
        if not finding.ok:
            out.print(f"    {finding.mend}", markup=False, highlight=False)
    return is_fit
