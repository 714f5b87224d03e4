"""The reference of the command line: what `testbed VERB --help` prints."""

from __future__ import annotations

import typer.main
from typer.testing import CliRunner

from testbed.cli.verbs import app

_WIDTH = "96"
_INTRODUCTION = """\
# `testbed`

One grammar: a verb about a whole deployment takes its name, which may be left out while there is
one only; a verb about a part of one takes the part (`alpha:client`, `alpha:router`, `sut`), and the
deployment as `-n NAME`. Data goes to stdout, everything else to stderr. `--format json` is for
programs: [output.md](output.md). Errors say what is wrong, where, and below that what to do.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | something failed, or is unwell |
| 2 | bad input; nothing was made |
| 3 | the host or the SUT lacks something: `testbed doctor` says what |
| 130 | interrupted by Ctrl-C; what `up` or `down` had begun, the next one goes on with |

Completion for your shell: `testbed --install-completion`.
"""


def cli_page() -> str:
    """Return the page."""
    group = typer.main.get_command(app)
    verbs: list[str] = list(getattr(group, "commands"))  # noqa: B009 - typer's base class lacks it
    return "\n".join([_INTRODUCTION, *(_section(verb) for verb in verbs)])


def _section(verb: str) -> str:
    ran = CliRunner().invoke(app, [verb, "--help"], env={"COLUMNS": _WIDTH}, prog_name="testbed")
    lines = [line.rstrip() for line in ran.output.strip().splitlines()]
    return "\n".join([f"## `testbed {verb}`\n", "```", *lines, "```", ""])
