"""Who a request may be for and where it may come from: names of this server, and pages that this server gave."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from itertools import chain

import psutil
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from latentsync.errors import ConfigError

LOOPBACK = ("localhost", "127.0.0.1", "::1")
DEFAULT_PORTS = {"http": 80, "https": 443}
READING = ("GET", "HEAD")

Authority = tuple[str, int | None]  # name or address, port


class TrustedHosts:
    """The names under which this server answers: loopback, ``host`` (what it listens at) and ``others``.

    A browser believes that a page of a hostile site and this server are one site where the site's own name is pointed
    at this machine ("DNS rebinding"); the Host header then has the site's name. A server that listens everywhere also
    answers to addresses, which cannot be pointed elsewhere, and to the machine's own name.
    """

    def __init__(self, host: str, others: Iterable[str] = ()) -> None:
        self._takes_addresses = is_everywhere(host)
        own = socket.gethostname()
        named = (own, f"{own}.local") if self._takes_addresses else (host,)
        self._names = {name.strip("[]").lower() for name in (*LOOPBACK, *named)}
        self._authorities: set[Authority] = set()
        for other in others:
            self.add(other)

    def add(self, host: str) -> None:
        """Trust one more ``NAME`` or ``NAME:PORT``. Raises ``ConfigError`` for what is neither."""
        authority = parse_authority(host)
        if authority is None:
            raise ConfigError(
                f"'{host}' is not the name of a host.", remedy="Give a name such as page.example or page.example:8443."
            )
        self._names.add(authority[0])
        self._authorities.add(authority)

    def are_asked(self, headers: Headers) -> bool:
        """Whether the request is for this server, by the name that it was sent to and those that a proxy passes on."""
        asked = self._asked(headers)
        return bool(asked) and all(host is not None and self._trusts(host[0]) for host in asked)

    @staticmethod
    def _asked(headers: Headers) -> list[Authority | None]:
        """Hosts that the request was sent to: that of this connection, then what a proxy was asked for."""
        values = [value for name in ("host", "x-forwarded-host") for value in headers.getlist(name)]
        return [parse_authority(part) for value in values for part in value.split(",")]

    def sent_the_page(self, headers: Headers) -> bool:
        """Whether a request that changes something comes from a page of this server, or from no page at all.

        A program sends neither of the two headers; a browser sends at least one, and a page cannot change them
        (Fetch, 3.2; Fetch Metadata).
        """
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return False
        if "origin" not in headers:
            return True
        sender = parse_origin(headers["origin"])
        if sender is None:
            return False
        scheme, name, port = sender
        trusted = {*self._asked(headers), *self._authorities}
        return (name, port) in trusted or (port == DEFAULT_PORTS[scheme] and (name, None) in trusted)

    def _trusts(self, name: str) -> bool:
        return name in self._names or (self._takes_addresses and _address(name) is not None)


class OwnOrigin:
    """Answers 403 to requests for other hosts and to changes from other origins, and lets no other origin read.

    Gradio's CORS headers are taken off: a page of this server does not need them, and no other one gets them.
    """

    def __init__(self, app: ASGIApp, hosts: TrustedHosts) -> None:
        self._app, self._hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if not self._hosts.are_asked(headers) or "x-gradio-server" in headers:
            refusal = "This server does not answer to that name. Whoever runs it can allow it: --allow_host NAME"
        elif scope["method"] not in READING and not self._hosts.sent_the_page(headers):
            refusal = "Only pages of this server may do that."
        else:
            await self._app(scope, receive, _with_own_headers(send))
            return
        await PlainTextResponse(refusal, 403)(scope, receive, _with_own_headers(send))


def _with_own_headers(send: Send) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name in [name for name in headers if name.startswith("access-control-")]:
                del headers[name]
            headers["X-Content-Type-Options"] = "nosniff"
            headers["Referrer-Policy"] = "same-origin"
            headers["Cross-Origin-Resource-Policy"] = "same-origin"
            headers["Content-Security-Policy"] = "frame-ancestors 'self'"
        await send(message)

    return send_with_headers


def parse_origin(text: str) -> tuple[str, str, int] | None:
    """Scheme, name and port of an origin (RFC 6454); None for 'null' and what is no origin of a page."""
    scheme, separator, rest = text.partition("://")
    authority = parse_authority(rest)
    if not separator or scheme not in DEFAULT_PORTS or authority is None:
        return None
    return scheme, authority[0], authority[1] or DEFAULT_PORTS[scheme]


def parse_authority(text: str) -> Authority | None:
    """Name (lower case, no brackets) and port of ``NAME``, ``NAME:PORT`` or ``[ADDRESS]:PORT``; None for others."""
    name, port = text.strip().lower(), None
    if name.startswith("["):
        name, closed, rest = name[1:].partition("]")
        if not closed or _address(name) is None:
            return None
        separator, rest = rest[:1], rest[1:]
    elif name.count(":") > 1:  # an address of IPv6 without a port
        separator, rest = "", ""
        if _address(name) is None:
            return None
    else:
        name, separator, rest = name.partition(":")
    if separator or rest:
        if separator != ":" or not (rest.isascii() and rest.isdecimal() and len(rest) <= 5):
            return None
        port = int(rest)
    if not name or not all(part.isalnum() or part in "-._:" for part in name):
        return None
    return name, port


def is_everywhere(host: str) -> bool:
    """Whether listening at ``host`` is listening at all addresses of a machine."""
    return not host or _address(host) in (ipaddress.IPv4Address(0), ipaddress.IPv6Address(0))


def is_loopback(host: str) -> bool:
    """Whether only the machine itself reaches ``host``."""
    address = _address(host)
    return host == "localhost" or (address is not None and address.is_loopback)


def own_addresses() -> list[str]:
    """Addresses that others may reach this machine at (IPv4)."""
    found = [each.address for each in chain(*psutil.net_if_addrs().values()) if each.family == socket.AF_INET]
    return [address for address in found if not is_loopback(address)]


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        return None
