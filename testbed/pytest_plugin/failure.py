"""When a scenario fails: its folder of artefacts, its bundle, the few lines on the terminal."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from testbed.drivers import process
from testbed.errors import TestbedError
from testbed.events import Events
from testbed.lifecycle import checkout
from testbed.lifecycle.artefacts import Scene, collect, versions
from testbed.lifecycle.bundle import SUFFIX, Bundle, write_bundle
from testbed.lifecycle.deployment import recorded_topology
from testbed.lifecycle.private import make_private, write_private
from testbed.model.part import part_of
from testbed.probe.recorder import save
from testbed.pytest_plugin.fixtures import Leased
from testbed.pytest_plugin.run import Run
from testbed.report.picture import in_words
from testbed.report.record import TestRecord

_LAST_QUESTIONS, _LAST_PACKETS = 6, 8
_LONGEST_NAME = 80


def keep_artefacts(run: Run, record: TestRecord, leased: Leased, item: pytest.Item) -> str:
    """Write everything about a failure; return the few lines that matter.

    Trouble on the way is told in those lines: it must not hide the failure itself.
    """
    folder = make_private(run.folder / folder_name(record.nodeid))
    record.artefacts = folder.name
    scene = Scene(
        leased.running.docker,
        leased.running.deployment,
        tuple(tenant.plan for tenant in leased.tenants),
        leased.had_s,
    )
    trouble = list(_keep_frames(record, leased, folder))
    trouble += [f"missing: {line}" for line in collect(scene, folder)]
    try:
        bundle = folder / f"{folder.name}{SUFFIX}"
        write_bundle(_bundle(run, record, leased), bundle)
        record.bundle = bundle.name
    except TestbedError as error:
        trouble.append(f"no bundle: {error}")
    write_private(folder / "failure.txt", record.failure)
    record.moments += leased.moments()
    write_private(folder / "test.json", json.dumps(asdict(record), indent=2) + "\n")
    return "\n".join([*_lines(record, leased, folder, item), *trouble])


def folder_name(nodeid: str) -> str:
    """Return a file name for a test: readable, short, and no other test's."""
    digest = hashlib.blake2b(nodeid.encode(), digest_size=3).hexdigest()
    plain = nodeid.removeprefix("scenarios/").replace(".py::", "-")
    words = re.sub(r"[^A-Za-z0-9_]+", "-", plain).strip("-")
    return f"{words[:_LONGEST_NAME].rstrip('-')}-{digest}"


def _keep_frames(record: TestRecord, leased: Leased, folder: Path) -> list[str]:
    recorded = leased.wire.read()
    save(recorded.frames, folder / "wire.pcap")
    record.packets = in_words(leased.running.plan, recorded.frames)
    lost = {"wire": recorded.lost}
    for name, recorder in leased.lans.items():
        lan = recorder.read()
        save(lan.frames, folder / f"lan-{name}.pcap")
        lost[f"lan-{name}"] = lan.lost
    return [f"{name}.pcap lacks its last {count} frames" for name, count in lost.items() if count]


def _bundle(run: Run, record: TestRecord, leased: Leased) -> Bundle:
    deployment = leased.running.deployment
    topology = recorded_topology(run.store, deployment.record)
    names = tuple(tenant.name for tenant in leased.tenants)
    lease = record.lease
    whole = lease is not None and lease.whole
    kept = names or tuple(topology.tenants)
    digest = hashlib.blake2b(record.nodeid.encode(), digest_size=4).hexdigest()
    return Bundle(
        test=record.nodeid,
        tenants=names,
        whole=whole,
        seed=run.shared.seed,
        versions={**versions(leased.running.docker), "SUT": deployment.sut().health().kernel},
        failure=record.failure[-50_000:],
        topology=part_of(topology, kept, name=f"replay-{digest}"),
        changes=checkout.changes(),
    )


def _lines(record: TestRecord, leased: Leased, folder: Path, item: pytest.Item) -> list[str]:
    plan, lease = leased.running.plan, record.lease
    held = ", ".join(f"{tenant.name} (FIB {tenant.fib})" for tenant in leased.tenants)
    waited = f", {lease.waited_s:.1f} s waited for" if lease else ""
    scope = "the whole deployment" if lease and lease.whole else "leased"
    lines = [f"{scope} of {plan.topology}: {held or 'no tenant'}{waited}"]
    asked = leased.running.journal.asked[-_LAST_QUESTIONS:]
    lines += ["what was asked last:"] if asked else []
    lines += [f"  {'!' if entry.agrees is False else ' '} {entry}" for entry in asked]
    start_s = leased.had_s
    packets = record.packets[-_LAST_PACKETS:]
    lines += [f"the last of {len(record.packets)} frames:"] if packets else ["no frames"]
    lines += [
        f"    {packet.time_s - start_s:8.3f} s {packet.sender} > {packet.receiver} {packet.summary}"
        for packet in packets
    ]
    shown = _shortest(folder, item.config.rootpath)
    lines.append(f"artefacts: {shown}")
    if record.bundle:
        lines.append(f"run it again: testbed replay {shlex.quote(str(shown / record.bundle))}")
    return lines


def _shortest(path: Path, root: Path) -> Path:
    return path.relative_to(root) if path.is_relative_to(root) else path


def wait_for_people(config: pytest.Config, record: TestRecord, leased: Leased) -> None:
    """Pause, or give a shell, as the options ask, while everything is as it was."""
    wants_shell = config.getoption("--shell-on-failure")
    if not wants_shell and not config.getoption("--pause-on-failure"):
        return
    capturing = config.pluginmanager.getplugin("capturemanager")
    if capturing is not None:
        # Our output is not captured between the phases of a test; our input is, until told so.
        # The next phase switches both on again.
        capturing.suspend_global_capture(in_=True)
    _write(f"\n{record.nodeid} failed: {record.headline}\n")
    if wants_shell:
        open_shell(leased.running.plan.deployment, tenant_hints(leased))
    else:
        _write("everything stays as it is; other runs wait. Press Enter to go on: ")
        sys.stdin.readline()


def tenant_hints(leased: Leased) -> list[str]:
    """Return commands that lead to the tenants of a failed test."""
    deployment = leased.running.plan.deployment
    return [f"testbed shell {tenant.name}:client -n {deployment}" for tenant in leased.tenants[:4]]


def open_shell(deployment: str, hints: list[str]) -> None:
    """Open a shell on this host, with `testbed` in its path and about `deployment`, until it ends."""
    bin_folder = Path(sys.executable).parent
    _write(
        "everything stays as it is, but for faults, which have been undone; other runs wait. "
        "Leave the shell to go on. For example:\n"
    )
    for hint in [*hints, f"testbed shell sut -n {deployment}", f"testbed status {deployment}"]:
        _write(f"    {hint}\n")
    path = f"{bin_folder}:{os.environ.get('PATH', '')}"
    env = {"PATH": path, "TESTBED_DEPLOYMENT": deployment}
    process.interact([os.environ.get("SHELL") or "/bin/sh"], env=env)


def _write(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()


def end_of_deployments(run: Run, events: Events, *, keep: bool) -> None:
    """Remove the deployments that this run started, or leave them to whoever wants to look."""
    from testbed.lifecycle import session  # noqa: PLC0415 - the only use

    if keep:
        session.keep_started(run.store, run.shared.name)
    else:
        session.remove_started(run.store, run.shared.name, events)
