"""fib.h: a C program that uses every function of it, compiled where the programs were."""

from __future__ import annotations

import subprocess

from .. import programs
from . import lab
from .case import Case


class Header(Case):
    def test_header_every_function_and_what_it_refuses(self) -> None:
        pairs = [
            *((str(tenant), lab.server(tenant, f)) for tenant in lab.TENANTS for f in lab.FAMILIES),
            *(("3", lab.STRANGER[family]) for family in lab.FAMILIES),
            *(("0", "127.0.0.1"), ("0", "::1"), ("-1", "192.0.2.77"), ("-1", "2001:db8::77")),
        ]
        argv = [str(programs.directory() / "fib-check"), *(part for pair in pairs for part in pair)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
