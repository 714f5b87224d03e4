"""The entry of the `testbed` command: runs a verb, tells errors, exits with a documented code."""

from __future__ import annotations

import errno
import gc
import io
import os
import signal
import sys
from contextlib import nullcontext
from typing import NoReturn

from testbed.cli.telling import tell, tell_error, tell_interrupted
from testbed.errors import ExitCode, InputError, TestbedError

_CHANGING = ("up", "down", "clean", "replay")
"""Verbs of which an interruption may leave something half done."""
_GARBAGE_AT = 20_000
"""Objects between two looks for garbage: imports make no garbage, and many objects, and would take a
tenth longer with Python's 700."""


def main() -> NoReturn:
    """Run the command line and exit with a documented code."""
    # Before the imports that take most of a short command's time: nothing is begun yet.
    signal.signal(signal.SIGINT, lambda *_: os._exit(ExitCode.INTERRUPTED))
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # else it is a test's
            stream.reconfigure(errors="replace")  # marks like ✔ are no error where there are none
    gc.set_threshold(_GARBAGE_AT)
    # No plugin of pydantic's is ours; the search for some reads all that is installed, for 40 ms.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    import typer
    from typer.exceptions import TyperException

    from testbed.cli.completing import after_colon, mend_colons
    from testbed.cli.verbs import app

    # At once, from wherever we are: waiting for threads at work could take minutes.
    signal.signal(signal.SIGINT, lambda *_: _leave_interrupted())
    is_after_colon = mend_colons(os.environ)
    try:
        # Not "standalone": that would turn Ctrl-C into exit code 1 and hide our own errors.
        with after_colon() if is_after_colon else nullcontext():
            code = app(standalone_mode=False)
        sys.stdout.flush()
    except (KeyboardInterrupt, typer.Abort):
        _leave_interrupted()
    except TyperException as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None else "testbed"
        if sys.argv[1:]:
            tell_error(error.format_message(), f"see: {command} --help")
        else:
            tell(error.format_message())  # the help
        sys.exit(ExitCode.BAD_INPUT)
    except BrokenPipeError:
        _leave_unread()
    except SystemExit as left:
        if isinstance(left.__context__, BrokenPipeError):  # typer and rich make 1 of it
            _leave_unread()
        raise
    except (TestbedError, BaseExceptionGroup, OSError) as error:
        sys.exit(_report(error))
    sys.exit(code if isinstance(code, int) else ExitCode.DONE)


def _open_closed_streams() -> None:
    """Open what our caller has closed of the standard streams: else the next file opened is one."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            handle = os.open(os.devnull, os.O_RDWR)
            if handle != number:
                os.dup2(handle, number)
                os.close(handle)
            setattr(sys, name, os.fdopen(number, mode))


def _leave_unread() -> NoReturn:
    """Leave as done: the reader of `testbed status | head` has seen enough."""
    os._exit(ExitCode.DONE)  # what is still to be written can go nowhere


def _leave_interrupted() -> NoReturn:
    """Leave at once, threads and all: the next `up` or `down` repairs any state."""
    is_changing = sys.argv[1:2] and sys.argv[1] in _CHANGING
    tell_interrupted(
        "interrupted" if is_changing else "",
        "go on with `testbed up`, or remove everything with `testbed down`",
    )
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
    if isinstance(error, InputError):
        for problem in error.problems:
            tell_error(f"{problem.where or repr('')}: {problem.what}", problem.hint)
        return error.exit_code
    if isinstance(error, TestbedError):
        tell_error(error.message, error.hint)
        return error.exit_code
    if isinstance(error, PermissionError) and os.geteuid() != 0:
        tell_error(_words(error), "run it with sudo")
        return ExitCode.ENVIRONMENT
    if isinstance(error, OSError):
        tell_error(_words(error), "testbed doctor looks at what this host lacks")
        return ExitCode.FAILED
    tell("a bug of ours: please report this")
    raise error  # its traceback is what we need


def _words(error: OSError) -> str:
    """Say which file it is about, and what the kernel said."""
    what = error.strerror or str(error)
    if error.errno == errno.ENOSPC and not error.filename:
        return f"cannot write: {what}"  # files are named when they are opened, not written to
    return f"{error.filename}: {what}" if error.filename else what


if __name__ == "__main__":
    main()
