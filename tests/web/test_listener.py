"""The socket that a program listens at, and clients that only hold on."""

from __future__ import annotations

import socket
import time

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from latentsync.errors import ConfigError, ServerError
from latentsync.web import listener
from latentsync.web.listener import bind, listening, local_address

TIMEOUT = 120  # s; the machine may be busy


@pytest.fixture(scope="module")
def served():
    """The socket of an application that answers at / only."""
    app = Starlette(routes=[Route("/", lambda request: PlainTextResponse("here"))])
    with bind("127.0.0.1", None) as sock, listening(app, sock):
        yield sock


def connect(sock):
    return socket.create_connection(sock.getsockname(), timeout=TIMEOUT)


def is_closed(connection):
    """Wait for the end of the connection; it times out if there is none."""
    try:
        while connection.recv(1000):
            continue
    except ConnectionResetError:
        pass
    return True


def test_the_first_port_that_is_free(monkeypatch):
    with bind("127.0.0.1", None) as first, bind("127.0.0.1", None) as second:
        ports = [sock.getsockname()[1] for sock in (first, second)]
        assert 7860 <= ports[0] < ports[1] < 7960
        monkeypatch.setattr(listener, "FIRST_PORT", ports[0])
        monkeypatch.setattr(listener, "PORTS_TRIED", 1)
        with pytest.raises(ServerError, match=f"Every port from {ports[0]} to {ports[0]} of 127.0.0.1 cannot be had"):
            bind("127.0.0.1", None)


@pytest.mark.parametrize("port", [0, -1, 65536, 70000])
def test_ports_that_there_are_not(port):
    with pytest.raises(ConfigError, match=f"There is no port {port}."):
        bind("127.0.0.1", port)


def test_everywhere_is_both_kinds_of_addresses():
    if not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    for host in ("::", "[::]"):
        with bind(host, None) as sock:
            for name in ("127.0.0.1", "::1"):
                socket.create_connection((name, sock.getsockname()[1]), timeout=TIMEOUT).close()


@pytest.mark.parametrize("host, name", [("", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("[::1]", "[::1]"), ("a", "a")])
def test_the_address_that_a_browser_of_this_machine_opens(host, name):
    with bind("127.0.0.1", None) as sock:
        assert local_address(host, sock) == f"http://{name}:{sock.getsockname()[1]}"


@pytest.mark.parametrize("begun", [b"", b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n"])
def test_who_does_not_ask_is_not_listened_to(served, monkeypatch, begun):
    monkeypatch.setattr(listener, "HEAD_SECONDS", 0.2)
    with connect(served) as connection:
        connection.sendall(begun)
        assert is_closed(connection)


def test_who_holds_on_after_an_answer_is_not_listened_to(served, monkeypatch):
    with connect(served) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = b""
        while not answer.endswith(b"here"):
            answer += connection.recv(1000)
        monkeypatch.setattr(listener, "HEAD_SECONDS", 0.2)  # once the server has the connection
        connection.sendall(b"POST /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999\r\n\r\nhalf of it")
        assert connection.recv(1000).startswith(b"HTTP/1.1 404")
        assert is_closed(connection)


def test_more_connections_than_it_can_hold_are_closed(served, monkeypatch):
    monkeypatch.setattr(listener, "MOST_CONNECTIONS", 0)
    monkeypatch.setattr(listener, "MOST_REFUSED", 20)
    monkeypatch.setattr(listener, "HEAD_SECONDS", 1000.0)
    held = [connect(served) for _ in range(40)]
    assert is_closed(held[-1])
    held[0].setblocking(False)
    with pytest.raises(BlockingIOError):
        held[0].recv(100)
    for connection in held:
        connection.close()

    while True:  # until it has noticed that they are gone
        try:
            assert httpx.get(local_address("127.0.0.1", served), timeout=TIMEOUT).text == "here"
            break
        except httpx.TransportError:
            time.sleep(0.01)
