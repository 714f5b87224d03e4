"""fibctl: output and exit codes; what it does is in the modules it calls.

Each command imports what it needs: on an emulated CPU all of it takes half a second.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from .arguments import parse
from .document import FIB_MAX, InputError
from .failure import EnvironmentFailure, StateFailure

DONE, FAILED, BAD_INPUT, ENVIRONMENT, INTERRUPTED = 0, 1, 2, 3, 130


def main(arguments: list[str] | None = None) -> int:
    """Run fibctl; return its exit code."""
    options = parse(arguments)
    # The collector would walk thousands of FIBs again and again; the process ends soon.
    gc.disable()
    try:
        return _COMMANDS[options.name](options)
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


def _read(file: str) -> str:
    if file == "-":
        return sys.stdin.read()
    try:
        return Path(file).read_text("utf-8")
    except OSError as error:
        raise InputError([str(error)]) from error


def _apply(options: argparse.Namespace) -> int:
    from .apply import apply_text

    _say(json.dumps(apply_text(_read(options.file))))
    return DONE


def _add(options: argparse.Namespace) -> int:
    from .live import Live

    try:
        data = json.loads(_read(options.file))
    except ValueError as error:
        raise InputError([f"not JSON: {error}"]) from error
    with Live() as live:
        _say(json.dumps(live.add(data)))
    return DONE


def _delete(options: argparse.Namespace) -> int:
    from .live import Live

    with Live() as live:
        _say(json.dumps(live.delete(options.fib)))
    return DONE


def _show(options: argparse.Namespace) -> int:
    from .show import show

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
    from . import bpfmap

    drops = bpfmap.read_drops()
    if options.format == "json":
        _say(json.dumps(drops))
    else:
        for name, count in drops.items():
            _say(f"{name:14}{count:>12}")
    return DONE


def _explain(options: argparse.Namespace) -> int:
    from .apply import saved_document
    from .explain import explain, explain_way

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
    from .show import list_sockets

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
    from . import api

    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not command:
        raise InputError(["exec: no command"])
    try:
        api.thread_fib(options.fib)
    except PermissionError as error:
        raise EnvironmentFailure(f"a jail forbids FIB {options.fib} here") from error
    except OSError as error:
        if 0 <= options.fib <= FIB_MAX:
            raise EnvironmentFailure("the FIB programs are not attached") from error
        raise InputError([f"exec: {options.fib} is not between 0 and {FIB_MAX}"]) from error
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it; the command must not
    try:
        os.execvp(command[0], command)
    except OSError as error:
        raise InputError([f"exec: cannot run '{command[0]}': {error.strerror}"]) from error


def _trace(_: argparse.Namespace) -> int:
    from . import programs

    directory = programs.directory()
    os.execv(directory / "fib-trace", ["fib-trace", str(directory)])


def _watch(options: argparse.Namespace) -> int:
    from .watch import watch

    def say(alarm: dict[str, str]) -> None:
        text = f"address {alarm['address']} on '{alarm['interface']}': {alarm['alarm']}"
        sys.stdout.write((json.dumps(alarm) if options.format == "json" else text) + "\n")
        sys.stdout.flush()

    watch(say)
    return DONE


def _policy(options: argparse.Namespace) -> int:
    from .policy import set_policy

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
    from .apply import apply_again
    from .breakage import break_address, break_piece

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
    from .apply import remove_everything

    remove_everything(options.interface)
    return DONE


_COMMANDS: Final[dict[str, Callable[[argparse.Namespace], int]]] = {
    "apply": _apply,
    "add": _add,
    "delete": _delete,
    "detach": _detach,
    "show": _show,
    "counters": _counters,
    "explain": _explain,
    "sockets": _sockets,
    "trace": _trace,
    "watch": _watch,
    "exec": _exec,
    "policy": _policy,
    "break": _break,
}
