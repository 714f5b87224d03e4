"""The verbs of `testbed`: their arguments, options and help; what they do lives in other modules.

One grammar: a verb about a whole deployment takes its name; a verb about a part of one takes the part
(`alpha:client`, `alpha:router`, `sut`) and, where several deployments are up, the name as `-n NAME`.
Verbs import what they need themselves, so that none waits for what another needs.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from testbed.cli import completing
from testbed.cli.options import (
    DEFAULT_TOPOLOGY,
    EXIT_CODES,
    Drawing,
    Format,
    FormatOption,
    NameArgument,
    NameOption,
    Progress,
    ProgressOption,
    TargetArgument,
    TopologyArgument,
    is_given,
)
from testbed.errors import ExitCode

Verb = TypeVar("Verb", bound=Callable[..., None])

app = typer.Typer(
    name="testbed",
    help=(
        "Test servers that serve thousands of tenant networks at once.\n\n"
        "A topology describes tenants whose networks overlap; `testbed up` builds them from Docker "
        "networks and starts the system under test, a VM with the FIB extensions."
    ),
    epilog=EXIT_CODES,
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # drawing help in boxes would take longer than most verbs
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _tell_version(is_asked: bool) -> None:  # noqa: FBT001 - as typer calls it
    if is_asked:
        from importlib.metadata import version

        typer.echo(f"testbed {version('testbed')}")
        raise typer.Exit


@app.callback()
def _main(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", help="Show the version and exit.", callback=_tell_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Take what stands before a verb."""


def _verb(codes: str = EXIT_CODES, **settings: object) -> Callable[[Verb], Verb]:
    """Make a command of a function; its help ends with its exit codes."""
    return app.command(epilog=codes, **settings)  # type: ignore[arg-type]  # typer's own options


@_verb()
def up(
    topology: TopologyArgument = DEFAULT_TOPOLOGY,
    name: Annotated[str, typer.Option("--name", "-n", help="Another name than its own.")] = "",
    progress: ProgressOption = Progress.AUTO,
    check: Annotated[
        bool, typer.Option(help="End with a login of every tenant's client, end to end.")
    ] = True,
    output: FormatOption = Format.TABLE,
) -> None:
    """Bring a topology up, or repair it.

    Makes what is missing and leaves the rest alone. Ends with a login of every tenant's client.
    """
    from testbed.cli.starting import bring_up, print_ready
    from testbed.cli.steps import shown_events

    with shown_events(progress) as events:
        ready = bring_up(topology, events, name=name, check=check)
    print_ready(ready, as_json=output is Format.JSON)
    raise typer.Exit(ready.exit_code)


@_verb()
def down(
    context: typer.Context,
    name: NameArgument = "",
    everything: Annotated[bool, typer.Option("--all", help="All deployments.")] = False,
    leave_sut: Annotated[
        bool, typer.Option("--leave-sut", help="Leave a machine of yours as it is.")
    ] = False,
    progress: ProgressOption = Progress.AUTO,
) -> None:
    """Remove a deployment, in whatever state.

    Only what carries its id is touched. One that is not there is fine. FIBs and daemon are taken
    off a machine of yours, too; if it cannot be reached any more, leave it as it is.
    """
    from testbed.cli.removing import take_down
    from testbed.cli.steps import shown_events

    if everything and is_given(context, "name"):
        raise typer.BadParameter(f"{name!r} and --all are named: name one of them")
    with shown_events(progress) as events:
        take_down(events, name=name, everything=everything, leave_sut=leave_sut)


@_verb()
def status(name: NameArgument = "", output: FormatOption = Format.TABLE) -> None:
    """Show health, drift from the plan, leases.

    Everything is asked now: services a real question, the SUT its FIBs. Exit code 1 when something
    is unwell.
    """
    from testbed.cli import status as told

    if not told.print_status(name, as_json=output is Format.JSON):
        raise typer.Exit(ExitCode.FAILED)


@_verb()
def plan(
    topology: TopologyArgument = DEFAULT_TOPOLOGY, output: FormatOption = Format.TABLE
) -> None:
    """Show what `up` would make, make nothing.

    Names and addresses are those of an example deployment.
    """
    from testbed.cli.plan import print_plan

    print_plan(topology, as_json=output is Format.JSON)


@_verb()
def inspect(
    target: Annotated[
        str,
        typer.Argument(metavar="TARGET", help="TENANT or sut.", autocompletion=completing.tenants),
    ],
    name: NameOption = "",
    output: FormatOption = Format.TABLE,
) -> None:
    """Show all of one tenant, or of the SUT.

    What is planned, what is there, and commands that look closer.
    """
    from testbed.cli.inspect import print_inspection

    print_inspection(name, target, as_json=output is Format.JSON)


