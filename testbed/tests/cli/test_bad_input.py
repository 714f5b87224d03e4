"""Whatever is given to the command, it says what is wrong and where, and exits 2; nothing is made."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from testbed.drivers import process
from testbed.errors import ExitCode, InputError, TestbedError
from testbed.events import Events
from testbed.lifecycle import down, history
from testbed.lifecycle.deployment import open_deployment
from testbed.lifecycle.store import Store
from testbed.lifecycle.up import bring_up
from testbed.model.load import load_topology
from testbed.plan.build import build_plan
from testbed.plan.identity import parse_deployment_id
from testbed.tests.cli.test_main import Run, run

__all__ = ["run"]

TOPOLOGIES = Path(__file__).parents[3] / "topologies"
VALID = [  # those of thousands with fewer tenants
    re.sub(r"count: \d+", "count: 4", path.read_text())
    for path in sorted(TOPOLOGIES.glob("*.yaml"))
]
EVIL = ("$(touch pwned)", "`id`", "; rm -rf /", "../../etc", "a b", "naïve", "\x1b[31m", "-n", "")
values = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10)
structures = st.recursive(
    values | st.sampled_from(EVIL),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=6) | st.sampled_from(EVIL), inner, max_size=4)
    ),
    max_leaves=15,
)


def outcome(path: Path) -> str:
    """Plan the file as `testbed plan` does; return what is wrong with it, checked for its form."""
    try:
        build_plan(load_topology(path), parse_deployment_id("aaaaaa"))
    except InputError as error:
        caught = error
    else:
        return ""
    assert caught.exit_code == ExitCode.BAD_INPUT
    for problem in caught.problems:
        assert re.fullmatch(rf"{re.escape(str(path))}:\d+:\d+", problem.where), problem
        assert problem.hint
    return caught.message


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "t.yaml"


@given(st.text(max_size=200))
@settings(max_examples=80)
def test_any_text(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8", errors="replace")
    outcome(file)


@given(structures)
@settings(max_examples=80)
def test_any_yaml(file: Path, structure: object) -> None:
    with file.open("w", encoding="utf-8", errors="replace") as output:
        YAML(typ="safe", pure=True).dump(structure, output)
    outcome(file)


@given(st.sampled_from(VALID), st.data())
@settings(max_examples=100)
def test_any_slip_in_a_valid_file(file: Path, valid: str, data: st.DataObject) -> None:
    lines = valid.splitlines()
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(lines) - 1))
        line = lines[place]
        at = data.draw(st.integers(0, len(line)))
        change = data.draw(st.sampled_from(["drop", "twice", "swap", "insert", "indent"]))
        if change == "drop":
            lines[place] = line[:at] + line[at + 1 :]
        elif change == "twice":
            lines.insert(place, line)
        elif change == "swap":
            other = data.draw(st.integers(0, len(lines) - 1))
            lines[place], lines[other] = lines[other], line
        elif change == "insert":
            lines[place] = (
                line[:at] + data.draw(st.sampled_from([*EVIL, *":{}[]#&*!|>'\"%@0"])) + line[at:]
            )
        else:
            lines[place] = " " + line
    file.write_text("\n".join(lines), encoding="utf-8")
    outcome(file)


@pytest.mark.parametrize("evil", EVIL[:-1])
@pytest.mark.parametrize(
    "template",
    [
        "name: {0}\ntenants: {{a: {{}}}}",
        "tenants: {{{0}: {{}}}}",
        "tenants: {{a: {{users: {{{0}: x}}}}}}",
        "tenants: {{a: {{domain: {0}}}}}",
        "tenants: {{a: {{services: {{kdc: {{realm: {0}}}}}}}}}",
        "tenants: {{a: {{services: {{dns: {{records: {{{0}: 192.0.2.1}}}}}}}}}}",
        "tenants: {{a: }}\nsut: {{ssh: {{host: {0}, interface: e, uplink: e, mac: '02:00:00:00:00:01'}}}}",
        "tenants: {{a: }}\nsut: {{ssh: {{host: h, interface: {0}, uplink: e, mac: '02:00:00:00:00:01'}}}}",
        "tenants: {{a: }}\nsut: {{ssh: {{host: h, interface: e, uplink: {0}, mac: '02:00:00:00:00:01'}}}}",
        "tenants: {{a: }}\nsut: {{ssh: {{host: h, user: {0}, interface: e, uplink: e}}}}",
    ],
)
def test_no_word_of_a_shell_becomes_a_name(file: Path, template: str, evil: str) -> None:
    quoted = '"' + evil.replace("\\", "\\\\").replace("\x1b", "\\e") + '"'
    file.write_text(template.format(quoted), encoding="utf-8")
    assert "t.yaml:" in outcome(file)


def fifo(path: Path) -> None:
    os.mkfifo(path)


def loop(path: Path) -> None:
    path.symlink_to(path)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (Path.mkdir, "Is a directory"),
        (fifo, "it is no regular file"),
        (loop, "Too many levels of symbolic links"),
        (lambda path: path.symlink_to("/dev/zero"), "it is no regular file"),
        (lambda path: path.write_bytes(b"\x7fELF\x02\x01\xff"), "not UTF-8"),
        (lambda path: path.write_bytes(b"#" * (33 << 20)), "larger than 32 MiB"),
        (lambda path: path.write_bytes("tenants: {a: {}}".encode("utf-16")), "not UTF-8"),
        (lambda path: path.write_bytes(b""), "the file is empty"),
    ],
)
@pytest.mark.parametrize("verb", ["plan", "up"])
def test_file_that_is_none(
    run: Run, tmp_path: Path, verb: str, make: Callable[[Path], object], told: str
) -> None:
    path = tmp_path / "a name with spaces; $(and more).yaml"
    make(path)
    code, output, error = run(verb, str(path))
    assert (code, output) == (2, "")
    assert f"{path}:1:" in error
    assert told in error
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(
    "make", [Path.mkdir, fifo, loop, lambda path: path.symlink_to("/dev/zero")]
)
def test_bundle_that_is_none(run: Run, tmp_path: Path, make: Callable[[Path], object]) -> None:
    path = tmp_path / "b.testbed.tar.gz"
    make(path)
    code, _, error = run("replay", str(path))
    assert code == 2
    assert str(path) in error


@pytest.mark.parametrize(
    "arguments",
    [
        ["up", "--nope"],
        ["up", "a.yaml", "b.yaml"],
        ["logs", "sut", "--tail", "0"],
        ["logs", "sut", "--tail", "many"],
        ["capture", "alpha", "--count", "-1"],
        ["capture", "alpha", "--seconds", "soon"],
        ["graph", "proposal", "--topology", "x.yaml"],
        ["status", "-f", "yaml"],
        ["exec", "sut"],
        ["exec", "sut", "-n"],
        ["down", "a", "b"],
        ["down", "a", "--all"],
        ["clean", "--cache", "now"],
        ["events", "--tail", "-3"],
    ],
)
def test_wrong_use_is_told(run: Run, arguments: list[str]) -> None:
    code, output, error = run(*arguments)
    assert (code, output) == (2, "")
    assert error.startswith("error: ")
    assert "Traceback" not in error


def test_deployment_named_by_the_environment_contradicts_nothing(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TESTBED_DEPLOYMENT", "other")
    topology = str(TOPOLOGIES / "bare.yaml")
    assert run("graph", "--topology", topology)[1].startswith("SUT eth0")
    assert run("down", "--all")[0] == 0


@pytest.mark.parametrize("verb", ["status", "up", "exec -n"])
def test_no_name_commands_the_terminal(run: Run, verb: str) -> None:
    code, _, error = run(*verb.split(), "\x1b[2J\na", *(["sut", "id"] if "-n" in verb else []))
    assert code == 2
    assert "\x1b" not in error
    assert r"\x1b[2J" in error


@pytest.mark.parametrize("verb", ["graph", "plan"])
def test_marks_that_a_terminal_has_not_are_no_error(verb: str) -> None:
    arguments = ["--topology"] if verb == "graph" else []
    argv = [sys.executable, "-m", "testbed.cli.main", verb, *arguments, TOPOLOGIES / "bare.yaml"]
    done = process.run([str(word) for word in argv], env={"PYTHONIOENCODING": "ascii"})
    assert (done.stderr, "solo" in done.stdout) == ("", True)


@pytest.mark.parametrize("name", ["a b", "$(id)", "../x", "ümlaut", "Upper", "a" * 33, "-x", "x-"])
def test_name_of_a_deployment_is_a_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="is no name"):
        bring_up(Store(tmp_path / "state"), TOPOLOGIES / "bare.yaml", Events(), name=name)
    assert not (tmp_path / "state").exists()


def test_symlinks_in_the_state_folder_are_followed_by_nobody(tmp_path: Path) -> None:
    store = Store(tmp_path / "state")
    record = store.create("bare", TOPOLOGIES / "bare.yaml")
    elsewhere = tmp_path / "elsewhere"
    store.folder(record.id).rename(elsewhere)
    store.folder(record.id).symlink_to(elsewhere)
    assert store.all() == ()
    (store.root / ".gone-bbbbbb").symlink_to(elsewhere)
    store.sweep()
    assert (elsewhere / "record.json").exists()


def test_record_of_another_version_is_told_and_left_alone(run: Run, tmp_path: Path) -> None:
    store = Store(tmp_path / "state")
    record = store.create("bare", TOPOLOGIES / "bare.yaml")
    path = store.folder(record.id) / "record.json"
    path.write_text(path.read_text().replace('"format": 1', '"format": 2'))
    assert store.all() == ()
    code, _, error = run("status")
    assert code == 1
    told = f"{record.id} in {store.root} is of another version (format 2)"
    mend = "remove it by that version's `testbed down`"
    assert error == f"error: {told}\n    {mend}\n"
    assert run("exec", "-n", record.id, "sut", "true") == (1, "", error)
    code, _, error = run("status", "--format", "json")
    assert (code, error) == (0, f"not shown: {told}: {mend}\n")
    code, _, error = run("down", "--all")
    assert code == 0
    assert "by that version's `testbed down`" in error
    assert path.exists()


@pytest.mark.parametrize("named", [[], ["--all"], ["ID"]])
def test_deployment_whose_record_is_cut_off_is_told_and_removed(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: list[str]
) -> None:
    store = Store(tmp_path / "state")
    record = store.create("bare", TOPOLOGIES / "bare.yaml")
    path = store.folder(record.id) / "record.json"
    path.write_text("{")
    told, mend = f"{path} is cut off or damaged", f"remove the deployment: testbed down {record.id}"
    for verb in (["status"], ["logs", "sut"], ["events", record.id]):
        assert run(*verb) == (1, "", f"error: {told}\n    {mend}\n")
    code, shown, error = run("status", "--format", "json")
    assert (code, error) == (1, f"not shown: {told}: {mend}\n")
    assert json.loads(shown) == {"schema": "testbed.status/1", "ok": False, "deployments": []}
    removed: list[str] = []
    monkeypatch.setattr(
        down, "remove_deployment", lambda _, one, *__, **___: removed.append(one.id)
    )
    monkeypatch.setattr(down, "stop_shared", lambda *_: None)
    code, _, error = run("down", *[record.id if word == "ID" else word for word in named])
    assert (code, removed) == (0, [record.id])
    code, _, error = run("down", "another")
    assert f"left alone: {path} is cut off" in error


@pytest.mark.parametrize("output", ["table", "json"])
def test_event_that_is_cut_off_is_told_and_hides_no_other(
    run: Run, tmp_path: Path, output: str
) -> None:
    store = Store(tmp_path / "state")
    folder = store.folder(store.create("bare", TOPOLOGIES / "bare.yaml").id)
    history.note(folder, "first", "whole")
    with (folder / history.FILE).open("ab") as file:
        file.write(b'{"schema": "testbed.event/1", "ph\xff\n[]\n' if output == "table" else b"{\n")
    history.note(folder, "last", "whole")
    code, told, error = run("events", "--format", output)
    assert code == 0
    assert [word in told for word in ("first", "last")] == [True, True]
    assert "an event that cannot be read\n" in error


def test_deployments_that_cannot_be_shown_hide_no_other(run: Run, tmp_path: Path) -> None:
    store = Store(tmp_path / "state")
    cut, old, whole = (store.create(name, TOPOLOGIES / "bare.yaml") for name in ("a", "b", "c"))
    (store.folder(cut.id) / "record.json").write_text("{")
    code, shown, error = run("status")
    assert code == 1
    assert error.startswith(f"not shown: {store.folder(cut.id)}/record.json is cut off")
    store.topology(old.id).write_text("tenants: {a: {colour: red}}\n")
    for words in ([], ["--format", "json"]):
        code, shown, error = run("status", *words)
        assert code == 1
        assert "error: the recorded topology of 'b' is damaged or another version's" in error
        assert whole.id in shown


def test_topology_of_another_version_says_how_it_is_removed(tmp_path: Path) -> None:
    store = Store(tmp_path / "state")
    record = store.create("bare", TOPOLOGIES / "bare.yaml")
    store.topology(record.id).write_text("tenants: {a: {colour: red}}\n")
    with pytest.raises(TestbedError, match="another version") as caught:
        open_deployment(store, record)
    assert caught.value.hint == f"remove it: testbed down {record.id}"


def test_state_folder_that_others_write_to_is_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state").chmod(0o777)
    for verb in ("status", "up", "down"):
        code, _, error = run(verb)
        assert code == 3
        assert "where others may write" in error


def test_state_that_is_no_folder_is_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    for verb in ("status", "up", "down"):
        code, _, error = run(verb)
        assert code == 3
        assert "is no folder\n    point TESTBED_STATE" in error


@pytest.mark.parametrize("variable", ["TESTBED_STATE", "TESTBED_CACHE"])
@pytest.mark.parametrize("make", [Path.touch, lambda path: path.symlink_to("nowhere")])
def test_folder_that_cannot_be_made_is_told_before_anything_is(
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    make: Callable[[Path], object],
) -> None:
    make(tmp_path / "x")
    monkeypatch.setenv(variable, str(tmp_path / "x" / "y"))
    code, _, error = run("up", str(TOPOLOGIES / "bare.yaml"))
    assert code == 3
    assert f"folder {tmp_path}/x/y: {tmp_path}/x is no folder" in error
    assert f"point {variable} at a folder" in error


def test_state_too_deep_for_sockets_is_told_before_anything_is_made(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("deep" * 20)
    monkeypatch.setenv("TESTBED_STATE", str(deep))
    code, _, error = run("up", str(TOPOLOGIES / "bare.yaml"))
    assert code == 3
    assert f"folder {deep}: a path of over 64 bytes, too long for the sockets in it" in error
    assert "point TESTBED_STATE at a folder" in error
    assert not deep.exists()


def test_no_verb_is_answered_by_the_help(run: Run) -> None:
    code, output, error = run()
    assert (code, output) == (2, "")
    assert "testbed [OPTIONS] COMMAND" in error.splitlines()[0]
