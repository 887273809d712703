"""An enhancer of the user's own between the generator and the paste: ``--enhance``.

A generator that works at 256 or 128 pixels leaves a soft mouth, and there are networks that sharpen faces. None comes
with this package. Whatever keeps to ``FaceEnhancer`` can be named: a function as ``module:function``, a TorchScript
file, or an ONNX file with one input and one output, which OpenCV runs. Colors and grain are matched afterwards, so an
enhancer need not care about them; it also need not care about what lies outside the painted area.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from latentsync.errors import ConfigError, GenerationError, WeightsCorruptError, WeightsMissingError
from latentsync.face.paste_settings import PasteSettings

if TYPE_CHECKING:
    import cv2
    from torch.jit import ScriptModule

TORCHSCRIPT, ONNX = (".pt", ".pth", ".ts"), ".onnx"


class FaceEnhancer(Protocol):
    """What improves aligned faces. It is called with one face at a time, in the order of the frames, in one thread."""

    def __call__(self, faces: np.ndarray) -> np.ndarray:
        """(n, 3, R, R) float32 RGB in [-1, 1] in and out; must not write to its argument."""


def load_enhancer(settings: PasteSettings) -> FaceEnhancer | None:
    """The enhancer of the ``settings``; None if there is none or its strength is 0.

    Raises ``ConfigError`` if a function cannot be imported, and ``WeightsError`` for files that cannot be used.
    """
    name = settings.enhance
    if not name or settings.enhance_strength == 0:
        return None
    path = Path(name)
    if path.suffix.lower() not in (*TORCHSCRIPT, ONNX):
        return _imported(name)
    if not path.is_file():
        raise WeightsMissingError(f"There is no enhancer {path}.", remedy="Check the path after --enhance.")
    return _OnnxEnhancer(path) if path.suffix.lower() == ONNX else _ScriptedEnhancer(path)


def enhanced(face: np.ndarray, enhancer: FaceEnhancer, strength: float) -> np.ndarray:
    """(3, R, R) float32: ``face`` with ``strength`` of what the enhancer makes of it.

    Raises ``GenerationError`` if that is no finite image of the same size.
    """
    better = np.asarray(enhancer(face[None]), dtype=np.float32)
    if better.shape != (1, *face.shape) or not np.isfinite(better).all():
        raise GenerationError(
            f"The enhancer gave {better.shape} of {face[None].shape}, or values that are no numbers.",
            remedy="It must give as many RGB faces of the same size, with values from -1 to 1; or leave out --enhance.",
        )
    return face + np.float32(strength) * (np.clip(better[0], -1, 1) - face)


def _imported(name: str) -> FaceEnhancer:
    module, _, function = name.partition(":")
    remedy = "Give module:function of an installed module, a TorchScript file (.pt) or an ONNX file (.onnx)."
    if not module or not function:
        raise ConfigError(f"'{name}' names no enhancer.", remedy=remedy)
    try:
        found = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"The enhancer {name} cannot be imported: {error}.", remedy=remedy) from error
    if not callable(found):
        raise ConfigError(f"The enhancer {name} cannot be called.", remedy=remedy)
    return found


class _ScriptedEnhancer:
    def __init__(self, path: Path) -> None:
        import torch

        try:
            self._network: ScriptModule = torch.jit.load(str(path), map_location="cpu").eval()
        except (RuntimeError, ValueError) as error:
            raise WeightsCorruptError(
                f"{path} is no TorchScript file: {str(error).splitlines()[0]}", remedy="Save it with torch.jit.save."
            ) from error

    def __call__(self, faces: np.ndarray) -> np.ndarray:
        import torch

        with torch.inference_mode():
            return self._network(torch.from_numpy(faces)).float().numpy()


class _OnnxEnhancer:
    def __init__(self, path: Path) -> None:
        import cv2

        try:
            self._network: cv2.dnn.Net = cv2.dnn.readNetFromONNX(str(path))
        except cv2.error as error:
            raise WeightsCorruptError(
                f"{path} is no ONNX file that OpenCV reads: {error.err}.", remedy="Export it anew, or give TorchScript."
            ) from error

    def __call__(self, faces: np.ndarray) -> np.ndarray:
        self._network.setInput(np.ascontiguousarray(faces))
        return self._network.forward()
