"""All mutants there are."""

from __future__ import annotations

from testbed.mutants.changes import CHANGES
from testbed.mutants.daemon import DAEMON
from testbed.mutants.data_path import DATA_PATH
from testbed.mutants.frames import FRAMES
from testbed.mutants.halves import HALVES
from testbed.mutants.jails import JAILS
from testbed.mutants.operation import OPERATION
from testbed.mutants.ports import PORTS
from testbed.mutants.sockets import SOCKETS

MUTANTS = (
    *DATA_PATH,
    *CHANGES,
    *FRAMES,
    *SOCKETS,
    *PORTS,
    *JAILS,
    *HALVES,
    *DAEMON,
    *OPERATION,
)
"""In the order of docs/mutants.md."""
