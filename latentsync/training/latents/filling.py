"""Computing what is kept of the clips before the first step, each process its share."""

from __future__ import annotations

import logging
from collections.abc import Callable

from accelerate import Accelerator
from tqdm import tqdm

from latentsync.data.manifest import Clip
from latentsync.errors import DataError
from latentsync.training.loop.run_clips import RunClips

log = logging.getLogger(__name__)


def fill_cache(clips: RunClips, compute: Callable[[Clip], object], what: str, accelerator: Accelerator) -> None:
    """Call ``compute`` for this process's share of the clips. What fails is reported when a sample asks for it."""
    both = (*clips.train, *clips.validation)
    own = both[accelerator.process_index :: accelerator.num_processes]
    for clip in tqdm(own, desc=what, unit="clip", disable=not accelerator.is_main_process):
        try:
            compute(clip)
        except DataError as error:
            log.warning("%s: %s", clip.path, error.message)
