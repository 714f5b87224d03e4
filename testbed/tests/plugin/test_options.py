"""The plugin in a pytest of its own, without a deployment."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]
NO_XDIST = ("-p", "no:xdist", "-p", "no:cacheprovider")


@pytest.fixture
def plain(
    pytester: pytest.Pytester, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> pytest.Pytester:
    pytester.makeconftest('pytest_plugins = ["testbed.pytest_plugin"]')
    pytester.makepyfile(
        test_plain="""
        def test_a(): pass
        def test_b(): pass
        def test_c(): pass
        def test_d(): pass
        def test_e(seed): assert seed == 5
        """
    )
    monkeypatch.setenv("TESTBED_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    return pytester


def test_tests_without_deployment_leave_nothing(plain: pytest.Pytester) -> None:
    result = plain.runpytest_subprocess(*NO_XDIST, "--seed", "5")
    result.assert_outcomes(passed=5)
    result.stdout.fnmatch_lines(["testbed: --seed 5"])
    assert not (plain.path / "artifacts").exists()


def test_conftest_above_an_options_value_is_not_loaded(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text("raise ValueError('loaded')")
    (tmp_path / "shop.yaml").write_text("tenants: {alpha}")
    options = ("--topology", str(tmp_path / "shop.yaml"), "--artifacts", str(tmp_path))
    argv = [sys.executable, "-m", "pytest", *NO_XDIST, "-q", "--collect-only", *options, __file__]
    root = Path(__file__).parents[3]
    done = subprocess.run(argv, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_shuffled_order_depends_on_the_seed_alone(plain: pytest.Pytester) -> None:
    def order(seed: int) -> list[str]:
        arguments = (*NO_XDIST, "-v", "--shuffle", "--seed", str(seed))
        output = plain.runpytest_subprocess(*arguments).stdout.str()
        return re.findall(r"::(test_\w) (?:PASSED|FAILED)", output)

    first = order(3)
    assert sorted(first) == ["test_a", "test_b", "test_c", "test_d", "test_e"]
    assert order(3) == first
    assert order(4) != first


def test_workers_share_the_seed(plain: pytest.Pytester) -> None:
    result = plain.runpytest_subprocess("-p", "no:cacheprovider", "-n", "2", "--seed", "5")
    result.assert_outcomes(passed=5)


def test_markers_and_fixtures_explain_themselves(plain: pytest.Pytester) -> None:
    markers = plain.runpytest_subprocess(*NO_XDIST, "--markers").stdout.str()
    for name in ("topology(name)", "tenants(*names)", "exclusive"):
        assert f"@pytest.mark.{name}" in markers
    fixtures = plain.runpytest_subprocess(*NO_XDIST, "--fixtures").stdout.str()
    for name in ("deployment", "tenants", "tenant", "wire", "matrix", "seed"):
        assert re.search(rf"^{name}\b.*\n(.*\n)?    \S", fixtures, flags=re.MULTILINE), name


@pytest.mark.parametrize("option", ["--pause-on-failure", "--shell-on-failure"])
def test_people_and_workers_do_not_go_together(plain: pytest.Pytester, option: str) -> None:
    result = plain.runpytest_subprocess(option, "-n", "2")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*{option} needs a terminal*"])


def test_damaged_bundle_is_wrong_usage(plain: pytest.Pytester) -> None:
    (plain.path / "b").write_bytes(b"damaged")
    result = plain.runpytest_subprocess(*NO_XDIST, "--replay", "b")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*b: cannot read it*"])


@pytest.mark.parametrize(
    ("marker", "told"),
    [
        ("topology('twin')", "*twin.yaml:1:1: cannot read it: No such file or directory"),
        ("topology()", "*write topology(NAME)"),
    ],
)
def test_wrong_marker_is_told_without_our_insides(
    pytester: pytest.Pytester, plain: pytest.Pytester, marker: str, told: str
) -> None:
    pytester.makepyfile(
        test_wrong=f"""
        import pytest
        @pytest.mark.{marker}
        def test_a(deployment): pass
        """
    )
    result = plain.runpytest_subprocess(*NO_XDIST, "test_wrong.py")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([told])
    result.stdout.no_fnmatch_line("*load.py*")
    result.stdout.no_fnmatch_line("*fixtures.py*")


def test_cases_are_drawn_by_the_seed_unless_asked_for(plain: pytest.Pytester) -> None:
    drawing = plain.makepyfile(
        test_drawn="""
        import pytest

        @pytest.mark.drawn(2)
        @pytest.mark.parametrize("case", range(9))
        def test_drawn(case): pass

        @pytest.mark.long
        def test_long(): pass
        """
    )

    def ran(*arguments: str) -> list[str]:
        output = plain.runpytest_subprocess(*NO_XDIST, "-v", *arguments).stdout.str()
        return re.findall(r"::(test_(?:drawn|long)\S*) PASSED", output)

    first = ran("--seed", "3")
    assert len(first) == 2
    assert ran("--seed", "3") == first
    assert any(ran("--seed", str(seed)) != first for seed in (4, 5, 6))
    assert len(ran("--seed", "3", "--long")) == 10
    assert ran(f"{drawing}::test_drawn[7]") == ["test_drawn[7]"]
