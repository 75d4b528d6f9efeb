"""As little of HTTP as a load generator needs, so that it does not measure itself."""

import asyncio
from collections.abc import AsyncIterator

from contracts.errors import LogUnavailableError

__all__ = ["Connection", "listen"]


class Connection:
    """One connection that is kept, as a browser keeps it; opened anew when it was closed.

    Args:
        port: on 127.0.0.1.
        headers: sent with every request.
    """

    def __init__(self, port: int, headers: dict[str, str]) -> None:
        self._port = port
        self._lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def get(self, path: str) -> tuple[int, bytes]:
        """Status and body of one answer."""
        for fresh in (False, True):
            if self._streams is None or fresh:
                self._streams = await asyncio.open_connection("127.0.0.1", self._port)
            try:
                return await self._once(path)
            except (ConnectionError, asyncio.IncompleteReadError):
                # It was closed between two requests; a second time that is a failure.
                if fresh:
                    raise
        raise AssertionError("unreachable")

    async def _once(self, path: str) -> tuple[int, bytes]:
        assert self._streams is not None
        reader, writer = self._streams
        writer.write(f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n{self._lines}\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1])
        lowered = head.lower()
        if b"content-length: " in lowered:
            length = int(lowered.split(b"content-length: ")[1].split(b"\r\n")[0])
            return status, await reader.readexactly(length)
        raise LogUnavailableError(f"the answer to {path} has no length:\n{head.decode()}")

    def close(self) -> None:
        """Close it."""
        if self._streams is not None:
            self._streams[1].close()


async def listen(port: int, path: str, headers: dict[str, str]) -> AsyncIterator[tuple[str, str]]:
    """Server-sent events as (event, data); ends when the server ends the stream."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    writer.write(f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n{lines}\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    if b" 200 " not in head.split(b"\r\n", 1)[0]:
        raise LogUnavailableError(f"no stream: {head.decode()}")
    event = ""
    try:
        # Lines between events with the size of a chunk begin with neither word.
        while line := await reader.readline():
            if line.startswith(b"event: "):
                event = line[7:-1].decode()
            elif line.startswith(b"data: "):
                yield event, line[6:-1].decode()
    finally:
        writer.close()
