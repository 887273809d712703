"""The server: the page, the people, and sessions over WebSocket and, where aiortc is installed, WebRTC."""

from __future__ import annotations

import importlib.util
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from latentsync.errors import BusyError, ConfigError, LatentSyncError
from latentsync.live.server.studio import Studio, as_jpeg
from latentsync.live.server.websocket import MESSAGE_BYTES, SocketSession
from latentsync.web.listener import bind, listening, local_address
from latentsync.web.origins import OwnOrigin, TrustedHosts, is_loopback

if TYPE_CHECKING:
    from latentsync.live.server.webrtc import Calls

STATIC = Path(__file__).parent / "static"
PAGES = {"/": "index.html", "/live.js": "live.js", "/microphone.js": "microphone.js", "/live.css": "live.css"}
OFFER_BYTES = 2**16  # of a WebRTC session description


class Site:
    """The answers of the server. ``calls``: those over WebRTC, if there are any."""

    def __init__(self, studio: Studio, hosts: TrustedHosts) -> None:
        self._studio, self._hosts = studio, hosts
        self._calls: Calls | None = None
        if importlib.util.find_spec("aiortc") is not None:
            from latentsync.live.server.webrtc import Calls

            self._calls = Calls(studio)

    def app(self) -> Starlette:
        """As an application, without a guard."""
        routes: list[Route | WebSocketRoute] = [Route(path, _file(name)) for path, name in PAGES.items()]
        routes += [
            Route("/people", self._people),
            Route("/people/{name}.jpg", self._still),
            Route("/offer", self._offer, methods=["POST"]),
            WebSocketRoute("/live", self._live),
        ]
        return Starlette(routes=routes, lifespan=self._lifespan)

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        yield
        if self._calls is not None:
            await self._calls.close()

    async def _people(self, request: Request) -> JSONResponse:
        names, needs_key = list(self._studio.people), bool(self._studio.limits.key)
        return JSONResponse({"people": names, "key": needs_key, "webrtc": self._calls is not None})

    async def _still(self, request: Request) -> Response:
        try:
            still = self._studio.still(request.path_params["name"])
        except ConfigError as error:
            return JSONResponse({"message": str(error)}, 404)
        return Response(as_jpeg(still), media_type="image/jpeg")

    async def _live(self, socket: WebSocket) -> None:
        if not self._hosts.are_asked(socket.headers) or not self._hosts.sent_the_page(socket.headers):
            await socket.close(1008)  # before it is accepted: 403
            return
        await SocketSession(socket, self._studio).run()

    async def _offer(self, request: Request) -> JSONResponse:
        if self._calls is None:
            return JSONResponse({"message": "The package aiortc is not installed here."}, 501)
        length = request.headers.get("content-length", "")
        if not length.isdecimal() or int(length) > OFFER_BYTES:
            return JSONResponse({"message": f"An offer has at most {OFFER_BYTES} bytes."}, 413)
        try:
            return JSONResponse(await self._calls.answer(await request.json()))
        except BusyError as error:
            return JSONResponse({"message": str(error)}, 503)
        except (LatentSyncError, ValueError, KeyError, TypeError) as error:
            told = str(error) if isinstance(error, LatentSyncError) else "That is no offer."
            return JSONResponse({"message": told}, 400)


def build_app(studio: Studio, hosts: TrustedHosts) -> OwnOrigin:
    """The application, which answers under the names of ``hosts``, and to its own pages only."""
    return OwnOrigin(Site(studio, hosts).app(), hosts)


def _file(name: str) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        return FileResponse(STATIC / name, headers={"Cache-Control": "no-cache"})

    return answer


@contextmanager
def serving(
    studio: Studio, *, host: str = "127.0.0.1", port: int | None = None, allow_hosts: Sequence[str] = ()
) -> Iterator[str]:
    """The address while the block runs. Without a key it listens on this machine only. Raises ``ConfigError`` for
    another host then, and ``ServerError`` for a port that cannot be had."""
    if not studio.limits.key and not is_loopback(host):
        raise ConfigError(
            f"Everybody who reaches {host} could speak through this server.",
            remedy="Write a key into a file and name it with --key_file.",
        )
    with ExitStack() as stack:
        sock = stack.enter_context(bind(host, port))
        app = build_app(studio, TrustedHosts(host, allow_hosts))
        stack.enter_context(listening(app, sock, MESSAGE_BYTES))
        yield local_address(host, sock)
