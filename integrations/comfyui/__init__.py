"""LatentSync for ComfyUI: the folder to put, or to link, into ``custom_nodes``. See README.md beside it."""

from .nodes import comfy_entrypoint

__all__ = ["comfy_entrypoint"]
