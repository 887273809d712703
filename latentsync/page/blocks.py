"""Gradio's blocks with a boundary: no value of a call gets further than it should, and every failure is a sentence."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from gradio import processing_utils
from gradio.components import Component

from latentsync.errors import ConfigError, LatentSyncError
from latentsync.page import wording
from latentsync.page.faults import FaultLog
from latentsync.page.request import uploaded_file

LONGEST_TEXT = 20_000  # characters of a value that is no file: what the page itself shows in one component
_FILE = {"_type": "gradio.FileData"}


class PageBlocks(gr.Blocks):
    """Blocks whose functions are called with plain values and with files that were uploaded here, nothing else.

    Whatever goes wrong in a call ends as ``gr.Error`` with one sentence, which Gradio passes on to programs as well.
    ``fields``: the names in ``request.LABELS`` of components that take files.
    """

    def __init__(self, faults: FaultLog, **settings: Any) -> None:
        super().__init__(**settings)
        self._faults = faults
        self.fields: dict[Component, str] = {}

    async def process_api(self, *values: Any, **settings: Any) -> dict[str, Any]:
        """As Gradio's; raises ``gr.Error`` for everything."""
        try:
            return await super().process_api(*values, **settings)
        except gr.Error as error:
            error.print_exception = False
            raise
        except Exception as error:  # noqa: BLE001  the page lives on, and says so
            raise said(self._faults.sentence(error)) from error

    async def preprocess_data(
        self, block_fn: Any, inputs: Sequence[Any], state: Any, explicit_call: bool = False
    ) -> list[Any]:
        """As Gradio's, of values that were checked; what it refuses all the same is no call of this page."""
        try:
            checked = self._checked(block_fn, inputs)
        except LatentSyncError as error:
            raise said(self._faults.sentence(error)) from error
        try:
            return await super().preprocess_data(block_fn, checked, state, explicit_call)
        except Exception as error:  # noqa: BLE001  its own words name classes and paths
            raise said(wording.NOT_UNDERSTOOD) from error

    def _checked(self, block_fn: Any, inputs: Sequence[Any]) -> list[Any]:
        components = block_fn.inputs
        if block_fn.fn is None:
            raise ConfigError(wording.NOT_UNDERSTOOD)
        if len(inputs) != len(components):
            raise ConfigError(f"{len(inputs)} values were given where {len(components)} are needed.")
        return [self._checked_value(component, value) for component, value in zip(components, inputs, strict=True)]

    def _checked_value(self, component: Component, value: Any) -> Any:
        if component.stateful:
            return None  # Gradio has it, whatever a caller says
        field = self.fields.get(component)
        if value is None or (field is not None and value == ""):
            return None
        if field is not None:
            folder = Path(processing_utils.get_upload_folder())
            return {"path": str(uploaded_file(field, value, folder)), "meta": _FILE}
        if isinstance(value, (bool, int, float)) or (isinstance(value, str) and len(value) <= LONGEST_TEXT):
            return value
        raise self._refusal(component, value)

    def _refusal(self, component: Component, value: Any) -> ConfigError:
        label = getattr(component, "label", None)
        if label is None:
            return ConfigError(wording.NOT_UNDERSTOOD)
        what = {str: "so long a text", list: "a list"}.get(type(value), "an object")
        return ConfigError(f"{label}: {what} is not possible.")


def said(sentence: str) -> gr.Error:
    """A sentence as programs get it. Gradio may show it as HTML: names of files must not be read as tags."""
    return gr.Error(html.escape(sentence, quote=False), print_exception=False)
