"""What a command says beside its data: errors on stderr, each with what to do; tables on stdout.

Errors are written without rich, so that a command that only fails fails at once.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

_RED, _PLAIN, _SHOW_CURSOR = "\033[1;31m", "\033[0m", "\033[?25h"
_WIDTH_OF_PIPES = 160


def tell_error(message: str, hint: str = "") -> None:
    """Print one error, and below it what to do."""
    lead = f"{_RED}error:{_PLAIN}" if _has_colours() else "error:"
    below = "".join(f"    {line.strip()}\n" for line in hint.splitlines())
    sys.stderr.write(f"{lead} {message}\n{below}")


def tell(line: str) -> None:
    """Print one line beside the data: on stderr."""
    sys.stderr.write(f"{line}\n")


def show_cursor() -> None:
    """Bring the cursor back that a live display has hidden."""
    if sys.stderr.isatty():
        sys.stderr.write(_SHOW_CURSOR)


def console() -> Console:
    """Return where tables go; what is no terminal is wide enough to break no line of them."""
    from rich.console import Console  # noqa: PLC0415 - takes longer than a short command

    if sys.stdout.isatty() or "COLUMNS" in os.environ:
        return Console()
    return Console(width=_WIDTH_OF_PIPES)


def steps() -> Console:
    """Return where steps are shown while a command works."""
    from rich.console import Console  # noqa: PLC0415

    return Console(stderr=True)


def _has_colours() -> bool:
    return sys.stderr.isatty() and not os.environ.get("NO_COLOR")
