"""Networks applied to media: the features of the audio that the U-Net attends to."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from latentsync.features.audio_encoder import AudioEncoder as AudioEncoder


def __getattr__(name: str) -> object:
    if name == "AudioEncoder":
        from latentsync.features.audio_encoder import AudioEncoder

        return AudioEncoder
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
