"""A login beside the daemon's warm-up: both need the library, and neither meets half of it."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest

from testbed.deadline import Deadline, wait_for
from testbed.fib.services.config import LdapConfig
from testbed.fib.services.ldap_login import LdapLogin

# Like python-ldap's: package and module want names of one another.
PACKAGE = """\
import time
time.sleep(0.3)
LDAPError = Exception
from ldap.dn import str2dn
"""
MODULE = """\
from ldap import LDAPError
str2dn = escape_dn_chars = str
"""
CONFIG = LdapConfig("ldap.alpha.test", 389, "dc=alpha", "uid={user},dc=alpha")


def test_login_beside_the_warm_up_meets_a_whole_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "ldap"
    package.mkdir()
    (package / "__init__.py").write_text(PACKAGE)
    (package / "dn.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("ldap", "ldap.dn"):
        monkeypatch.setitem(sys.modules, name, None)  # so that it is as before afterwards
        del sys.modules[name]
    directory = LdapLogin(timeout_s=1, socket_fib=lambda _: 0, thread_fib=lambda: 0)
    wrong: list[BaseException] = []

    def warm_up() -> None:
        try:
            directory.load_library()
        except (ImportError, AttributeError) as error:
            wrong.append(error)

    thread = threading.Thread(target=warm_up)
    thread.start()
    wait_for(lambda: "ldap" in sys.modules, Deadline.after(5), what="the warm-up's import")
    outcome = directory.login(CONFIG, "", "")
    thread.join()
    assert outcome.reason == "empty user name"
    assert not wrong
