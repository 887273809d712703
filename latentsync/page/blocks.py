"""Gradio's blocks with a boundary: no value of a call gets further than it should, and every failure is a sentence."""

from __future__ import annotations

import html
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from gradio import processing_utils
from gradio.components import Component

from latentsync.errors import ConfigError, LatentSyncError
from latentsync.page import wording
from latentsync.page.faults import FaultLog
from latentsync.page.request import CALLS, FILES, FieldError, uploaded_file
from latentsync.page.scene_values import LONGEST_SCENE

LONGEST_TEXT = 20_000  # characters of a value that is no file: what the page itself shows in one component
SESSIONS_KEPT = 500  # whose components Gradio remembers, some 70 KB each; it takes every call for one of its own
_FILE = {"_type": "gradio.FileData"}


class PageBlocks(gr.Blocks):
    """Blocks whose functions are called with plain values and with files that were uploaded here, nothing else.

    Whatever goes wrong in a call ends as ``gr.Error`` with one sentence, which Gradio passes on to programs as well.
    ``fields``: what components are in ``request.LABELS``; files come for ``request.FILES`` only.
    """

    def __init__(self, faults: FaultLog, **settings: Any) -> None:
        super().__init__(**settings)
        self.faults = faults
        self.state_session_capacity = SESSIONS_KEPT
        self.fields: dict[Component, str] = {}

    async def process_api(self, block_fn: Any, *values: Any, **settings: Any) -> dict[str, Any]:
        """As Gradio's; raises ``gr.Error`` for everything."""
        try:
            return await super().process_api(block_fn, *values, **settings)
        except gr.Error as error:
            error.print_exception = False
            raise
        except Exception as error:
            if _is_ours(error):
                raise said(self.faults.sentence(error)) from error
            self.faults.note("Gradio failed on a call", error)  # which its own page would not make
            raise said(wording.NOT_UNDERSTOOD) from error

    async def preprocess_data(
        self, block_fn: Any, inputs: Sequence[Any], state: Any, explicit_call: bool = False
    ) -> list[Any]:
        """As Gradio's, of values that were checked; what it refuses all the same is no call of this page."""
        try:
            checked = self._checked(block_fn, inputs)
        except LatentSyncError as error:
            raise said(self.faults.sentence(error)) from error
        try:
            return await super().preprocess_data(block_fn, checked, state, explicit_call)
        except Exception as error:  # its own words name classes and paths
            raise said(wording.NOT_UNDERSTOOD) from error

    def _checked(self, block_fn: Any, inputs: Sequence[Any]) -> list[Any]:
        components = block_fn.inputs
        if block_fn.fn is None:
            raise ConfigError(wording.NOT_UNDERSTOOD)
        if len(inputs) != len(components):
            names = ", ".join(CALLS.get(str(block_fn.api_name), ()))
            raise ConfigError(f"{len(inputs)} of {len(components)} values came{names and f'; they are {names}'}.")
        return [self._checked_value(component, value) for component, value in zip(components, inputs, strict=True)]

    def _checked_value(self, component: Component, value: Any) -> Any:
        if component.stateful:
            return None  # Gradio has it, whatever a caller says
        field = self.fields.get(component, "")
        if value is None or (field in FILES and value == ""):
            return None
        if field in FILES:
            folder = Path(processing_utils.get_upload_folder())
            return {"path": str(uploaded_file(field, value, folder)), "meta": _FILE}
        longest = LONGEST_SCENE if field == "scene" else LONGEST_TEXT
        if isinstance(value, (bool, int, float)) or (isinstance(value, str) and len(value) <= longest):
            return value
        if field:
            what = "so long a text" if isinstance(value, str) else "a list or an object"
            raise FieldError(field, f"{what} is not possible.")
        raise ConfigError(wording.NOT_UNDERSTOOD)


def _is_ours(error: Exception) -> bool:
    """Whether it was raised by a function of the page, or below one."""
    modules = (frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__))
    return any(name.startswith("latentsync.") and name != __name__ for name in modules)


def said(sentence: str) -> gr.Error:
    """A sentence as programs get it. Gradio may show it as HTML: names of files must not be read as tags."""
    return gr.Error(html.escape(sentence, quote=False), print_exception=False)
