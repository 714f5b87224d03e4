"""What state a container is in, asked of the Docker daemon without its client library.

That takes longer to import than most commands run. Where the daemon is not to be had in the usual way
nothing is told: whoever goes on asks `docker`, which has words for it.
"""

from __future__ import annotations

import json
import os
import socket

from testbed.errors import ResourceError

MISSING = "missing"
_SOCKET = "/var/run/docker.sock"
_LIMIT_S = 10.0


def state_of(container: str, *, at: str = _SOCKET) -> str:
    """Return the container's state: "running", "paused", "exited", MISSING; empty if it is not told.

    Raises:
        ResourceError: when no daemon answers within 10 s.
    """
    if "DOCKER_HOST" in os.environ or "DOCKER_CONTEXT" in os.environ:
        return ""
    request = f"GET /containers/{container}/json HTTP/1.0\r\nHost: docker\r\n\r\n"
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_LIMIT_S)
            connection.connect(at)
            connection.sendall(request.encode())
            with connection.makefile("rb") as answer:
                head, _, body = answer.read().partition(b"\r\n\r\n")
    except PermissionError:
        return ""
    except OSError as error:  # time is up, too
        reason = error.strerror or str(error)
        message = f"no Docker daemon answers at {at}: {reason}"
        raise ResourceError(message, hint="see: testbed status") from error
    code = head.split(maxsplit=2)[1:2]
    if code == [b"404"]:
        return MISSING
    return str(json.loads(body)["State"]["Status"]) if code == [b"200"] else ""
