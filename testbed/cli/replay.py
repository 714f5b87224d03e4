"""The verb `replay`: a failed test again, from its bundle, which is read before all else."""

from __future__ import annotations

from pathlib import Path

from testbed.cli.options import Progress
from testbed.cli.telling import say
from testbed.drivers import process
from testbed.errors import ExitCode
from testbed.lifecycle.bundle import Bundle, read_bundle
from testbed.lifecycle.store import Store, state_root

_NOTHING_RAN = (4, 5)  # pytest's exit codes: wrong usage, no test collected


def replay(path: Path, *, keep: bool, shell: bool) -> ExitCode:
    """Run the test of the bundle in `path` on its own topology; return how it went.

    With `shell`, one opens where the test fails, its leases held, or after it has passed; the
    deployment stays until it ends. With `keep`, it stays until `testbed down`.

    Raises:
        InputError: when it is no bundle.
        TestbedError: when this clone lacks the test.
    """
    bundle = read_bundle(path)
    scope = "the whole deployment" if bundle.whole else "leased"
    say(f"replay {bundle.test}")
    say(f"  {scope}: {', '.join(bundle.tenants) or 'no tenant'}; seed {bundle.seed}")
    from testbed.lifecycle.checkout import ROOT
    from testbed.lifecycle.replay import pytest_command, require_test

    _tell_differences(bundle, path)
    require_test(bundle, path)
    command = pytest_command(bundle, path, keep=keep or shell, opens_shell=shell)
    code = process.interact(command, cwd=ROOT)
    if shell:
        _end_with_shell(bundle, opens=code == 0, keep=keep)
    if code in _NOTHING_RAN:
        say("the test did not run: this clone has another version of it, see above")
    return ExitCode.DONE if code == 0 else ExitCode.FAILED


def _tell_differences(bundle: Bundle, path: Path) -> None:
    """Say what is not as it was when the test failed."""
    from testbed.lifecycle.artefacts import versions
    from testbed.lifecycle.replay import differences, patch_command

    found = differences(bundle, versions())
    for difference in found:
        say(f"  differs: {difference}")
    if not found:
        say("  same version of everything")
    if bundle.changes:
        say(f"  it ran with changes that no commit has; to have them here: {patch_command(path)}")


def _end_with_shell(bundle: Bundle, *, opens: bool, keep: bool) -> None:
    """Open a shell unless the failed test had one; remove the deployment unless it is to stay."""
    from testbed.cli.steps import shown_events
    from testbed.lifecycle.down import remove_deployment, stop_shared
    from testbed.pytest_plugin.failure import open_shell

    records = Store(state_root())
    record = records.find(bundle.parsed_topology().name)
    if record is None:
        return
    if opens:
        names = list(bundle.tenants)[:4]
        open_shell(record.id, [f"testbed shell {name}:client -n {record.id}" for name in names])
    if not keep:
        with shown_events(Progress.PLAIN) as events:
            remove_deployment(records, record, events)
            stop_shared(records, events)
