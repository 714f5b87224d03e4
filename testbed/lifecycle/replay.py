"""Runs a bundle's test again: says what differs here, and how pytest is to be called."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from testbed.errors import TestbedError
from testbed.lifecycle import checkout
from testbed.lifecycle.bundle import CHANGES, Bundle
from testbed.lifecycle.checkout import CHANGED, ROOT

_IGNORED = ("host", "python")  # of the machine, not of what is tested


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that was another when the test failed."""

    name: str
    then: str
    now: str

    def __str__(self) -> str:
        return f"{self.name}: {self.then} then, {self.now} here"


def differences(bundle: Bundle, here: Mapping[str, str]) -> tuple[Difference, ...]:
    """Return what differs between the bundle's versions and those `here`.

    What only one side knows (the SUT's kernel, before there is a SUT) is no difference.
    """
    return tuple(
        Difference(name, then, here[name])
        for name, then in sorted(bundle.versions.items())
        if name in here and name not in _IGNORED
        # Two checkouts that differ from one commit may differ from one another.
        if then != here[name] or then.endswith(CHANGED)
    )


def patch_command(path: Path) -> str:
    """Return the command that makes a clone's files those of the bundle in `path`."""
    return f"tar -xzOf {shlex.quote(str(path))} {CHANGES} | git apply"


def require_test(bundle: Bundle, path: Path, root: Path = ROOT) -> None:
    """Make sure that this clone has the test of the bundle in `path`.

    Raises:
        TestbedError: when it has not, with how to get at it.
    """
    test = (root / bundle.test_file).resolve()
    if test.is_file() and test.is_relative_to(root.resolve()):
        return
    then = bundle.versions.get("testbed", "unknown")
    raise TestbedError(
        f"this clone, {checkout.version()[:12]}, has no {bundle.test_file}",
        hint=f"the bundle is of {then}: git checkout {then.partition('+')[0][:12]}"
        + (f"; then its changes: {patch_command(path)}" if bundle.changes else ""),
    )


def pytest_command(bundle: Bundle, path: Path, *, keep: bool, opens_shell: bool) -> list[str]:
    """Return the command that runs the bundle's test on its own topology, in its own process."""
    # One word: pytest would take the path alone for a test's, and load the conftest.py above it,
    # which is another clone's where the bundle lies among the artefacts of that.
    options = [f"--replay={path.resolve()}", "-n", "0", "-p", "no:cacheprovider"]
    if keep:
        options.append("--keep")
    if opens_shell:
        options.append("--shell-on-failure")
    return [sys.executable, "-m", "pytest", "--rootdir", str(ROOT), *options, bundle.test]
