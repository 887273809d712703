"""Connections to addresses that clients name: only to those that are meant for everybody.

The name is resolved once, every address that it has is checked, and the connection goes to the one that was checked, so
a name that answers otherwise the next time ("DNS rebinding") gains nothing. TLS still checks the name. Redirects are
requests of their own, and checked alike. The whole exchange ends by one deadline, however slowly the other side sends.
No proxy of the environment is used. (``safehttpx`` checks the same, but asks a public resolver, keeps whole answers in
memory and knows no time limit for them.)
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpcore

from latentsync.service.job import RequestRefusedError

MOST_REDIRECTS = 5
REDIRECTED = (301, 302, 303, 307, 308)
READ_SECONDS = 20.0  # between two pieces of an answer, and for a connection
_AGENT = b"latentsync"


class UnreachableError(Exception):
    """The other side does not answer, or not as it should. The text says why, for people."""


class Answer:
    """``status`` and ``headers`` (lower case) of an answer."""

    def __init__(self, response: httpcore.Response) -> None:
        self.status = response.status
        self.headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
        self._response = response

    def pieces(self) -> Iterator[bytes]:
        """The body, as it comes. Raises ``UnreachableError`` if the rest does not come in time."""
        with _named_failures():
            yield from self._response.iter_stream()


@contextmanager
def _named_failures() -> Iterator[None]:
    try:
        yield
    except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError) as error:
        raise UnreachableError(type(error).__name__) from error


class Outside:
    """``private``: networks that are not meant for everybody are allowed too."""

    def __init__(self, private: bool = False) -> None:
        self._private = private

    def check(self, url: str) -> None:
        """Raise ``RequestRefusedError`` for what is no address of HTTP, or names a private one outright."""
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname or "", parts.port
        except ValueError:
            parts, host = None, ""
        plain = url.isascii() and url.isprintable() and " " not in url
        if parts is None or parts.scheme not in ("http", "https") or not host or parts.username or not plain:
            raise RequestRefusedError(
                "An address begins with http:// or https://, names a host, and holds no password.",
                remedy="Give such an address.",
            )
        try:
            literal = ipaddress.ip_address(host)
        except ValueError:
            return
        self._refuse_private([literal])

    @contextmanager
    def request(
        self,
        method: str,
        url: str,
        *,
        seconds: float,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        redirects: int = 0,
    ) -> Iterator[Answer]:
        """The answer to a request, which follows so many redirects. Raises ``RequestRefusedError`` for addresses that
        are not allowed, and ``UnreachableError``."""
        given = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
        backend = _Checked(self, time.monotonic() + seconds)
        with ExitStack() as stack:
            pool = stack.enter_context(httpcore.ConnectionPool(network_backend=backend, max_connections=1))
            for _ in range(redirects + 1):
                self.check(url)
                exchange = pool.stream(
                    method,
                    url,
                    headers=[(b"User-Agent", _AGENT), (b"Accept-Encoding", b"identity"), *given],
                    content=content,
                    extensions={"timeout": dict.fromkeys(("connect", "read", "write", "pool"), READ_SECONDS)},
                )
                with _named_failures():
                    answer = Answer(stack.enter_context(exchange))
                if not redirects or answer.status not in REDIRECTED or "location" not in answer.headers:
                    yield answer
                    return
                url = urljoin(url, answer.headers["location"])
                stack.pop_all().close()
                pool = stack.enter_context(httpcore.ConnectionPool(network_backend=backend, max_connections=1))
        raise UnreachableError(f"more than {redirects} redirects")

    def addresses(self, host: str, port: int) -> list[str]:
        """The addresses of a host, all of them allowed. Raises ``RequestRefusedError`` and ``UnreachableError``."""
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise UnreachableError("there is no such host") from error
        addresses = [str(address[0]) for *_, address in found]
        self._refuse_private([ipaddress.ip_address(address.partition("%")[0]) for address in addresses])
        return addresses

    def _refuse_private(self, addresses: list[ipaddress.IPv4Address | ipaddress.IPv6Address]) -> None:
        if not self._private and not all(map(is_public, addresses)):
            raise RequestRefusedError(
                "The address lies in a private network, which this service does not connect to.",
                remedy="Give a public address, or upload the file; whoever runs the service can allow private ones.",
            )


def is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether an address is meant for everybody; of those of IPv6 that hold one of IPv4, that one counts too."""
    if isinstance(address, ipaddress.IPv6Address):
        number = int(address)
        inner = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
        if address in _NAT64:
            inner.append(ipaddress.IPv4Address(number & 0xFFFFFFFF))
        if any(each is not None and not is_public(each) for each in inner):
            return False
        if address.ipv4_mapped is not None:
            return True
    return address.is_global and not address.is_multicast


_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


class _Checked(httpcore.NetworkBackend):
    """Connects to addresses that were checked, where httpcore would connect to a name, until ``deadline``."""

    def __init__(self, outside: Outside, deadline: float) -> None:
        self._outside, self._deadline, self._inner = outside, deadline, httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        """To the first address of ``host`` that answers."""
        failure: Exception = UnreachableError("there is no such host")
        for address in self._outside.addresses(host, port):
            try:
                left = _left(timeout, self._deadline, httpcore.ConnectTimeout)
                stream = self._inner.connect_tcp(address, port, left, local_address, socket_options)
                return _Timed(stream, self._deadline)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure


class _Timed(httpcore.NetworkStream):
    """A connection that ends by a deadline, whatever arrives meanwhile."""

    def __init__(self, inner: httpcore.NetworkStream, deadline: float) -> None:
        self._inner, self._deadline = inner, deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """See ``httpcore.NetworkStream``."""
        return self._inner.read(max_bytes, _left(timeout, self._deadline, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """See ``httpcore.NetworkStream``."""
        self._inner.write(buffer, _left(timeout, self._deadline, httpcore.WriteTimeout))

    def close(self) -> None:
        """See ``httpcore.NetworkStream``."""
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        """See ``httpcore.NetworkStream``."""
        left = _left(timeout, self._deadline, httpcore.ConnectTimeout)
        return _Timed(self._inner.start_tls(ssl_context, server_hostname, left), self._deadline)

    def get_extra_info(self, info: str) -> Any:
        """See ``httpcore.NetworkStream``."""
        return self._inner.get_extra_info(info)


def _left(timeout: float | None, deadline: float, error: type[httpcore.TimeoutException]) -> float:
    """Seconds that a step may take. Raises ``error`` if there are none."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise error("the time is over")
    return left if timeout is None else min(left, timeout)
