"""What a command says beside its data: errors on stderr, each with what to do; tables on stdout.

Errors are written without rich, so that a command that only fails fails at once.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

_RED, _PLAIN, _SHOW_CURSOR = "\033[1;31m", "\033[0m", "\033[?25h"
_WIDTH_OF_PIPES = 160


def printable(text: str) -> str:
    r"""Return `text` with what a terminal would obey, or cannot show, as it is written in Python.

    >>> printable("a\x1b[2Jb\nc")
    'a\\x1b[2Jb\nc'
    """
    return "".join(
        each if each.isprintable() or each == "\n" else each.encode("unicode_escape").decode()
        for each in text
    )


def tell_error(message: str, hint: str = "") -> None:
    """Print one error, and below it what to do."""
    sys.stderr.write(_error(message, hint))


def tell(line: str) -> None:
    """Print one line beside the data: on stderr."""
    sys.stderr.write(f"{printable(line)}\n")


def say(line: str) -> None:
    """Print one line of the data at once: what follows may take its time."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def tell_interrupted(message: str, hint: str) -> None:
    """Print an error, if there is a message, from a signal handler.

    Past all buffers, one of which may just be written to, and past a live display, whose steps stay
    to be seen; its cursor is shown again.
    """
    text = _error(message, hint) if message else ""
    if os.isatty(2):
        text = f"{_SHOW_CURSOR}\n{text}"
    with suppress(OSError):  # nobody is left to be told
        os.write(2, text.encode())


def _error(message: str, hint: str) -> str:
    lead = f"{_RED}error:{_PLAIN}" if _has_colours() else "error:"
    below = "".join(f"    {line.strip()}\n" for line in printable(hint).splitlines())
    return f"{lead} {printable(message)}\n{below}"


def console() -> Console:
    """Return where tables go; what is no terminal is wide enough to break no line of them."""
    from rich.console import Console  # takes longer than a short command

    if sys.stdout.isatty() or "COLUMNS" in os.environ:
        return Console()
    return Console(width=_WIDTH_OF_PIPES)


def steps() -> Console:
    """Return where steps are shown while a command works."""
    from rich.console import Console

    return Console(stderr=True)


def _has_colours() -> bool:
    return os.isatty(2) and not os.environ.get("NO_COLOR")
