"""From a waveform to what each video frame attends to: hidden states of Whisper's encoder at 50 Hz.

T encoder positions · L taps · D width · S = 10 positions x L taps
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import fields
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from torch import nn
from whisper.model import ModelDimensions

from latentsync.audio.encoder_windows import EncoderWindow, WindowPlan, plan_windows
from latentsync.audio.mel import WHISPER_BANDS, whisper_log_mel
from latentsync.checkpoint.tensors import mismatch, refuse_extras, require_tensors
from latentsync.checkpoint.whisper import load_whisper_weights
from latentsync.constants import AUDIO_RATE, WHISPER_MEL_FRAMES, WHISPER_POSITIONS
from latentsync.features.live_features import AudioSource, LiveFeatures
from latentsync.models.whisper import WhisperTaps
from latentsync.runtime.memory import with_memory_freed
from latentsync.types import AudioFeatures, feature_positions

NETWORK = "Whisper's encoder"
WINDOWS_KEPT = 3  # about 10 MB each with Whisper tiny; a video frame reads from two at most


class AudioEncoder:
    """Whisper's encoder with the mel spectrogram before it and the cutting into windows around it.

    ``taps`` maps log-mel (B, 80, 3000) to (B, 1500, L, D). Its weights keep their precision; ``dtype`` is that of what
    flows through it. Results are float32 on the CPU.
    """

    def __init__(
        self, taps: WhisperTaps, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
    ) -> None:
        self._taps = taps.to(device).eval()
        self._device = device
        self._dtype = dtype

    @property
    def width(self) -> int:
        """D: what a U-Net must attend to."""
        return self._taps.width

    @classmethod
    def from_file(
        cls, path: str | Path, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
    ) -> AudioEncoder:
        """Read an openai-whisper file such as ``tiny.pt``.

        Raises ``WeightsMissingError``, ``WeightsCorruptError``, and ``WeightsMismatchError`` for an encoder of another
        build or one that does not read 80 mel bands and 30 s.
        """
        path = Path(path)
        dims, state = load_whisper_weights(path)
        if (dims["n_mels"], dims["n_audio_ctx"]) != (WHISPER_BANDS, WHISPER_POSITIONS):
            raise mismatch(path, f"reads {dims['n_mels']} mel bands and gives {dims['n_audio_ctx']} positions a window")
        taps = WhisperTaps(
            ModelDimensions(**{field.name: dims.get(field.name, 0) for field in fields(ModelDimensions)})
        )
        expected = taps.encoder.state_dict()
        refuse_extras(path, require_tensors(path, state, expected, NETWORK), NETWORK)
        taps.encoder.load_state_dict(state)
        return cls(taps, device, dtype)

    def encode(self, waveform: np.ndarray, plan: WindowPlan = "overlapping") -> AudioFeatures:
        """Features of the whole ``waveform`` (n,), float in [-1, 1] at 16 kHz: 23 MB a minute with Whisper tiny.

        Raises ``AudioError`` for a waveform that is shorter than one position (20 ms) or not finite, and
        ``OutOfMemoryError``.
        """
        log_mel = whisper_log_mel(waveform)
        pieces = [self._encode_window(log_mel, window) for window in plan_windows(log_mel.shape[1], plan)]
        return AudioFeatures(np.concatenate(pieces), Fraction(len(waveform), AUDIO_RATE))

    def stream(self, waveform: np.ndarray, plan: WindowPlan = "overlapping") -> StreamedFeatures:
        """The same features, computed window by window when they are first asked for. Raises as ``encode`` does."""
        log_mel = whisper_log_mel(waveform)
        windows = plan_windows(log_mel.shape[1], plan)
        return StreamedFeatures(
            windows, lambda window: self._encode_window(log_mel, window), Fraction(len(waveform), AUDIO_RATE)
        )

    def live(self, source: AudioSource) -> LiveFeatures:
        """The features of audio that may be still to come; ``window`` raises as ``encode`` does."""
        return LiveFeatures(source, lambda waveform: self.encode(waveform).states)

    def _encode_window(self, log_mel: np.ndarray, window: EncoderWindow) -> np.ndarray:
        """(window.stop - window.start, L, D) float32"""
        return with_memory_freed(lambda: self._states(log_mel, window), "the features of 30 s of audio")

    @torch.no_grad()
    def _states(self, log_mel: np.ndarray, window: EncoderWindow) -> np.ndarray:
        mel = torch.from_numpy(log_mel[None, :, window.mel_start : window.mel_stop])
        mel = nn.functional.pad(mel, (0, WHISPER_MEL_FRAMES - mel.shape[-1]))
        states = self._taps(mel.to(self._device, self._dtype))
        return states[0, window.rows].float().cpu().numpy()


class StreamedFeatures:
    """Audio conditioning by time, computed on demand (``types.AudioWindows``), for one consumer at a time.

    Kept are the log-mel spectrogram (1.9 MB a minute, half of what the waveform takes) and the windows used last. Any
    order of times gives the right values; going far back computes anew.
    """

    duration: Fraction

    def __init__(
        self,
        windows: tuple[EncoderWindow, ...],
        encode: Callable[[EncoderWindow], np.ndarray],
        duration: Fraction,
    ) -> None:
        self.duration = duration
        self._windows = windows
        self._encode = encode
        self._starts = [window.start for window in windows]
        self._kept: OrderedDict[int, np.ndarray] = OrderedDict()  # window number -> states, used last at the end

    def window(self, frame_time: Fraction) -> np.ndarray:
        """(S, D) float32 tokens for the video frame at ``frame_time`` seconds: time-major, tap-minor."""
        rows = np.stack([self._row(position) for position in feature_positions(frame_time, self._windows[-1].stop)])
        return rearrange(rows, "positions taps width -> (positions taps) width")

    def _row(self, position: int) -> np.ndarray:
        number = bisect_right(self._starts, position) - 1
        if number not in self._kept:
            self._kept[number] = self._encode(self._windows[number])
            if len(self._kept) > WINDOWS_KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(number)
        return self._kept[number][position - self._starts[number]]
