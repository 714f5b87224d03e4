"""The results as a table for people, and as data."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from testbed.mutants.mutant import Mutant
from testbed.mutants.trial import Seen

_HEADINGS = ("mutant", "what is wrong", "caught by", "seen", "s")


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
        return self.seen is not None

    @property
    def is_as_expected(self) -> bool:
        """Whether it was caught, or no scenario could and none did."""
        return not self.trouble and self.is_caught is not bool(self.mutant.equivalent)

    @property
    def verdict(self) -> str:
        """The scenario that caught it, or what happened instead, in a few words."""
        if self.trouble:
            return "could not be tried"
        if self.seen is None:
            return "equivalent, see below" if self.mutant.equivalent else "SURVIVED"
        return self.seen.test


def as_text(results: Sequence[Result]) -> str:
    """Return the table in Markdown, with the reasons of equivalent mutants below."""
    lines = [_line(_HEADINGS), _line(["---"] * len(_HEADINGS))]
    lines += [_line(_cells(result)) for result in results]
    counted = [result for result in results if not result.mutant.equivalent]
    caught = sum(result.is_caught for result in counted)
    lines += ["", f"{caught} of {len(counted)} mutants caught."]
    for result in results:
        if result.mutant.equivalent:
            lines += ["", f"`{result.mutant.name}` is equivalent: {result.mutant.equivalent}"]
        if result.trouble:
            lines += ["", f"`{result.mutant.name}`: {result.trouble}"]
    return "\n".join(lines) + "\n"


def as_json(results: Sequence[Result]) -> str:
    """Return the same as JSON."""
    told = [
        {
            "mutant": result.mutant.name,
            "what": result.mutant.what,
            "equivalent": result.mutant.equivalent,
            "caught": result.is_caught,
            "by": asdict(result.seen) if result.seen else None,
            "trouble": result.trouble,
            "elapsed_s": round(result.elapsed_s, 1),
            "as_expected": result.is_as_expected,
        }
        for result in results
    ]
    return json.dumps(told, indent=1) + "\n"


def _cells(result: Result) -> list[str]:
    seen = result.seen
    how = "" if seen is None else "wire" if seen.on_the_wire else "socket"
    mutant = result.mutant
    return [f"`{mutant.name}`", mutant.what, result.verdict, how, f"{result.elapsed_s:.0f}"]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
