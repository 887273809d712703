"""Calls of a page over HTTP as a program makes them that was not written for it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from hypothesis import strategies as st

from tests.page.anything import any_value

FILE = {"_type": "gradio.FileData"}
CHOICES = ["built-in models", "builtin", 0, 0, 0, "pingpong", "as the source", "largest"]
CHOICES += ["face", "generate", "", "off", "auto", None, ""]
TIMEOUT = 120.0  # s; the machine may be busy


@dataclass(frozen=True)
class Answer:
    """``data``: what a call gave, or None; ``sentence``: what went wrong, or ''."""

    status: int
    data: Any = None
    sentence: str = ""


class Caller:
    """One program, which has uploaded a video and its audio."""

    def __init__(self, address: str, video: Path, audio: Path) -> None:
        # A connection for each call: the server closes those that rest, which may meet the next call.
        self._client = httpx.Client(base_url=address, timeout=TIMEOUT, limits=httpx.Limits(max_keepalive_connections=0))
        self._config = self._client.get("config").json()
        self.video, self.audio = self.upload(video), self.upload(audio)

    def close(self) -> None:
        self._client.close()

    def upload(self, path: Path, name: str = "") -> dict[str, Any]:
        files = {"files": (name or path.name, path.read_bytes())}
        (place,) = self._client.post("gradio_api/upload", files=files).raise_for_status().json()
        return {"path": place, "meta": FILE}

    def post(self, route: str, body: bytes, content_type: str = "application/json") -> httpx.Response:
        return self._client.post(f"gradio_api/{route}", content=body, headers={"content-type": content_type})

    def function(self, elem_id: str, event: str = "click") -> int:
        """The number of what a component of the page calls."""
        components = self._config["components"]
        (component,) = [each["id"] for each in components if each["props"].get("elem_id") == elem_id]
        found = [each["id"] for each in self._config["dependencies"] if [component, event] in each["targets"]]
        return found[0]

    def inputs(self, function: int) -> int:
        """How many values a function of the page takes."""
        (found,) = [each for each in self._config["dependencies"] if each["id"] == function]
        return len(found["inputs"])

    def call(self, route: str, body: bytes) -> Answer:
        """What comes of a post: of its stream too, if it has one."""
        posted = self.post(route, body)
        if posted.status_code != 200:
            is_json = posted.headers["content-type"] == "application/json"
            return Answer(posted.status_code, sentence=posted.json()["detail"] if is_json else posted.text)
        if "event_id" not in posted.json():
            return Answer(200, posted.json())
        event = posted.json()["event_id"]
        if route == "queue/join":
            return self.completed(json.loads(body)["session_hash"], event)
        *_, last = self._events(f"gradio_api/{route}/{event}")
        value = json.loads(last.partition("data: ")[2])
        if last.startswith("event: error"):
            return Answer(200, sentence=value["error"])
        return Answer(200, value)

    def completed(self, session: str, event: str) -> Answer:
        """The end of an event in the stream of a session."""
        for text in self._events(f"gradio_api/queue/data?session_hash={session}"):
            message = json.loads(text.removeprefix("data: "))
            if message["msg"] == "process_completed" and message["event_id"] == event:
                output = message["output"]
                return Answer(200, output["data"]) if message["success"] else Answer(200, sentence=output["error"])
        raise AssertionError("the stream ended without the event")

    def _events(self, address: str) -> list[str]:
        return [text for text in self._client.get(address).text.split("\n\n") if "data: " in text]


def mostly(usual: st.SearchStrategy, rare: st.SearchStrategy) -> st.SearchStrategy:
    """Three of four times one, else the other."""
    return st.integers(0, 3).flatmap(lambda draw: usual if draw else rare)


def any_call(caller: Caller, functions: int) -> st.SearchStrategy[tuple[str, bytes]]:
    """(route, body) of calls from right to hostile; those that are right take their time, and are rare."""
    between = {"dub": [], "preview": [0.5]}  # the files and the choices
    value = mostly(st.sampled_from([*CHOICES, None, caller.video, caller.audio]), any_value())

    def data(name: str) -> st.SearchStrategy[list[Any]]:
        right = [caller.video, caller.audio, *between[name], *CHOICES]
        changes = st.dictionaries(st.integers(0, len(right) - 1), any_value(), min_size=1, max_size=3)
        nearly = changes.map(lambda changed: [changed.get(index, known) for index, known in enumerate(right)])
        return mostly(nearly, st.lists(value, max_size=12))

    session = mostly(st.text("abc123", min_size=1, max_size=9), any_value())
    by_place = st.sampled_from(list(between)).flatmap(
        lambda name: st.fixed_dictionaries(
            {"data": mostly(data(name), mostly(data(name), any_value()))}, optional={"session_hash": session}
        ).map(lambda body: (f"call/{name}", body))
    )
    by_name = st.tuples(
        st.sampled_from(["call/v2/dub", "call/v2/preview", "call/v2/dub", "call/nothing", "call/v2/nothing"]),
        st.dictionaries(
            mostly(st.sampled_from(["video", "audio", "steps", "face", "seed"]), st.text(max_size=9)), value
        ),
    )
    joined = st.tuples(
        st.just("queue/join"),
        st.fixed_dictionaries(
            {
                "data": mostly(
                    st.sampled_from([0, 1, 2, 10, 11]).flatmap(lambda n: st.lists(value, min_size=n, max_size=n)),
                    any_value(),
                ),
                "fn_index": mostly(st.integers(0, functions - 1), any_value()),
                "session_hash": st.text("abc123", min_size=1, max_size=9).map(lambda name: f"joined{name}"),
            },
            optional={"event_data": any_value(), "trigger_id": any_value(), "batched": st.booleans()},
        ),
    )
    ended = st.tuples(
        st.sampled_from(["cancel", "reset"]),
        st.dictionaries(st.sampled_from(["session_hash", "fn_index", "event_id"]), any_value()),
    )
    shaped = mostly(by_place, mostly(joined, mostly(by_name, ended))).map(
        lambda call: (call[0], json.dumps(call[1]).encode())
    )
    raw = st.tuples(
        st.sampled_from(["call/dub", "queue/join", "cancel"]),
        mostly(st.binary(max_size=50), st.integers(1, 3000).map(lambda depth: b"[" * depth + b"]" * depth)),
    )
    return mostly(shaped, mostly(shaped, raw))
