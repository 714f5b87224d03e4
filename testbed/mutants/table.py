"""The results as a table for people, and as data."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from testbed.mutants.mutant import CONFORMANCE, ON_PRIVATE_HOSTS, Mutant
from testbed.mutants.trial import Seen

_HEADINGS = ("mutant", "what is wrong", "caught by", "seen", "s")
_SURVIVED, _UNTRIED = "SURVIVED", "could not be tried"
_ROW = re.compile(r"^\| `([^`]+)` \| .* \|$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one mutant: `seen` by a scenario, or `trouble`; neither: it survived."""

    mutant: Mutant
    elapsed_s: float
    seen: Seen | None = None
    trouble: str = ""

    @property
    def is_caught(self) -> bool:
        """Whether a scenario noticed."""
        return self.seen is not None and not self.trouble

    @property
    def verdict(self) -> str:
        """The scenario that caught it, or what happened instead, in a few words."""
        if self.trouble:
            return _UNTRIED
        return self.seen.test if self.seen else _SURVIVED

    @property
    def how(self) -> str:
        """What the scenario looked at."""
        if self.seen is None:
            return ""
        if self.seen.test.startswith(CONFORMANCE):
            return "conformance"
        if self.seen.test.startswith(ON_PRIVATE_HOSTS):
            return "host"
        return "wire" if self.seen.on_the_wire else "socket"


def as_text(mutants: Sequence[Mutant], results: Sequence[Result], former: str = "") -> str:
    """Return the table of `mutants` in Markdown, of those not in `results` as `former` has them.

    A former row of a mutant that means something else by now is left out.
    """
    rows = {found[1]: found[0] for found in _ROW.finditer(former)}
    rows |= {result.mutant.name: _line(_cells(result)) for result in results}
    shown = [m for m in mutants if rows.get(m.name, "").startswith(_start(m))]
    lines = [_line(_HEADINGS), _line(["---"] * len(_HEADINGS)), *(rows[m.name] for m in shown)]
    caught = sum(not {_SURVIVED, _UNTRIED} & set(rows[m.name].split(" | ")) for m in shown)
    lines += ["", f"{caught} of {len(mutants)} mutants caught."]
    missing = [f"`{mutant.name}`" for mutant in mutants if mutant not in shown]
    if missing:
        lines += ["", f"Not tried: {', '.join(missing)}."]
    for result in results:
        if result.trouble:
            lines += ["", f"`{result.mutant.name}`: {result.trouble}"]
    return "\n".join(lines) + "\n"


def as_json(results: Sequence[Result]) -> str:
    """Return the same as JSON."""
    told = [
        {
            "mutant": result.mutant.name,
            "what": result.mutant.what,
            "caught": result.is_caught,
            "by": asdict(result.seen) if result.seen else None,
            "trouble": result.trouble,
            "elapsed_s": round(result.elapsed_s, 1),
        }
        for result in results
    ]
    return json.dumps(told, indent=1) + "\n"


def _start(mutant: Mutant) -> str:
    return f"| `{mutant.name}` | {mutant.what} | "


def _cells(result: Result) -> list[str]:
    mutant = result.mutant
    return [
        f"`{mutant.name}`",
        mutant.what,
        result.verdict,
        result.how,
        f"{result.elapsed_s:.0f}",
    ]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
