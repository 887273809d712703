"""A line between a browser and the page that can be cut, or fall silent, as the network of a phone does."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import httpx


class Line:
    """Passes on what comes in at ``address``."""

    def __init__(self, page: str, listening: socket.socket) -> None:
        self._target = ("127.0.0.1", httpx.URL(page).port)
        self._listening = listening
        self._open: list[socket.socket] = []
        self._streams: list[socket.socket] = []  # both ends of connections on which a stream was asked for
        self._silent: set[socket.socket] = set()
        self._up = True
        self.address = f"http://127.0.0.1:{listening.getsockname()[1]}/"

    def cut(self) -> None:
        """Close every connection; new ones are closed as well until ``mend``."""
        self._up = False
        for end in self._open:
            _close(end)
        self._open.clear()

    def mend(self) -> None:
        """Pass on new connections again."""
        self._up = True

    def hush(self) -> None:
        """Pass on nothing more of the streams that there are, and tell neither end."""
        self._silent.update(self._streams)

    def serve(self) -> None:
        """Take connections until the socket is closed."""
        with suppress(OSError):
            while True:
                browser, _ = self._listening.accept()
                if not self._up:
                    browser.close()
                    continue
                page = socket.create_connection(self._target)
                self._open += [browser, page]
                for ends in ((browser, page), (page, browser)):
                    threading.Thread(target=self._pass_on, args=ends, daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(2**16):
                if b"/queue/data" in data:
                    self._streams += [source, target]
                if source not in self._silent:
                    target.sendall(data)
                elif b" HTTP/1.1\r\n" in data:  # asked again on a connection that is forgotten: it is reset
                    _close(source)
        if source not in self._silent:
            _close(target)


def _close(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)


@contextmanager
def line_to(page: str) -> Iterator[Line]:
    """A line to the page at an address, while the block runs."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        line = Line(page, listening)
        threading.Thread(target=line.serve, daemon=True).start()
        yield line
        line.cut()
