"""Run the conformance suite: `python3 -m fib.conformance [--table] [TEST...]`.

Exit code 0 when all is as specified. With --table the results are printed as Markdown on stdout;
progress always goes to stderr.
"""

import platform
import sys
import unittest

from .effort import SECONDS, SEED
from .lab import Lab
from .table import Recorder, render


def main(arguments: list[str]) -> int:
    """Run all tests, or those whose name contains one of the arguments."""
    names = [argument for argument in arguments if argument != "--table"]
    loader = unittest.TestLoader()
    loader.testNamePatterns = [f"*{name}*" for name in names] or None
    tests = loader.discover(__package__, top_level_dir=None, pattern="test_*.py")
    lab = Lab()
    sys.stderr.write(f"FIB_SEED={SEED} FIB_SECONDS={SECONDS:g}\n")
    try:
        lab.start()
        result = unittest.TextTestRunner(verbosity=2, resultclass=Recorder).run(tests)
    finally:
        lab.stop()
    if "--table" in arguments and isinstance(result, Recorder):
        sys.stdout.write(render(result.outcomes, platform.release()))
    return 0 if result.wasSuccessful() else 1


sys.exit(main(sys.argv[1:]))