@_verb(
    "Exit codes: the command's own, 130 after Ctrl-C; before it runs, as of the other verbs.",
    name="exec",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def execute(
    target: TargetArgument,
    command: Annotated[
        list[str], typer.Argument(metavar="COMMAND...", help="The command and its arguments.")
    ],
    name: NameOption = "",
) -> None:
    """Run a command at a tenant or in the SUT.

    In a tenant's container or in its router's namespace. Its exit code is ours. It ends with
    `testbed exec`, by Ctrl-C or any signal; with a terminal a SIGKILL leaves it to itself.
    """
    from testbed.cli import inside

    inside.go_inside(name, target, command)


@_verb("Exit codes: the shell's own; before it runs, as of the other verbs.")
def shell(target: TargetArgument = "sut", name: NameOption = "") -> None:
    """Open a shell at a tenant or in the SUT."""
    from testbed.cli import inside

    inside.go_inside(name, target, [])


@_verb()
def logs(
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET",
            help="TENANT:ROLE, sut, daemon, ipam or dockerd.",
            autocompletion=completing.logs,
        ),
    ],
    name: NameOption = "",
    tail: Annotated[int, typer.Option(help="How many lines, counted from the end.", min=1)] = 100,
) -> None:
    """Show the end of a log.

    Of a container, of the SUT's console, of its daemon, of the IPAM driver or of a dockerd of ours.
    """
    from testbed.cli import inside

    inside.show_log(name, target, tail)


@_verb(
    "Exit codes: 0 ended by Ctrl-C, the reader or a limit; 1 frames were lost, or the link went."
)
def capture(
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET",
            help="TENANT: its frames between router and SUT. TENANT:lan: its own network. "
            "sut: all tenants' frames.",
            autocompletion=completing.segments,
        ),
    ],
    output: Annotated[
        str, typer.Option("--output", "-o", help="A pcap file; - is standard output.")
    ] = "-",
    count: Annotated[int, typer.Option(help="End after as many frames; 0: never.", min=0)] = 0,
    seconds: Annotated[float, typer.Option(help="End after this time; 0: never.", min=0)] = 0.0,
    name: NameOption = "",
) -> None:
    """Stream frames as pcap, as they come.

    For Wireshark: testbed capture alpha | wireshark -k -i - (or tcpdump -nr -). Ctrl-C ends it.
    """
    from testbed.cli.capture import capture_frames

    capture_frames(name, target, output, count=count, seconds=seconds)


@_verb()
def graph(
    context: typer.Context,
    name: NameArgument = "",
    topology: Annotated[
        Path | None, typer.Option("--topology", "-t", help="Draw this file instead.")
    ] = None,
    output: Annotated[
        str, typer.Option("--output", "-o", help="A file; - is standard output.")
    ] = "-",
    drawing: Annotated[
        Drawing | None, typer.Option("--format", "-f", help="svg if the file is called so.")
    ] = None,
) -> None:
    """Draw a deployment or a topology.

    As a tree on the terminal, or as SVG.
    """
    from testbed.cli.graph import draw

    if topology is not None and is_given(context, "name"):
        raise typer.BadParameter(f"{name!r} and --topology are named: name one of them")
    draw(name, topology, output, drawing)


@_verb()
def events(
    name: NameArgument = "",
    follow: Annotated[bool, typer.Option("--follow", help="Go on as things happen.")] = False,
    tail: Annotated[int, typer.Option(help="How many, counted from the end.", min=0)] = 50,
    output: FormatOption = Format.TABLE,
) -> None:
    """Show what was done, and by whom.

    Steps of `up` and `down`, repairs, leases of scenarios.
    """
    from testbed.cli.history import print_events

    print_events(name, follow=follow, tail=tail, as_json=output is Format.JSON)


@_verb()
def doctor(output: FormatOption = Format.TABLE) -> None:
    """Look whether this host is fit.

    Names everything that is missing at once, each with what mends it.
    """
    from testbed.cli.doctor import print_findings

    if not print_findings(as_json=output is Format.JSON):
        raise typer.Exit(ExitCode.ENVIRONMENT)


@_verb()
def clean(
    cache: Annotated[
        bool, typer.Option("--cache", help="Remove built images and snapshots as well.")
    ] = False,
    progress: ProgressOption = Progress.AUTO,
) -> None:
    """Remove all deployments, and what was built.

    Also what a kill left half-made. Images and snapshots go with --cache only.
    """
    from testbed.cli.removing import clean as remove_all
    from testbed.cli.steps import shown_events

    with shown_events(progress) as events:
        remove_all(events, cache=cache)


@_verb("Exit codes: 0 the test passes, 1 it fails, 2 no bundle, 3 the host lacks something.")
def replay(
    bundle: Annotated[
        Path, typer.Argument(metavar="BUNDLE", help="The bundle that a failed scenario has left.")
    ],
    shell: Annotated[
        bool,
        typer.Option("--shell", help="Then a shell; leaving it removes everything."),
    ] = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="Stay up afterwards, until `testbed down`.")
    ] = False,
) -> None:
    """Run a failed scenario again.

    On just the tenants that it had, with the same addresses, FIBs, users and seed.
    """
    from testbed.cli.replay import replay as run_again

    raise typer.Exit(run_again(bundle, keep=keep, shell=shell))
