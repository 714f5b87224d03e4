"""Run the conformance suite: `python3 -m fib.conformance [TEST...]`; 0 when all is as specified."""

import sys
import unittest

from .lab import Lab


def main(names: list[str]) -> int:
    """Run all tests, or those whose name contains one of `names`."""
    loader = unittest.TestLoader()
    loader.testNamePatterns = [f"*{name}*" for name in names] or None
    tests = loader.discover(__package__, top_level_dir=None, pattern="test_*.py")
    lab = Lab()
    try:
        lab.start()
        result = unittest.TextTestRunner(verbosity=2).run(tests)
    finally:
        lab.stop()
    return 0 if result.wasSuccessful() else 1


sys.exit(main(sys.argv[1:]))
