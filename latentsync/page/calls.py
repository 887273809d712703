"""The calls of the page and of programs before Gradio reads them: JSON of the right shape goes on, the rest is refused
in a sentence."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from latentsync.page import wording
from latentsync.page.blocks import PageBlocks
from latentsync.page.forms import RefusedError
from latentsync.page.request import CALLS, FILES, LATER_FIELDS
from latentsync.page.routes import API

DEEPEST = 16  # lists and objects in each other
LONGEST_NAME = 64  # characters of a session or an event


class Calls:
    """Lets calls of ``blocks`` through with the fields that they need, no others."""

    def __init__(self, app: ASGIApp, blocks: PageBlocks) -> None:
        self._app, self._blocks = app, blocks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            await self._answer(scope, receive, send)
        except RefusedError as refused:
            await JSONResponse({"detail": refused.message}, refused.status)(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["path"].removeprefix(f"{API}/") if scope["method"] == "POST" else ""
        if not (kind.startswith("call/") or kind in ("queue/join", "cancel", "reset")):
            await self._app(scope, receive, send)
            return
        if not Headers(scope=scope).get("content-type", "").startswith("application/json"):
            raise RefusedError(415, "A call is sent as application/json.")
        value = _parsed(await _body(receive))
        body = json.dumps(self._checked(kind.rstrip("/"), value)).encode()
        headers = [(key, text) for key, text in scope["headers"] if key != b"content-length"]
        headers.append((b"content-length", b"%d" % len(body)))
        given = False

        async def replay() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app({**scope, "headers": headers}, replay, send)

    def _checked(self, kind: str, value: Mapping[str, Any]) -> dict[str, Any]:
        """The fields of a call that Gradio is given."""
        if kind.startswith("call/v2/"):
            return _by_name(kind.removeprefix("call/v2/"), value)
        if kind.startswith("call/"):
            fields, data = _fields(kind.removeprefix("call/")), _data(value)
            missing = len(fields) - len(data)
            data += [None] * missing if missing <= len(LATER_FIELDS) else []
            return {"data": data} | _names(value, "session_hash", required=False)
        if kind == "reset":
            return _names(value, "event_id")
        function = value.get("fn_index")
        if isinstance(function, bool) or not isinstance(function, int) or function not in self._blocks.fns:
            raise RefusedError(404, wording.NOT_UNDERSTOOD)
        if kind == "cancel":
            return {"fn_index": function} | _names(value, "session_hash", "event_id")
        trigger = value.get("trigger_id")
        known = isinstance(trigger, int) and trigger in self._blocks.blocks
        return {
            "data": _data(value),
            "fn_index": function,
            "event_data": value.get("event_data"),
            "trigger_id": trigger if known else None,
        } | _names(value, "session_hash")


async def _body(receive: Receive) -> bytes:
    """All of it; ``Uploads`` has seen that it is small."""
    parts, more = [], True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(parts)


def _parsed(body: bytes) -> Mapping[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):  # no JSON, no text, a number of thousands of digits, too deep
        raise RefusedError(400, "The call is no JSON that can be read.") from None
    if not isinstance(value, dict):
        raise RefusedError(400, "A call is a JSON object.")
    level: list[Any] = [value]
    for _ in range(DEEPEST):
        level = [inner for outer in level for inner in (outer.values() if isinstance(outer, dict) else outer)]
        level = [each for each in level if isinstance(each, (dict, list))]
    if level:
        raise RefusedError(400, f"The call holds lists or objects more than {DEEPEST} deep in each other.")
    return value


def _data(value: Mapping[str, Any]) -> list[Any]:
    data = value.get("data")
    if not isinstance(data, list):
        raise RefusedError(400, "'data' is a list of the values of a call.")
    return data


def _names(value: Mapping[str, Any], *fields: str, required: bool = True) -> dict[str, str]:
    """Texts by which Gradio knows a session or an event."""
    found = {}
    for field in fields:
        name = value.get(field)
        if isinstance(name, str) and 0 < len(name) <= LONGEST_NAME and name.isascii() and name.isprintable():
            found[field] = name
        elif required or name is not None:
            raise RefusedError(400, f"'{field}' is a text of 1 to {LONGEST_NAME} letters and digits.")
    return found


def _by_name(api_name: str, value: Mapping[str, Any]) -> dict[str, Any]:
    """Values of a call by the names of its fields; what is needed and not there is refused where the rest is."""
    fields = _fields(api_name)
    if any(name not in fields for name in value):
        raise RefusedError(400, f"/{api_name} has the fields {', '.join(fields)} and no others.")
    return dict.fromkeys(FILES) | dict(value)


def _fields(api_name: str) -> tuple[str, ...]:
    if api_name not in CALLS:
        raise RefusedError(404, wording.NOT_UNDERSTOOD)
    return CALLS[api_name]
