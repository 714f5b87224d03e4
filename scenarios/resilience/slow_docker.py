"""Docker's API as an overloaded host has it: `slow_docker.py SOCKET DELAY_S [REFUSED]`.

Passes what comes to Docker's own socket, each request after a delay. One whose first line contains
REFUSED is answered by 500 instead. A program of its own: it runs on a private host.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from contextlib import suppress

DOCKER = "/run/docker.sock"
REQUEST = re.compile(rb"(GET|HEAD|POST|PUT|DELETE) \S+ HTTP/1\.1\r\n")
MESSAGE = "no space left on device"
SAID = json.dumps({"message": MESSAGE}).encode()
REFUSAL = (
    b"HTTP/1.1 500 Internal Server Error\r\nContent-Type: application/json\r\n"
    b"Connection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(SAID), SAID)
)


class Proxy:
    """One connection of a client, and one to Docker for it."""

    def __init__(self, delay_s: float, refused: bytes) -> None:
        self._delay_s, self._refused = delay_s, refused

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass requests and answers until either side ends."""
        docker_reader, docker_writer = await asyncio.open_unix_connection(DOCKER)
        requests = asyncio.create_task(self._pass_requests(reader, docker_writer, writer))
        with suppress(ConnectionError):
            while data := await docker_reader.read(65536):
                writer.write(data)
                await writer.drain()
        requests.cancel()
        writer.close()
        docker_writer.close()

    async def _pass_requests(
        self,
        reader: asyncio.StreamReader,
        docker: asyncio.StreamWriter,
        client: asyncio.StreamWriter,
    ) -> None:
        """Requests come one by one: a client waits for the answer before it sends the next."""
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                request = REQUEST.match(data)
                if request:
                    await asyncio.sleep(self._delay_s)  # what is played, not a wait
                if request and self._refused and self._refused in request[0]:
                    client.write(REFUSAL)
                    break
                docker.write(data)
                await docker.drain()
            # What is half closed stays half open, as `docker exec` needs it.
            docker.write_eof()


async def main(path: str, delay_s: float, refused: bytes) -> None:
    server = await asyncio.start_unix_server(Proxy(delay_s, refused).serve, path)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2]), "".join(sys.argv[3:]).encode()))
