"""fibctl: arguments, output and exit codes; what it does is in the modules it calls."""

from __future__ import annotations

import argparse
import gc
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from . import api, bpfmap, programs
from .apply import apply_again, apply_text, remove_everything, saved_document
from .breakage import PIECES, break_address, break_piece
from .document import FIB_MAX, InputError
from .explain import explain, explain_way
from .failure import EnvironmentFailure, StateFailure
from .live import Live
from .policy import set_policy
from .show import list_sockets, show
from .watch import watch

DONE, FAILED, BAD_INPUT, ENVIRONMENT, INTERRUPTED = 0, 1, 2, 3, 130

_EPILOG = """\
exit codes: 0 done; 1 the kernel refused something, or its state is wrong afterwards;
2 bad input, nothing was changed; 3 the system lacks something; 130 interrupted
"""


def main(arguments: list[str] | None = None) -> int:
    """Run fibctl; return its exit code."""
    options = _parser().parse_args(arguments)
    # The collector would walk thousands of FIBs again and again; the process ends soon.
    gc.disable()
    try:
        return int(options.run(options))
    except KeyboardInterrupt:
        return INTERRUPTED
    except (InputError, EnvironmentFailure, StateFailure, ExceptionGroup, OSError) as error:
        code, problems = _judge(error)
        for problem in problems:
            sys.stderr.write(f"fibctl: {problem}\n")
        return code


def _judge(error: Exception) -> tuple[int, list[str]]:
    """Return the exit code that says who can mend it, and the lines that say what it is."""
    if isinstance(error, InputError):
        return BAD_INPUT, error.problems
    if isinstance(error, ExceptionGroup):
        return FAILED, [str(each) for each in error.exceptions]
    if isinstance(error, (EnvironmentFailure, PermissionError)):
        return ENVIRONMENT, [str(error)]
    return FAILED, [str(error)]


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fibctl",
        description="Configure the FIBs of this system: which tenant each local address belongs "
        "to, and the routes each tenant has.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_apply(commands)
    _add_single(commands)
    _add_show(commands)
    _add_questions(commands)
    _add_trace(commands)
    _add_watch(commands)
    _add_exec(commands)
    _add_policy(commands)
    _add_break(commands)
    detach = commands.add_parser("detach", help="take everything off again: FIBs, then programs")
    detach.add_argument("interface")
    detach.set_defaults(run=_detach)
    return parser


def _add_apply(commands: Any) -> None:
    applied = commands.add_parser(
        "apply",
        help="bring the system to a JSON document",
        description="Read one JSON document, the whole desired state, and change what differs. "
        "Programs are attached when they are not. A wrong document changes nothing and all its "
        "problems are printed. Prints what was changed as one JSON object.",
    )
    applied.add_argument("file", nargs="?", default="-", help="the document; '-' is standard input")
    applied.set_defaults(run=_apply)


