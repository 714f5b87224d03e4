"""The arguments and options that several verbs share, and their completion by the shell.

Light: whatever takes time to import is imported by who needs it, so that `testbed --help` and a
shell's completion answer at once.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from testbed.cli import completing

EXIT_CODES = (
    "Exit codes: 0 done, 1 failed or unwell, 2 bad input, 3 the host or the SUT lacks something, "
    "130 interrupted."
)
DEFAULT_TOPOLOGY = Path(__file__).parents[2] / "topologies" / "proposal.yaml"


class Format(StrEnum):
    """How data is printed."""

    TABLE = "table"
    JSON = "json"


class Progress(StrEnum):
    """How steps are shown while a command works."""

    AUTO = "auto"
    PLAIN = "plain"
    JSON = "json"
    QUIET = "quiet"


class Drawing(StrEnum):
    """How a picture is drawn."""

    TEXT = "text"
    SVG = "svg"


TopologyArgument = Annotated[
    Path,
    typer.Argument(
        metavar="TOPOLOGY", help="A topology file.", show_default="topologies/proposal.yaml"
    ),
]
NameArgument = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="A deployment's name or id; the only one there is unless given.",
        envvar="TESTBED_DEPLOYMENT",
        autocompletion=completing.deployments,
        show_default=False,
    ),
]
NameOption = Annotated[
    str,
    typer.Option(
        "--name",
        "-n",
        help="A deployment's name or id; the only one unless given.",
        envvar="TESTBED_DEPLOYMENT",
        autocompletion=completing.deployments,
        show_default=False,
    ),
]
TargetArgument = Annotated[
    str,
    typer.Argument(
        metavar="TARGET",
        help="TENANT:ROLE (client, dns, ldap, kdc), TENANT:router or sut.",
        autocompletion=completing.targets,
    ),
]
FormatOption = Annotated[Format, typer.Option("--format", "-f", help="For people or programs.")]
ProgressOption = Annotated[
    Progress, typer.Option("--progress", help="How steps are shown while the command works.")
]


def is_given(context: typer.Context, parameter: str) -> bool:
    """Whether it stands on the command line itself: an environment variable is no contradiction."""
    source = context.get_parameter_source(parameter)
    return source is not None and source.name == "COMMANDLINE"
