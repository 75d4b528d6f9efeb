"""Serves the console so that Ctrl-C ends it at once, open event streams included."""

import socket

import uvicorn
from fastapi import FastAPI

__all__ = ["ConsoleServer"]

# What is left of a request after its stream was told to end; then it is cut off.
_GRACE_S = 1


class ConsoleServer(uvicorn.Server):
    """A uvicorn server that lets the event streams go before it waits for connections to close.

    Run it with `.run()`, or in a thread and stop it with `.should_exit = True`.

    Args:
        app: from `console.app.create_app`.
        host: address to listen on; loopback unless a proxy with accounts stands before it.
        port: 0 takes a free one; see `port`.
    """

    def __init__(self, app: FastAPI, host: str = "127.0.0.1", port: int = 8080) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                host=host,
                port=port,
                log_level="warning",
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=_GRACE_S,
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
