"""What was configured and is no more: lives as long as sockets may remember it.

An address that comes back in another FIB must not resume old connections (row 43), and a FIB's
number must not go to another tenant while sockets in TIME_WAIT may still bear it (row 45).
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Final, NamedTuple

from .address import to_address
from .document import Document, InputError

QUARANTINE_S: Final = 60.0
"""As long as the kernel keeps a socket in TIME_WAIT."""


class Retired(NamedTuple):
    """Former owners: address -> FIB, and FIB -> name and moment (monotonic clock)."""

    addresses: dict[str, int]
    fibs: dict[str, tuple[str, float]]

    @classmethod
    def load(cls, path: Path) -> Retired:
        """Read the record; none is an empty one."""
        if not path.exists():
            return cls({}, {})
        data = json.loads(path.read_text("utf-8"))
        fibs = {number: (name, moment) for number, (name, moment) in data["fibs"].items()}
        return cls(data["addresses"], fibs)

    def save(self, path: Path) -> None:
        """Write the record, whole or not at all."""
        temporary = path.with_suffix(".new")
        content = {"addresses": self.addresses, "fibs": self.fibs}
        temporary.write_text(json.dumps(content), "utf-8")
        temporary.rename(path)

    def check(self, document: Document) -> None:
        """Refuse numbers in quarantine.

        Raises:
            InputError: a retired number is to be another tenant's.
        """
        problems = []
        for fib in document.fibs:
            name, moment = self.fibs.get(str(fib.id), (fib.name, 0.0))
            left = moment + QUARANTINE_S - time.monotonic()
            if name != fib.name and left > 0:
                problems.append(
                    f"FIB {fib.id} '{fib.name}': the number was that of '{name}' "
                    f"and rests for another {left:.0f} s"
                )
        if problems:
            raise InputError(problems)

    def note(self, former: Document, document: Document) -> None:
        """Record what `document` takes away from `former`, and forget what it brings back."""
        for fib in former.fibs:
            self.fibs[str(fib.id)] = (fib.name, time.monotonic())
        for fib in document.fibs:
            self.fibs.pop(str(fib.id), None)
        before, after = former.owners(), document.owners()
        self.addresses.update((str(each), before[each]) for each in before.keys() - after)
        for text in [text for text in self.addresses if to_address(text) in after]:
            del self.addresses[text]

    def changed_owners(self, former: Document | None, document: Document) -> dict[bytes, int]:
        """Return the addresses (packed) that had another FIB before, with their new one."""
        before = {to_address(text): fib for text, fib in self.addresses.items()}
        if former is not None:
            before |= former.owners()
        return {
            address: fib
            for address, fib in document.owners().items()
            if before.get(address, fib) != fib
        }
