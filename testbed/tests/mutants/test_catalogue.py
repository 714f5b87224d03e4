"""Every mutant changes today's code in exactly the places that it names."""

from importlib.resources import files
from pathlib import Path

import pytest

from testbed.errors import TestbedError
from testbed.mutants.catalogue import MUTANTS
from testbed.mutants.mutant import Mutant, Patch, changed_files, copy_tree, patched
from testbed.mutants.table import Result, as_text
from testbed.mutants.trial import ROOT, Seen

SOURCE = Path(str(files("testbed") / "fib"))
DEFECTS = (SOURCE / "services" / "tenantd.py").read_text()


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_patches_apply_and_change_the_code(mutant: Mutant) -> None:
    assert bool(mutant.patches) != bool(mutant.defects)
    source = ROOT if mutant.is_of_testbed else SOURCE
    changed = changed_files(source, mutant.patches)
    assert changed.keys() == {patch.file for patch in mutant.patches}
    for file, text in changed.items():
        assert text != (source / file).read_text()
        if file.endswith(".py"):
            compile(text, file, "exec")


def test_copy_differs_in_what_is_patched_alone(tmp_path: Path) -> None:
    mutant = next(mutant for mutant in MUTANTS if mutant.is_compiled)
    tree = copy_tree(SOURCE, tmp_path / "fib", mutant.patches)
    files = {path.relative_to(tree) for path in tree.rglob("*") if path.is_file()}
    differing = {str(f) for f in files if (tree / f).read_bytes() != (SOURCE / f).read_bytes()}
    assert len(files) > len(differing)
    assert differing == {patch.file for patch in mutant.patches}


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_hint_names_scenarios_that_exist(mutant: Mutant) -> None:
    assert mutant.hint
    for node in mutant.hint:
        file, _, test = node.partition("::")
        text = (ROOT / "scenarios" / file).read_text()
        assert not test or f"\ndef {test.partition('[')[0]}(" in text


def test_there_are_enough_of_different_names() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
    assert len(MUTANTS) >= 50


@pytest.mark.parametrize("text", ["nothing of the kind", "old and old"])
def test_patch_must_apply_once(text: str) -> None:
    with pytest.raises(TestbedError, match="not once"):
        patched(text, Patch("x", "old", "new"))


def test_survivor_and_what_could_not_be_tried_are_not_caught() -> None:
    seen = Seen("x.py::test_x", "it failed", on_the_wire=True)
    good, bad, odd = (Mutant(name, "wrong", ("x.py",)) for name in ("good", "bad", "odd"))
    results = [Result(good, 1.0, seen), Result(bad, 1.0), Result(odd, 1.0, trouble="no SUT")]
    assert [result.is_caught for result in results] == [True, False, False]
    text = as_text([good, bad, odd], results)
    assert "1 of 3 mutants caught." in text
    assert "SURVIVED" in text
    assert "`odd`: no SUT" in text


def test_rows_of_other_mutants_stay_unless_they_mean_something_else() -> None:
    seen = Seen("conformance/x.py::test_x[y]", "it failed", on_the_wire=False)
    one, two, three = (Mutant(name, "wrong", ("x.py",)) for name in ("one", "two", "three"))
    former = as_text([one, two], [Result(one, 1.0, seen), Result(two, 2.0)])
    changed = Mutant("one", "wrong in another way", ("x.py",))
    text = as_text([changed, two, three], [Result(three, 3.0, seen)], former)
    assert "| `two` | wrong | SURVIVED |  | 2 |" in text
    assert "| `three` | wrong | conformance/x.py::test_x[y] | conformance | 3 |" in text
    assert "1 of 3 mutants caught." in text
    assert "Not tried: `one`." in text
