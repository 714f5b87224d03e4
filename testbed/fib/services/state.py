"""The daemon's directory of state: replay caches, Kerberos configuration, the ready file."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from .kerberos_login import CONFIGURATION
from .privileges import Identity


class StateDirectory:
    """A directory of one daemon process; made while it may still need root, used afterwards."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._ready = path / "ready.json"
        self.rcache = path / "rcache"
        self.kdcs = path / "kdcs"
        self.krb5_conf = path / "krb5.conf"

    def create(self, owner: Identity) -> None:
        """Make what is missing and, as root, give it to `owner`."""
        for directory in (self._path, self.rcache, self.kdcs):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            if os.geteuid() == 0:
                os.chown(directory, owner.uid, owner.gid)
        # Of a daemon that was killed: whoever waits for us must not take it for ours.
        self.retract()

    def write_krb5_conf(self) -> None:
        """Write the configuration that libkrb5 is to read instead of the host's."""
        self.krb5_conf.write_text(CONFIGURATION, encoding="ascii")

    def announce(self, facts: Mapping[str, object]) -> None:
        """Write the ready file; whoever reads it sees all of it."""
        draft = self._ready.with_suffix(".new")
        draft.write_text(json.dumps(facts) + "\n", encoding="ascii")
        draft.replace(self._ready)

    def retract(self) -> None:
        """Remove the ready file."""
        self._ready.unlink(missing_ok=True)
