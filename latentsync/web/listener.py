"""The server under page and service: a socket, a thread that answers, no patience with clients that only hold on."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from latentsync.errors import ConfigError, ServerError
from latentsync.web.origins import is_everywhere

FIRST_PORT, PORTS_TRIED = 7860, 100
HEAD_SECONDS = 20.0  # from the beginning of a connection, or the end of an answer, to the end of a request's head
MOST_CONNECTIONS = 500  # further ones are answered with 503; a page that is open holds two
MOST_REFUSED = 100  # that are answered so; still further ones are closed, before the process has no more to open
END_SECONDS = 5  # for what answers to notice that the server ends


class ImpatientProtocol(H11Protocol):
    """HTTP/1.1 that closes a connection on which no whole head of a request comes within ``HEAD_SECONDS``.

    uvicorn waits for ever where a client sends nothing, or a byte now and then. Bodies are timed by who reads them.
    """

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait."""
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS + MOST_REFUSED:
            transport.abort()
        else:
            self._wait()

    def data_received(self, data: bytes) -> None:
        """Stop waiting if a request is there."""
        super().data_received(data)
        if self._is_answering():
            self._stop_waiting()

    def on_response_complete(self) -> None:
        """Wait for the next request, unless it is there already."""
        super().on_response_complete()
        if not self._is_answering():
            self._wait()

    def handle_websocket_upgrade(self, event: Any) -> None:
        """From here on another protocol has the connection, which knows its own patience."""
        self._stop_waiting()
        super().handle_websocket_upgrade(event)

    def connection_lost(self, exc: Exception | None) -> None:
        """There is nothing to wait for."""
        self._stop_waiting()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Take the connection from who is still answering: streams and uploads would go on for hours."""
        super().shutdown()
        self.transport.close()

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _wait(self) -> None:
        self._stop_waiting()
        self._timer = self.loop.call_later(HEAD_SECONDS, self.transport.abort)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def bind(host: str, port: int | None) -> socket.socket:
    """A socket that listens. ``port`` None: the first free one from ``FIRST_PORT``.

    Raises ``ConfigError`` for a port or host that there is not, ``ServerError`` where it cannot be had.
    """
    if port is not None and not 0 < port < 2**16:
        raise ConfigError(
            f"There is no port {port}.", remedy="Use one from 1 to 65535, or leave --port out: the first free one."
        )
    try:
        found = socket.getaddrinfo(host.strip("[]"), port or FIRST_PORT, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ConfigError(
            f"There is no host '{host}'.", remedy="Use an address of this machine with --host, or 0.0.0.0 for all."
        ) from error
    family, *_, address = found[0]
    for candidate in [port] if port else range(FIRST_PORT, FIRST_PORT + PORTS_TRIED):
        try:
            return _listen(family, (address[0], candidate, *address[2:]))
        except OSError as error:
            refused = error
    where = f"Port {port}" if port else f"Every port from {FIRST_PORT} to {FIRST_PORT + PORTS_TRIED - 1}"
    raise ServerError(
        f"{where} of {host} cannot be had: {refused.strerror or refused}.",
        remedy="Choose another one with --port, or another address of this machine with --host.",
    ) from refused


def local_address(host: str, sock: socket.socket) -> str:
    """``http://NAME:PORT`` by which a browser on this machine reaches ``sock``, which listens at ``host``."""
    name = "127.0.0.1" if is_everywhere(host) else host.strip("[]")
    return f"http://{f'[{name}]' if ':' in name else name}:{sock.getsockname()[1]}"


def _listen(family: socket.AddressFamily, address: tuple[Any, ...]) -> socket.socket:
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        if sys.platform != "win32":  # there, it would let two programs listen
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6 and is_everywhere(address[0]):
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listening.bind(address)
        listening.listen(128)
    except OSError:
        listening.close()
        raise
    return listening


@contextmanager
def listening(app: ASGIApp, sock: socket.socket, message_bytes: int = 0) -> Iterator[None]:
    """Answer requests by ``app`` in a thread of its own while the block runs. ``message_bytes``: of the longest message
    over a WebSocket; 0: there are none."""
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # what clients send wrong is no news
    config = uvicorn.Config(
        app,
        http=ImpatientProtocol,
        ws="websockets-sansio" if message_bytes else "none",
        ws_max_size=message_bytes,
        lifespan="on",
        log_level="error",
        server_header=False,
        limit_concurrency=MOST_CONNECTIONS,
        timeout_graceful_shutdown=END_SECONDS,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]}, name="listening", daemon=True)
    thread.start()
    try:
        while not server.started:
            if not thread.is_alive():
                raise RuntimeError("the server did not start; the log says why")
            time.sleep(0.01)
        yield
    finally:
        server.should_exit = True
        thread.join(2 * END_SECONDS)
        sock.close()
