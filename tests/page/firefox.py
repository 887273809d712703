"""Firefox for tests, driven by its own protocol (Marionette): Playwright drives only a build of its own."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

NAMES = (os.environ.get("LATENTSYNC_FIREFOX", ""), "firefox-esr", "firefox")
TIMEOUT = 120.0  # s; the machine may be busy


class Firefox:
    """One window. Commands are those of WebDriver."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection, self._number = connection, 0
        self._receive()  # a greeting
        self.command("WebDriver:NewSession", {"capabilities": {"alwaysMatch": {"pageLoadStrategy": "normal"}}})
        self.command("WebDriver:SetTimeouts", {"script": 1000 * TIMEOUT, "pageLoad": 1000 * TIMEOUT})

    def command(self, name: str, parameters: dict[str, Any] | None = None) -> Any:
        """The value that a command gives."""
        self._number += 1
        text = json.dumps([0, self._number, name, parameters or {}]).encode()
        self._connection.sendall(b"%d:%b" % (len(text), text))
        _, _, error, value = self._receive()
        assert error is None, error
        return value

    def open(self, address: str) -> None:
        """Load a page, also where only what stands behind its # is new."""
        self.command("WebDriver:Navigate", {"url": "about:blank"})
        self.command("WebDriver:Navigate", {"url": address})

    def run(self, script: str, *arguments: Any) -> Any:
        """What an asynchronous function of the page gives."""
        body = (
            f"const done = arguments[arguments.length - 1]; ({script})(...arguments).then(done, (e) => done(`${{e}}`));"
        )
        return self.command("WebDriver:ExecuteAsyncScript", {"script": body, "args": list(arguments)})["value"]

    def wait_for(self, condition: str) -> None:
        """Until an expression of the page is true."""
        pause = "new Promise((go_on) => setTimeout(go_on, 100))"
        self.run(f"async () => {{ while (!({condition})) await {pause}; return true; }}")

    def _receive(self) -> Any:
        length = b""
        while not length.endswith(b":"):
            length += self._connection.recv(1)
        text = b""
        while len(text) < int(length[:-1]):
            text += self._connection.recv(2**16)
        return json.loads(text)


@contextmanager
def firefox(folder: Path) -> Iterator[Firefox]:
    """Firefox with a new profile in ``folder``; skips the test where there is none."""
    program = next(filter(None, map(shutil.which, filter(None, NAMES))), None)
    if program is None:
        pytest.skip("no Firefox here: on Debian, apt-get install firefox-esr")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    folder.mkdir()
    (folder / "user.js").write_text(f'user_pref("marionette.port", {port});\nuser_pref("media.autoplay.default", 0);\n')
    command = [program, "--headless", "--no-remote", "--marionette", "--profile", str(folder)]
    process = subprocess.Popen(
        command, env=os.environ | {"HOME": str(folder)}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        with _connected(port, process) as connection:
            yield Firefox(connection)
    finally:
        process.terminate()
        process.wait(TIMEOUT)


def _connected(port: int, process: subprocess.Popen) -> socket.socket:
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError):
            return socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT)
        time.sleep(0.2)
    pytest.fail("Firefox did not start")
