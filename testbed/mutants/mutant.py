"""What a mutant is: a defect as a small exact change of the sources, or a flag of the daemon.

Most are of the extensions and the daemon, and are put into a running SUT. Those of the testbed itself
(`is_of_testbed`) are a copy of the repository, from which scenarios on private hosts run.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from testbed.errors import TestbedError

CONFORMANCE = "conformance/"
ON_PRIVATE_HOSTS = ("resilience/", "operation/test_own_machine.py")
_WORKING = ("__pycache__", ".git", ".venv", ".*_cache", ".hypothesis", "artifacts")
"""What a checkout has beside its files."""


@dataclass(frozen=True, slots=True)
class Patch:
    """One exact replacement in `file`: a path below testbed/fib, or of a mutant of the testbed itself."""

    file: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Mutant:
    """A defect, and which scenario is expected to notice.

    `hint` are pytest's node ids below scenarios/, cheapest first. `defects` are flags of tenantd.
    """

    name: str
    what: str
    hint: tuple[str, ...]
    patches: tuple[Patch, ...] = ()
    defects: tuple[str, ...] = ()

    @property
    def is_compiled(self) -> bool:
        """Whether the eBPF objects must be built again."""
        return any(patch.file.startswith("bpf/") for patch in self.patches)

    @property
    def is_of_testbed(self) -> bool:
        """Whether it is a defect of the testbed itself; its patches are of files of the repository."""
        return any(node.startswith(ON_PRIVATE_HOSTS) for node in self.hint)

    @property
    def needs_conformance(self) -> bool:
        """Whether a module of the conformance suite is to notice: it has a topology of its own."""
        return any(node.startswith(CONFORMANCE) for node in self.hint)


def copy_tree(source: Path, target: Path, patches: Sequence[Patch]) -> Path:
    """Copy the extensions, or the repository, to `target` and apply `patches` there; return `target`.

    Raises:
        TestbedError: when a patch does not apply exactly once.
    """
    shutil.copytree(source, target, ignore=shutil.ignore_patterns(*_WORKING))
    for file, text in changed_files(source, patches).items():
        (target / file).write_text(text)
    return target


def changed_files(source: Path, patches: Sequence[Patch]) -> dict[str, str]:
    """Return what `patches` make of the files below `source` that they are of, by path.

    Raises:
        TestbedError: when a patch does not apply exactly once.
    """
    texts: dict[str, str] = {}
    for patch in patches:
        former = texts.get(patch.file) or (source / patch.file).read_text()
        texts[patch.file] = patched(former, patch)
    return texts


def patched(text: str, patch: Patch) -> str:
    """Return `text` with the patch applied.

    Raises:
        TestbedError: when it does not apply exactly once.
    """
    found = text.count(patch.old)
    if found != 1:
        raise TestbedError(f"{patch.file}: {patch.old!r} is there {found} times, not once")
    return text.replace(patch.old, patch.new)
