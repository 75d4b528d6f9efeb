"""Serves the console so that Ctrl-C ends it at once, and a slow client holds up nobody."""

import asyncio
import socket
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["ConsoleServer", "Patience"]

# What is left of a request after its stream was told to end; then it is cut off.
_GRACE_S = 1
# Of a request's line and headers together; browsers and programs of ours need a tenth of it.
_HEADERS_BYTES = 16 * 1024
# Two hundred people with a stream and a page each, and room for as many again. Beyond it a request
# is told that the server is busy instead of making everybody slow.
_CONNECTIONS = 1000
# Kept for the next request of a page that refreshes itself every second or so.
_KEEP_ALIVE_S = 15


class Patience(H11Protocol):
    """HTTP/1.1 with an end to waiting: for the rest of a request's headers, and for a reader.

    uvicorn waits for ever for both; a few hundred connections that send or take a byte now and then
    would hold all places. What a body may take is for `console.security`.
    """

    HEADERS_S = 10.0
    READER_S = 30.0

    _waiting: asyncio.TimerHandle | None = None
    _stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client is there: its request must follow."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Part of a request; of the next one on this connection, the clock starts anew."""
        before = self.cycle
        if before is None or before.response_complete:
            self._wait()
        super().data_received(data)
        if self.cycle is not before:
            self._waited()

    def pause_writing(self) -> None:
        """The client does not take what it asked for."""
        super().pause_writing()
        self._stalled = self.loop.call_later(self.READER_S, self.transport.abort)

    def resume_writing(self) -> None:
        """It takes it again."""
        super().resume_writing()
        self._unstall()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone."""
        self._waited()
        self._unstall()
        super().connection_lost(exc)

    def _wait(self) -> None:
        if self._waiting is None:
            self._waiting = self.loop.call_later(self.HEADERS_S, self.transport.abort)

    def _waited(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _unstall(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None


class ConsoleServer(uvicorn.Server):
    """A uvicorn server that lets the event streams go before it waits for connections to close.

    Run it with `.run()`, or in a thread and stop it with `.should_exit = True`.

    Args:
        app: from `console.app.create_app`.
        host: address to listen on; anything but loopback needs accounts.
        port: 0 takes a free one; see `port`.
        tls: certificate and key, PEM files; None speaks plain HTTP.
    """

    def __init__(
        self,
        app: FastAPI,
        host: str = "127.0.0.1",
        port: int = 8080,
        tls: tuple[Path, Path] | None = None,
    ) -> None:
        ssl: dict[str, Any] = {"ssl_certfile": tls[0], "ssl_keyfile": tls[1]} if tls else {}
        super().__init__(
            uvicorn.Config(
                app,
                host=host,
                port=port,
                http=Patience,
                log_level="warning",
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=_GRACE_S,
                timeout_keep_alive=_KEEP_ALIVE_S,
                h11_max_incomplete_event_size=_HEADERS_BYTES,
                limit_concurrency=_CONNECTIONS,
                **ssl,
            )
        )
        self._app = app

    @property
    def port(self) -> int:
        """The port really listened on, once `started`."""
        for server in self.servers:
            for listening in server.sockets:
                return int(listening.getsockname()[1])
        return self.config.port

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the streams, then everything else."""
        await self._app.state.services.feed.stop()
        await super().shutdown(sockets)
