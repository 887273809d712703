"""The application of the service: its routes, and what every request passes before it reaches them."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.types import ASGIApp, Receive, Scope, Send

from latentsync.constants import VERSION
from latentsync.service.http import about, generations, uploads
from latentsync.service.http.access import Service, add_fault_handlers
from latentsync.service.http.body import BodyLimits
from latentsync.service.metrics import StoreMetrics
from latentsync.web.origins import OwnOrigin, TrustedHosts

OWN = {"/healthz", "/readyz", "/metrics", "/docs", "/docs/oauth2-redirect", "/redoc", "/openapi.json"}  # and /v2/...
TEXT = """Lip sync: a video and an audio track in, the video with the mouth following the audio out.

The shape is that of sync.so's interface, so its clients work here. Every error is one sentence with its cause and what
to do about it.
"""


def build_app(service: Service, workers_alive: Any = lambda: 0, hosts: TrustedHosts | None = None) -> ASGIApp:
    """``hosts``: names that the service answers to, and to no page of another site; None: to all, for where there are
    keys, which no page of another site has."""
    app = FastAPI(title="LatentSync", version=VERSION, description=TEXT)
    app.state.service, app.state.metrics = service, StoreMetrics(service.store, workers_alive)
    add_fault_handlers(app)
    for router in (generations.router, uploads.router, about.router, about.health):
        app.include_router(router)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    guarded: ASGIApp = app
    app.add_middleware(BodyLimits, settings=service.settings)
    return guarded if hosts is None else OwnOrigin(guarded, hosts)


def _openapi(app: FastAPI) -> dict[str, Any]:
    """The document of the interface, with the shapes of a body that is read by hand."""
    if app.openapi_schema is None:
        made = get_openapi(title=app.title, version=app.version, description=TEXT, routes=app.routes)
        made["components"]["schemas"] = generations.SCHEMAS | made["components"]["schemas"]
        app.openapi_schema = made
    return app.openapi_schema


class Beside:
    """``page`` beside ``service``: the paths of the latter are its own, all others are the page's."""

    def __init__(self, service: ASGIApp, page: ASGIApp) -> None:
        self._service, self._page = service, page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        own = scope["type"] == "http" and (scope["path"].startswith("/v2/") or scope["path"] in OWN)
        await (self._service if own else self._page)(scope, receive, send)
