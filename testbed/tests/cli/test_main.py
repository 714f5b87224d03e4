from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import jsonschema
import pytest

from testbed.cli import status
from testbed.cli.main import main
from testbed.events import Events
from testbed.lifecycle.history import recorded
from testbed.lifecycle.status import PartStatus, Status
from testbed.lifecycle.store import Store
from testbed.reference.output import schemas

Run = Callable[..., tuple[int, str, str]]
ROOT = Path(__file__).parents[3]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    monkeypatch.setenv("TESTBED_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["testbed", *arguments])
        with pytest.raises(SystemExit) as exited:
            main()
        output = capsys.readouterr()
        return int(exited.value.code or 0), output.out, output.err

    return call


def test_help_tells_exit_codes(run: Run) -> None:
    code, output, _ = run("--help")
    assert code == 0
    assert "Exit codes: 0 done, 1 failed or unwell, 2 bad input, 3 the host" in output


def test_version_is_told(run: Run) -> None:
    assert run("--version") == (0, f"testbed {version('testbed')}\n", "")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["upp"], "No such command 'upp'. Did you mean 'up'?"),
        (["exec"], "Missing argument 'TARGET'"),
        (["status", "--format", "xml"], "'xml' is not one of"),
        (["plan", "no/such.yaml"], "no/such.yaml:1:1: cannot read it"),
        (["plan", "topologies/propsal.yml"], "topologies/propsal.yml:1:1: cannot read it"),
    ],
)
def test_bad_input_is_one_line_and_what_to_do(run: Run, arguments: list[str], words: str) -> None:
    code, output, error = run(*arguments)
    assert (code, output) == (2, "")
    first, hint = error.splitlines()
    assert first.startswith("error: ")
    assert words in first
    assert hint.startswith("    ")


def test_all_errors_of_a_topology_at_once(run: Run, tmp_path: Path) -> None:
    topology = tmp_path / "bad.yaml"
    topology.write_text("tenants:\n  a: {clint: 192.168.0.1}\n  B: {}\n")
    code, _, error = run("plan", str(topology))
    assert code == 2
    assert f"{topology}:2:7: unknown key 'clint'" in error
    assert f"{topology}:3:3: 'B' is no name" in error


@pytest.mark.parametrize("slip", ["twin", "twins", "topologies/twin.yaml", "topologies/Twins.yml"])
def test_slip_in_the_name_of_a_topology_is_understood(
    run: Run, monkeypatch: pytest.MonkeyPatch, slip: str
) -> None:
    monkeypatch.chdir(ROOT)
    code, _, error = run("plan", slip)
    assert code == 2
    assert error.endswith("    did you mean 'topologies/twins.yaml'?\n")


@pytest.mark.parametrize("verb", ["status", "exec sut -- true", "shell", "logs sut"])
def test_without_deployment_says_how_to_start_one(run: Run, verb: str) -> None:
    code, _, error = run(*verb.split())
    assert code == 1
    assert error.splitlines() == ["error: no deployment is up", "    start one: testbed up"]


def test_status_for_programs_is_json_even_when_nothing_is_up(run: Run) -> None:
    code, output, _ = run("status", "--format", "json")
    told = {"schema": "testbed.status/1", "ok": True, "deployments": []}
    assert (code, json.loads(output)) == (0, told)


def test_plan_for_programs_is_json_without_secrets(run: Run) -> None:
    code, output, _ = run("plan", str(ROOT / "topologies/proposal.yaml"), "--format", "json")
    assert code == 0
    jsonschema.validate(json.loads(output), json.loads(schemas()["plan.1"]))
    assert [tenant["name"] for tenant in json.loads(output)["tenants"]] == [
        "alpha",
        "bravo",
        "charlie",
    ]
    assert "ann-of-alpha" not in output


def test_unknown_part_of_a_tenant_names_those_there_are(run: Run, tmp_path: Path) -> None:
    Store(tmp_path / "state").create("proposal", ROOT / "topologies/proposal.yaml")
    code, _, error = run("exec", "alpha:kdc", "--", "true")
    assert code == 2
    assert "one of: alpha:client, alpha:dns, alpha:ldap, alpha:router" in error


def test_down_with_nothing_up_is_done(run: Run) -> None:
    assert run("down")[0] == 0
    assert run("down", "--all")[0] == 0


