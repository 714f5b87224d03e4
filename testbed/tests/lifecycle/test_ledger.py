"""What one scenario expects, another that runs at the same time finds, and only then."""

import json
import time
from pathlib import Path

from testbed.lifecycle import ledger


def test_expectation_counts_while_it_lasts_and_a_little_longer(tmp_path: Path) -> None:
    begun_s = time.time()
    assert ledger.expected(tmp_path, begun_s) == frozenset()
    with ledger.announced(tmp_path, ["hairpin", "sender"]):
        assert ledger.expected(tmp_path, time.time()) == {"hairpin", "sender"}
    assert ledger.expected(tmp_path, begun_s) == {"hairpin", "sender"}
    assert ledger.expected(tmp_path, time.time() + 60) == frozenset()


def test_nothing_expected_leaves_nothing(tmp_path: Path) -> None:
    with ledger.announced(tmp_path, []):
        assert not list(tmp_path.iterdir())


def test_expectation_ends_with_a_process_that_was_killed(tmp_path: Path) -> None:
    nobody = 2**22 + 1  # above any pid there can be
    line = {"who": f"{nobody} 1", "reasons": ["hairpin"], "begins_s": time.time()}
    (tmp_path / "expected-drops.jsonl").write_text(json.dumps(line) + "\n")
    assert ledger.expected(tmp_path, time.time()) == frozenset()
