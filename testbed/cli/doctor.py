"""The verb `doctor`: what the host has and lacks, all at once."""

from __future__ import annotations

import json
import sys

from testbed.cli.telling import console
from testbed.lifecycle import preflight
from testbed.lifecycle.store import cache_root, state_root


def print_findings(*, as_json: bool) -> bool:
    """Print what was found; return whether the host is fit."""
    looked_at = preflight.examine(state_root(), cache_root())
    if as_json:
        from testbed.cli.views import DoctorView, data_of  # it loads all there is

        findings = tuple(looked_at)
        is_fit = all(map(_is_fit, findings))
        view = DoctorView(schema="testbed.doctor/1", ok=is_fit, findings=findings)
        sys.stdout.write(json.dumps(data_of(view), indent=2) + "\n")
        return is_fit
    out = console()
    is_fit = True
    for finding in looked_at:  # told as it is found: links and the Docker daemon take their time
        is_fit = is_fit and _is_fit(finding)
        good, bad = "[green]✔[/green]", "[yellow]![/yellow]"
        mark = good if finding.ok else bad if finding.is_advice else "[red]✘[/red]"
        out.print(mark, end=" ")
        out.print(f"{finding.subject}: {finding.seen}", markup=False, highlight=False)
        if not finding.ok:
            out.print(f"    {finding.mend}", markup=False, highlight=False)
    return is_fit


def _is_fit(finding: preflight.Finding) -> bool:
    return finding.ok or finding.is_advice