def test_names_a_bug_of_ours_by_its_traceback(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("testbed.cli.plan.load_topology", broken)
    with pytest.raises(ZeroDivisionError):
        run("plan")


def test_events_reach_every_subscriber_in_order() -> None:
    seen: list[str] = []
    events = Events([lambda event: seen.append(f"{event.phase} {event.step}")])
    with events.step("outer"), events.step("inner"):
        events.note("told")
    assert seen == ["begin outer", "begin inner", "note told", "end inner", "end outer"]


def test_inspection_keeps_to_its_schema_and_shows_no_password(run: Run, tmp_path: Path) -> None:
    Store(tmp_path / "state").create("proposal", ROOT / "topologies/proposal.yaml")
    code, output, _ = run("inspect", "bravo", "--format", "json")
    assert code == 0
    told = json.loads(output)
    jsonschema.validate(told, json.loads(schemas()["inspect.1"]))
    assert len(told["containers"]) == 3
    assert {one["state"] for one in told["containers"]} in (
        {"missing"},
        {"not known without a Docker daemon"},  # none runs here
    )
    assert "ann-of-bravo" not in output


def test_commands_to_copy_bear_any_folder(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TESTBED_STATE", str(tmp_path / "a state; of 50 %"))
    made = Store(tmp_path / "a state; of 50 %").create("bare", ROOT / "topologies/bare.yaml")
    code, output, _ = run("inspect", "sut", "--format", "json")
    assert code == 0
    config = str(tmp_path / "a state; of 50 %" / made.id / "ssh_config")
    commands = [shlex.split(command) for command in json.loads(output)["commands"]]
    assert ["ssh", "-F", config, "sut"] in commands


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["inspect", "bravp"], "did you mean 'bravo'?"),
        (["exec", "alpha:clint", "true"], "did you mean 'client'?"),
        (["exec", "alpha", "true"], "one of: alpha:client"),
        (["status", "propsal"], "did you mean 'proposal'?"),
        (["capture", "alpha:wan", "-o", "x.pcap"], "alpha:lan: its own network"),
        (["logs", "-n", "proposl", "sut"], "did you mean 'proposal'?"),
        (["logs", "daemn"], "did you mean 'daemon'?"),
        (["logs", "zzz"], "one of: TENANT:ROLE, sut, daemon, ipam, dockerd"),
    ],
)
def test_slips_are_understood(run: Run, tmp_path: Path, arguments: list[str], hint: str) -> None:
    Store(tmp_path / "state").create("proposal", ROOT / "topologies/proposal.yaml")
    code, output, error = run(*arguments)
    assert (code, output) == (2, "")
    assert hint in error


@pytest.mark.parametrize("verb", ["shell", "events", "graph", "logs sut"])
def test_one_of_several_deployments_must_be_named(run: Run, tmp_path: Path, verb: str) -> None:
    for name in ("one", "two"):
        Store(tmp_path / "state").create(name, ROOT / "topologies/proposal.yaml")
    code, output, error = run(*verb.split())
    assert (code, output) == (2, "")
    first, hint = error.splitlines()
    assert first == "error: name: several deployments are up"
    assert hint.startswith("    say which, by NAME, -n NAME or TESTBED_DEPLOYMENT: ")


def test_graph_of_a_topology_as_tree_and_as_drawing(run: Run, tmp_path: Path) -> None:
    topology = str(ROOT / "topologies/thousand.yaml")
    code, output, _ = run("graph", "--topology", topology)
    assert code == 0
    assert "└─ and 968 more tenants" in output
    drawing = tmp_path / "x.svg"
    assert run("graph", "--topology", topology, "-o", str(drawing))[0] == 0
    assert drawing.read_text().startswith('<svg xmlns="http://www.w3.org/2000/svg"')


def test_events_are_told_in_order_and_as_data(run: Run, tmp_path: Path) -> None:
    store = Store(tmp_path / "state")
    record = store.create("proposal", ROOT / "topologies/proposal.yaml")
    events = Events()
    with recorded(store.folder(record.id), events), events.step("wire", tenant="alpha"):
        events.note("told", "twice")
    code, output, _ = run("events")
    assert code == 0
    assert [line.split(" ", 1)[1][:13] for line in output.splitlines()] == [
        "· told: twice",
        "✔ wire: alpha",
    ]
    _, output, _ = run("events", "--format", "json", "--tail", "1")
    assert json.loads(output)["step"] == "wire"


@pytest.mark.parametrize("has_source", [True, False])
def test_unwell_deployment_is_told_with_the_command_that_repairs_it(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, has_source: bool
) -> None:
    source = tmp_path / "a topology.yaml"
    source.write_bytes((ROOT / "topologies/bare.yaml").read_bytes())
    store = Store(tmp_path / "state")
    record = store.create("other", source)
    if not has_source:
        source.unlink()
    lost = PartStatus("sut", ok=False, detail="not running")
    seen = Status(record.id, "other", (lost,), (), (), ())
    monkeypatch.setattr(status, "_examine", lambda *_: seen)
    code, output, _ = run("status")
    path = f"'{source}'" if has_source else str(store.topology(record.id))
    assert code == 1
    assert output.endswith(f": testbed up {path} --name other\n")