def _add_single(commands: Any) -> None:
    added = commands.add_parser(
        "add",
        help="add one FIB or some, leaving the others alone",
        description="Read one FIB, or a list of FIBs, as they stand in a document's 'fibs', and add "
        "them; one with the number and name of a FIB there is changes it. Nothing of any other FIB "
        "is touched. Bad input changes nothing; what the kernel refuses is taken back. Prints what "
        "was changed as one JSON object.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    added.add_argument("file", nargs="?", default="-", help="the FIBs; '-' is standard input")
    added.set_defaults(run=_add)
    deleted = commands.add_parser(
        "delete",
        help="delete FIBs, leaving the others alone",
        description="Delete FIBs by number: their sockets are aborted first, while their peers can "
        "still be told. A number that is not there is no error. Prints what was changed.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    deleted.add_argument("fib", nargs="+", type=int)
    deleted.set_defaults(run=_delete)


def _add_show(commands: Any) -> None:
    shown = commands.add_parser("show", help="show FIBs, addresses, routes and drop counters")
    shown.add_argument("--format", choices=("text", "json"), default="text")
    shown.set_defaults(run=_show)
    counters = commands.add_parser("counters", help="show how many frames were dropped, and why")
    counters.add_argument("--format", choices=("text", "json"), default="text")
    counters.set_defaults(run=_counters)


def _add_questions(commands: Any) -> None:
    explained = commands.add_parser(
        "explain",
        help="say which FIB an address is in, and which way a packet would go",
        description="Answer from the last document: the FIB of LOCAL and why; with REMOTE also "
        "route, next hop and source address. --fib K asks for an unbound socket of that FIB.",
    )
    explained.add_argument("local", metavar="LOCAL")
    explained.add_argument("remote", metavar="REMOTE", nargs="?")
    explained.add_argument("--fib", type=int, help="LOCAL is the remote address of this FIB")
    explained.add_argument("--format", choices=("text", "json"), default="text")
    explained.set_defaults(run=_explain)
    sockets = commands.add_parser("sockets", help="list TCP and UDP sockets with their FIB")
    sockets.add_argument("--fib", type=int, help="only this FIB")
    sockets.add_argument("--format", choices=("text", "json"), default="text")
    sockets.set_defaults(run=_sockets)


def _add_trace(commands: Any) -> None:
    traced = commands.add_parser(
        "trace",
        help="tell every new thread, socket and connection with its FIB",
        description="Print one JSON object a line for each thread that is started and each socket "
        "that is made or connected, by whom and in which FIB, until standard input ends.",
    )
    traced.set_defaults(run=_trace)


def _add_watch(commands: Any) -> None:
    watched = commands.add_parser(
        "watch",
        help="refuse addresses of FIBs that somebody adds by hand",
        description="Watch the addresses of all interfaces until interrupted. One that belongs to a "
        "FIB, or to the interface of the FIBs, and was added by hand, is removed again; one that was "
        "removed by hand is told. Each alarm is a line that names the owner. Until then the address is "
        "in its owner's FIB, and what comes for it by another interface is not heard.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    watched.add_argument("--format", choices=("text", "json"), default="text")
    watched.set_defaults(run=_watch)


def _add_exec(commands: Any) -> None:
    executed = commands.add_parser(
        "exec",
        help="run a command in a FIB",
        description="Run a command whose sockets, and those of all it starts, are in FIB. "
        "Needs no privilege.",
    )
    executed.add_argument("fib", type=int, help=f"0 to {FIB_MAX}")
    executed.add_argument("command", nargs=argparse.REMAINDER, metavar="-- COMMAND")
    executed.set_defaults(run=_exec)


def _add_policy(commands: Any) -> None:
    policy = commands.add_parser(
        "policy",
        help="set what holds for a cgroup: a jail, accept sets the thread's FIB",
        description="Replace the policy of CGROUP (a path below /sys/fs/cgroup), which holds for "
        "all below it as well. Without an option the policy is taken away.",
    )
    policy.add_argument("cgroup", type=Path)
    policy.add_argument(
        "--jail",
        metavar="FIB,...",
        help="only these FIBs may be used; everything else is EPERM. 0 means wildcard sockets, "
        "which may speak for every FIB",
    )
    policy.add_argument(
        "--accept-sets-thread",
        action="store_true",
        help="accept() also sets the accepting thread's FIB (unmodified forking daemons)",
    )
    policy.set_defaults(run=_policy)


def _add_break(commands: Any) -> None:
    pieces = "\n".join(f"  {name:14}{what}" for name, (what, _) in PIECES.items())
    broken = commands.add_parser(
        "break",
        help="negative controls: make one piece wrong",
        description="Make one piece of the extensions wrong, so that a test can show that it "
        "would notice; --undo mends all of them and checks the result.\n\npieces:\n"
        f"{pieces}\n  {'address':14}the data path takes --address for one of --fib",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    broken.add_argument("piece", nargs="?", choices=(*PIECES, "address"))
    broken.add_argument("--address")
    broken.add_argument("--fib", type=int)
    broken.add_argument("--undo", action="store_true")
    broken.set_defaults(run=_break)


def _read(file: str) -> str:
    if file == "-":
        return sys.stdin.read()
    try:
        return Path(file).read_text("utf-8")
    except OSError as error:
        raise InputError([str(error)]) from error


def _apply(options: argparse.Namespace) -> int:
    _say(json.dumps(apply_text(_read(options.file))))
    return DONE


def _add(options: argparse.Namespace) -> int:
    try:
        data = json.loads(_read(options.file))
    except ValueError as error:
        raise InputError([f"not JSON: {error}"]) from error
    with Live() as live:
        _say(json.dumps(live.add(data)))
    return DONE


def _delete(options: argparse.Namespace) -> int:
    with Live() as live:
        _say(json.dumps(live.delete(options.fib)))
    return DONE


def _show(options: argparse.Namespace) -> int:
    state = show()
    if options.format == "json":
        _say(json.dumps(state))
        return DONE
    for key in ("interface", "default_fib", "strict_mac", "unassigned"):
        value = state[key]
        _say(f"{key}: {' '.join(value) if isinstance(value, list) else value}")
    for key in ("broken", "missing_programs", "unknown_addresses"):
        if state[key]:
            _say(f"{key}: {' '.join(state[key])}")
    for fib in state["fibs"]:
        _say(f"FIB {fib['id']} {fib['name']}: {' '.join(fib['addresses'])}")
        for route in fib["routes"]:
            _say("    " + " ".join(f"{key} {value}" for key, value in route.items()))
    return DONE


def _counters(options: argparse.Namespace) -> int:
    drops = bpfmap.read_drops()
    if options.format == "json":
        _say(json.dumps(drops))
    else:
        for name, count in drops.items():
            _say(f"{name:14}{count:>12}")
    return DONE


def _explain(options: argparse.Namespace) -> int:
    document = saved_document()
    if options.fib is None:
        answer = explain(document, options.local, options.remote)
    else:
        answer = explain_way(document, options.fib, options.local)
    if options.format == "json":
        _say(json.dumps(answer))
    else:
        for key, value in answer.items():
            _say(f"{key}: {value}")
    return DONE


def _sockets(options: argparse.Namespace) -> int:
    entries = list_sockets(options.fib)
    if options.format == "json":
        _say(json.dumps(entries))
        return DONE
    for entry in entries:
        _say(
            f"{entry['fib']:>5} {entry['protocol']:4} {entry['state']:12} "
            f"{entry['local']} {entry['remote']}"
        )
    return DONE


def _exec(options: argparse.Namespace) -> int:
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not command:
        raise InputError(["exec: no command"])
    try:
        api.thread_fib(options.fib)
    except OSError as error:
        if 0 <= options.fib <= FIB_MAX:
            raise EnvironmentFailure("the FIB programs are not attached") from error
        raise InputError([f"exec: {options.fib} is not between 0 and {FIB_MAX}"]) from error
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it; the command must not
    os.execvp(command[0], command)


def _trace(_: argparse.Namespace) -> int:
    directory = programs.directory()
    os.execv(directory / "fib-trace", ["fib-trace", str(directory)])


def _watch(options: argparse.Namespace) -> int:
    def say(alarm: dict[str, str]) -> None:
        text = f"address {alarm['address']} on '{alarm['interface']}': {alarm['alarm']}"
        sys.stdout.write((json.dumps(alarm) if options.format == "json" else text) + "\n")
        sys.stdout.flush()

    watch(say)
    return DONE


def _policy(options: argparse.Namespace) -> int:
    jail = None
    if options.jail is not None:
        try:
            jail = [int(number) for number in options.jail.split(",")]
        except ValueError as error:
            raise InputError([f"policy: '{options.jail}' is not a list of FIBs"]) from error
        if not all(0 <= number <= FIB_MAX for number in jail):
            raise InputError([f"policy: a FIB is between 0 and {FIB_MAX}"])
    set_policy(options.cgroup, accept_sets_thread=options.accept_sets_thread, jail=jail)
    return DONE


def _break(options: argparse.Namespace) -> int:
    if options.undo:
        _say(json.dumps(apply_again()))
        return DONE
    if options.piece is None:
        raise InputError(["break: name a piece, or --undo"])
    if options.piece == "address":
        if options.address is None or options.fib is None:
            raise InputError(["break address: needs --address and --fib"])
        break_address(options.address, options.fib)
    else:
        break_piece(options.piece)
    return DONE


def _detach(options: argparse.Namespace) -> int:
    remove_everything(options.interface)
    return DONE
