"""Every mutant changes today's code in exactly the places that it names."""

from importlib.resources import files
from pathlib import Path

import pytest

from testbed.errors import TestbedError
from testbed.mutants.catalogue import MUTANTS
from testbed.mutants.mutant import Mutant, Patch, copy_tree, patched
from testbed.mutants.table import Result, as_text
from testbed.mutants.trial import ROOT, Seen

SOURCE = Path(str(files("testbed") / "fib"))
DEFECTS = (SOURCE / "services" / "tenantd.py").read_text()


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_patches_apply_and_change_the_code(mutant: Mutant, tmp_path: Path) -> None:
    assert bool(mutant.patches) != bool(mutant.defects)
    tree = copy_tree(SOURCE, tmp_path / "fib", mutant.patches)
    for file in {patch.file for patch in mutant.patches}:
        text = (tree / file).read_text()
        assert text != (SOURCE / file).read_text()
        if file.endswith(".py"):
            compile(text, file, "exec")


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_hint_names_scenarios_that_exist(mutant: Mutant) -> None:
    assert mutant.hint or mutant.equivalent
    for node in mutant.hint:
        file, _, test = node.partition("::")
        text = (ROOT / "scenarios" / file).read_text()
        assert not test or f"\ndef {test.partition('[')[0]}(" in text


def test_there_are_enough_of_different_names() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
    assert sum(not mutant.equivalent for mutant in MUTANTS) >= 25


@pytest.mark.parametrize("text", ["nothing of the kind", "old and old"])
def test_patch_must_apply_once(text: str) -> None:
    with pytest.raises(TestbedError, match="not once"):
        patched(text, Patch("x", "old", "new"))


def test_survivor_and_noticed_equivalent_are_not_as_expected() -> None:
    seen = Seen("x.py::test_x", "it failed", on_the_wire=True)
    real, equal = Mutant("real", "wrong"), Mutant("equal", "the same", equivalent="of this")
    results = [
        Result(real, 1.0),
        Result(real, 1.0, seen),
        Result(equal, 1.0),
        Result(equal, 1, seen),
    ]
    assert [result.is_as_expected for result in results] == [False, True, True, False]
    assert "1 of 2 mutants caught." in as_text(results)
    assert "SURVIVED" in as_text(results)
