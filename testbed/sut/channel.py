"""The guest channel: commands and files over one multiplexed ssh connection.

The connection's master is a process of the deployment's, found again in /proc by its owner mark and
asked through its socket; a channel object holds nothing, so any number of processes may use the
same connection at once.
"""

from __future__ import annotations

import base64
import io
import shlex
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from testbed.deadline import Deadline, NotYet, wait_for
from testbed.drivers import process, store
from testbed.drivers.process import Finished, Talking
from testbed.errors import GuestError, ResourceError
from testbed.sut.procfs import has_ended
from testbed.sut.ssh_config import HOST, Account, ssh_config

_OPEN_LIMIT_S = 30.0
# ssh's own exit code for whatever is not the command's doing (ssh(1), EXIT STATUS).
_SSH_FAILED = 255
_STDERR_TAIL = 2000


@dataclass(frozen=True, slots=True)
class GuestFile:
    """A file to put into the guest."""

    content: bytes
    mode: int = 0o644


@dataclass(frozen=True, slots=True)
class Channel:
    """The connection to the SUT described by `folder`/ssh_config.

    Argument lists are quoted for a POSIX shell; on a machine whose login shell is csh, arguments
    may not contain newlines.
    """

    folder: Path
    owner: str

    @property
    def config(self) -> Path:
        """The configuration for `ssh -F`."""
        return self.folder / "ssh_config"

    @property
    def _socket(self) -> Path:
        return self.folder / "ssh.sock"

    def configure(self, account: Account) -> None:
        """Write the configuration."""
        text = ssh_config(account, self._socket)
        if not self.config.is_file() or self.config.read_text() != text:
            partial = self.config.with_suffix(".partial")
            partial.write_text(text)
            partial.rename(self.config)

    def open(self, *, limit_s: float = _OPEN_LIMIT_S) -> None:
        """Connect unless connected.

        Raises:
            ResourceError: when ssh refuses.
            WaitTimeoutError: when the SUT does not let us in within `limit_s`.
        """
        if self.is_open():
            return
        with store.locked(self.folder / "channel", limit_s=limit_s):
            if self.is_open():
                return
            self.close()
            self._connect(Deadline.after(limit_s))

    def is_open(self) -> bool:
        """Whether the connection's master lives."""
        return self._socket.exists() and self._ask_master("check").returncode == 0

    def close(self) -> None:
        """End the connection and every command on it. Closed already is fine."""
        for pid in process.owned(self.owner):
            process.stop(pid)
        self._socket.unlink(missing_ok=True)

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: str | bytes | None = None,
        timeout_s: float = 60,
        check: bool = True,
    ) -> Finished:
        """Run `argv` in the SUT and return what it printed.

        Raises:
            ResourceError: when the SUT cannot be reached, or after `timeout_s`. The command may go
                on in the guest then.
            GuestError: when the command exits other than 0 while `check` holds.
        """
        self.open(limit_s=min(timeout_s, _OPEN_LIMIT_S))
        finished = process.run(
            ["ssh", "-F", str(self.config), HOST, shlex.join(argv)],
            stdin=stdin,
            timeout_s=timeout_s,
            check=False,
        )
        if finished.returncode == _SSH_FAILED and not self.is_open():
            raise ResourceError(f"the SUT hung up during `{shlex.join(argv)}`: {finished.stderr}")
        if check and finished.returncode != 0:
            told = (finished.stderr or finished.stdout).strip()[-_STDERR_TAIL:]
            raise GuestError(
                f"`{shlex.join(argv)}` exited {finished.returncode} in the SUT: {told}"
            )
        return Finished(tuple(argv), finished.returncode, finished.stdout, finished.stderr)

    def start(self, argv: Sequence[str]) -> Talking:
        """Start `argv` in the SUT and return it at work: its output comes line by line.

        Ending it ends the connection's side here; what does not write goes on in the guest.
        """
        self.open()
        return Talking(["ssh", "-F", str(self.config), HOST, shlex.join(argv)], {})

    def put(self, files: Mapping[str, GuestFile], *, timeout_s: float = 60) -> None:
        """Write `files` (by absolute path), making missing folders. All of them, then one call."""
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            for path, file in files.items():
                entry = tarfile.TarInfo(path.lstrip("/"))
                entry.size, entry.mode = len(file.content), file.mode
                tar.addfile(entry, io.BytesIO(file.content))
        self.run(
            ["tar", "-x", "-p", "-f", "-", "-C", "/"], stdin=archive.getvalue(), timeout_s=timeout_s
        )

    def get(self, path: str, *, timeout_s: float = 60) -> bytes:
        """Return the content of the SUT's file `path`."""
        return base64.b64decode(self.run(["base64", path], timeout_s=timeout_s).stdout)

    def _connect(self, deadline: Deadline) -> None:
        log = self.folder / "ssh.log"
        log.unlink(missing_ok=True)
        # No command, no terminal: a master that only listens, for as long as the SUT lives.
        argv = ["ssh", "-F", str(self.config), "-M", "-N", HOST]
        pid = process.spawn(argv, owner=self.owner, log=log)

        def connected() -> bool:
            if self.is_open():
                return True
            if has_ended(pid):
                raise ResourceError(f"cannot log in to the SUT: {log.read_text().strip()}")
            raise NotYet(log.read_text().strip() or "no answer")

        wait_for(connected, deadline, what="ssh connection to the SUT")

    def _ask_master(self, question: str) -> Finished:
        argv = ["ssh", "-F", str(self.config), "-O", question, HOST]
        return process.run(argv, timeout_s=10, check=False)
