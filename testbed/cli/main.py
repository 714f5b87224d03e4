"""The `testbed` command. Verbs are defined here; what they do lives in `testbed.lifecycle`.

Exit codes: 0 done, 1 failed, 2 bad input, 3 the host lacks something, 130 interrupted.
Handlers import what they need themselves, so that `testbed --help` answers at once.
"""

from __future__ import annotations

import os
import signal
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from typer.exceptions import TyperException

from testbed.cli.render import Progress, shown_events
from testbed.errors import ExitCode, TestbedError

app = typer.Typer(
    name="testbed",
    help=(
        "Test servers that serve thousands of tenant networks at once.\n\n"
        "A topology describes tenants whose networks overlap; `testbed up` builds them from Docker "
        "networks and starts the system under test, a VM with the FIB extensions.\n\n"
        "Exit codes: 0 done, 1 failed, 2 bad input, 3 the host lacks something, 130 interrupted."
    ),
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Format(StrEnum):
    """How data is printed."""

    TABLE = "table"
    JSON = "json"


DEFAULT_TOPOLOGY = Path(__file__).parents[2] / "topologies" / "proposal.yaml"

TopologyArgument = Annotated[
    Path, typer.Argument(help="A topology file.", show_default="topologies/proposal.yaml")
]
NameArgument = Annotated[
    str, typer.Argument(help="A deployment's name or id; the only one there is unless given.")
]
NameOption = Annotated[
    str, typer.Option("--name", "-n", help="A deployment's name or id; the only one unless given.")
]
FormatOption = Annotated[Format, typer.Option("--format", "-f", help="For people or programs.")]
ProgressOption = Annotated[
    Progress, typer.Option("--progress", help="How steps are shown while the command works.")
]


@app.command()
def up(
    topology: TopologyArgument = DEFAULT_TOPOLOGY,
    name: Annotated[str, typer.Option(help="Another name than the topology's.")] = "",
    progress: ProgressOption = Progress.AUTO,
    check: Annotated[
        bool, typer.Option(help="End with a login of every tenant's client, end to end.")
    ] = True,
) -> None:
    """Bring a topology up, or repair it: makes what is missing and leaves the rest alone."""
    from testbed.cli import commands

    with shown_events(progress, _errors()) as events:
        ready = commands.bring_up(topology, events, name=name, check=check)
    commands.print_ready(Console(), ready)
    if not ready.ok:
        raise typer.Exit(ExitCode.FAILED)


@app.command()
def down(
    name: NameArgument = "",
    everything: Annotated[bool, typer.Option("--all", help="All deployments.")] = False,
    progress: ProgressOption = Progress.AUTO,
) -> None:
    """Remove a deployment whole, in whatever state it is; nothing else is touched."""
    from testbed.cli import commands

    with shown_events(progress, _errors()) as events:
        commands.take_down(events, name=name, everything=everything)


@app.command()
def status(name: NameArgument = "", output: FormatOption = Format.TABLE) -> None:
    """Show what runs, how it is, and who leases what. Exit code 1 when something is unwell."""
    from testbed.cli import commands

    if not commands.print_status(Console(), name, as_json=output is Format.JSON):
        raise typer.Exit(ExitCode.FAILED)


@app.command()
def plan(
    topology: TopologyArgument = DEFAULT_TOPOLOGY, output: FormatOption = Format.TABLE
) -> None:
    """Show everything `up` would make of a topology, without making anything."""
    from testbed.cli.plan import print_plan

    print_plan(Console(), topology, as_json=output is Format.JSON)


@app.command("exec", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def execute(
    target: Annotated[str, typer.Argument(help="TENANT:ROLE, TENANT:router or sut.")],
    command: Annotated[list[str], typer.Argument(help="The command and its arguments.")],
    name: NameOption = "",
) -> None:
    """Run a command in a tenant's container or router, or in the SUT; its exit code is ours."""
    from testbed.cli import inside

    inside.replace_by_command(name, target, command)


@app.command()
def shell(
    target: Annotated[str, typer.Argument(help="TENANT:ROLE, TENANT:router or sut.")] = "sut",
    name: NameOption = "",
) -> None:
    """Open a shell in a tenant's container or router, or in the SUT."""
    from testbed.cli import inside

    inside.replace_by_command(name, target, [])


@app.command()
def logs(
    target: Annotated[str, typer.Argument(help="TENANT:ROLE, sut, daemon, ipam or dockerd.")],
    name: NameOption = "",
    tail: Annotated[int, typer.Option(help="How many lines, counted from the end.", min=1)] = 100,
) -> None:
    """Show the log of a container, the SUT's console, its daemon, or a helper of ours."""
    from testbed.cli import inside

    inside.show_log(name, target, tail)


@app.command()
def replay(
    bundle: Annotated[Path, typer.Argument(help="The bundle that a failed scenario has left.")],
    shell: Annotated[
        bool, typer.Option(help="Stay up afterwards, with a shell; leaving it removes everything.")
    ] = False,
    keep: Annotated[bool, typer.Option(help="Stay up afterwards, until `testbed down`.")] = False,
) -> None:
    """Run a failed scenario again: same tenants, addresses, FIBs, users and seed. 1: it failed."""
    from testbed.cli.replay import replay as run_again

    with shown_events(Progress.PLAIN, _errors()) as events:
        code = run_again(Console(), events, bundle, keep=keep, shell=shell)
    raise typer.Exit(code)


@app.command()
def doctor(output: FormatOption = Format.TABLE) -> None:
    """Look at everything the testbed needs on this host, and say how to mend what is unfit."""
    from testbed.cli import commands

    if not commands.print_findings(Console(), as_json=output is Format.JSON):
        raise typer.Exit(ExitCode.ENVIRONMENT)


@app.command()
def clean(
    cache: Annotated[bool, typer.Option(help="Remove built images and snapshots as well.")] = False,
    progress: ProgressOption = Progress.AUTO,
) -> None:
    """Remove all deployments and what a kill left half-made; with --cache all that was built."""
    from testbed.cli import commands

    with shown_events(progress, _errors()) as events:
        commands.clean(events, cache=cache)


def main() -> NoReturn:
    """Run the command line and exit with a documented code."""
    # At once, from wherever we are: waiting for threads at work could take minutes.
    signal.signal(signal.SIGINT, lambda *_: _leave_interrupted())
    try:
        # Not "standalone": that would turn Ctrl-C into exit code 1 and hide our own errors.
        code = app(standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        _leave_interrupted()
    except TyperException as error:
        _errors().print("error: ", style="bold red", end="")
        _errors().print(error.format_message(), markup=False, highlight=False, soft_wrap=True)
        _errors().print("    see: testbed --help, testbed COMMAND --help", highlight=False)
        sys.exit(ExitCode.BAD_INPUT)
    except BrokenPipeError:
        os._exit(ExitCode.DONE)  # `testbed status | head`: the reader has seen enough
    except (TestbedError, BaseExceptionGroup) as error:
        sys.exit(_report(error))
    sys.exit(code if isinstance(code, int) else ExitCode.DONE)


def _leave_interrupted() -> NoReturn:
    """Leave at once, threads and all: the next `up` or `down` repairs any state."""
    console = _errors()
    console.show_cursor()
    console.print("interrupted", style="bold red")
    console.print("  go on with `testbed up`, or remove everything with `testbed down`")
    os._exit(ExitCode.INTERRUPTED)


def _report(error: BaseException) -> ExitCode:
    """Print each error as one line with its hint below; return the gravest exit code."""
    codes = [_report_one(leaf) for leaf in _leaves(error)]
    return max(codes)


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
    return [error]


def _report_one(error: BaseException) -> ExitCode:
    if isinstance(error, KeyboardInterrupt):
        _leave_interrupted()
    if not isinstance(error, TestbedError | OSError):
        raise error  # a bug of ours: its traceback is what we need
    console, code = _errors(), ExitCode.FAILED
    message, hint = str(error), ""
    if isinstance(error, TestbedError):
        code, message, hint = error.exit_code, error.message, error.hint
    console.print("error: ", style="bold red", end="")
    console.print(message, markup=False, highlight=False, soft_wrap=True)
    if hint:
        console.print(f"    {hint}", markup=False, highlight=False, soft_wrap=True)
    return code


def _errors() -> Console:
    return Console(stderr=True)


if __name__ == "__main__":
    main()
