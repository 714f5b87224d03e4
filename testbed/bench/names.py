"""Name resolution and login, as the daemon's libraries do them, by how many addresses the SUT has.

libc asks the kernel for every address of the machine before it resolves a name: what that costs a
login where there are thousands.
"""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median
from typing import Any

from testbed.probe.request import held, route_to
from testbed.running import Running

_LOGINS = 15
_COLD = 15  # not counted: each worker of the daemon loads its libraries at the first


def measure(running: Running, name: str, fibs: int) -> Iterator[dict[str, Any]]:
    """Ask the daemon from the client of the warm tenant called `name`; `fibs` the SUT has."""
    tenant = running.tenant(name)
    user = tenant.users[0]
    login = {"op": "login", "user": user.name, "password": user.password}
    requests = {
        "resolve": {"op": "resolve"},
        "ldap login": {**login, "method": "ldap"},
        "kerberos login": {**login, "method": "kerberos"},
    }
    with held(tenant.client, route_to(tenant.client)) as talk:
        talk.connected()
        for what, request in requests.items():
            replies = [talk.ask(request) for _ in range(_COLD + _LOGINS)][_COLD:]
            wrong = [reply for reply in replies if reply.error or reply.verdict == "error"]
            found: dict[str, Any] = {"names": what, "fibs": fibs}
            if wrong:
                yield found | {"error": f"{len(wrong)} of {_LOGINS} failed: {wrong[0]}"}
            else:
                yield found | {"ms": median(reply.elapsed_ms for reply in replies)}
