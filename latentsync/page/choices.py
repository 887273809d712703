"""What of the video a result shows: the fields in a part of the page that is closed at first, and what they mean.

All of them are left as they are by whoever only wants a dub.
"""

from __future__ import annotations

from collections.abc import Mapping

import gradio as gr
from gradio.components import Component

from latentsync.face.paste_settings import FACE, TRAINED
from latentsync.face.visibility import AUTO, OFF
from latentsync.inference.options import SyncGate
from latentsync.inference.stretches import SilenceMode
from latentsync.page.request import LABELS

# Name of the API -> its choices, the default first, with what the page calls them.
CHOICES: Mapping[str, Mapping[str, str]] = {
    "mask": {FACE: "The face alone", TRAINED: "All that changes"},
    "silence": {
        SilenceMode.GENERATE.value: "As the models do",
        SilenceMode.CLOSE.value: "A closed mouth",
        SilenceMode.ORIGINAL.value: "As in the video",
    },
    "occlusion": {AUTO: "Leave them in front", OFF: "Do not look for them"},
    "sync_gate": {
        SyncGate.OFF.value: "Do not check",
        SyncGate.REPORT.value: "Say where they differ",
        SyncGate.REDO.value: "Make it again there",
    },
}
HELP: Mapping[str, str] = {
    "mask": "All that changes may show at hair and neck.",
    "silence": "Breath and noise move the mouth a little. As in the video: only if that has sound.",
    "occlusion": "A hand, a microphone, a glass.",
    "sync_gate": "Takes longer. One second is too short for it.",
    "mask_file": "A square PNG of the face: black is painted, white stays.",
    "skip": "Seconds of the result, as 12.0-14.5, 20-21.",
}


def what_is_shown() -> dict[str, Component]:
    """The fields by their names in the API, in a part of the page that is closed at first."""
    fields: dict[str, Component] = {}
    with gr.Accordion("What changes, and what stays", open=False, elem_id="shown"):
        with gr.Row():
            for name in ("silence", "occlusion"):
                fields[name] = _choice(name)
        with gr.Row():
            fields["skip"] = gr.Textbox(
                "", label=LABELS["skip"], info=HELP["skip"], max_length=200, min_width=200, elem_id="skip"
            )
            fields["mask"] = _choice("mask")
        with gr.Row():
            fields["sync_gate"] = _choice("sync_gate")
            with gr.Column(min_width=200):
                fields["mask_file"] = gr.File(
                    label=LABELS["mask_file"], file_types=[".png"], height=140, elem_id="mask-file"
                )
                gr.Markdown(HELP["mask_file"], elem_classes="help")
    return fields


def _choice(name: str) -> gr.Dropdown:
    choices = [(words, value) for value, words in CHOICES[name].items()]
    return gr.Dropdown(
        choices, value=choices[0][1], label=LABELS[name], info=HELP[name], min_width=200, elem_id=name.replace("_", "-")
    )
