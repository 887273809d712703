"""What a dub will cost: what ``estimate`` asks for, gathered from the request, its files and the devices."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import ceil
from typing import TYPE_CHECKING

from latentsync.checkpoint import count_parameters
from latentsync.constants import MODEL_FPS
from latentsync.inference.excerpt import excerpt_frames
from latentsync.inference.job.devices import usable_devices
from latentsync.inference.job.estimate import Estimate, NetworkSizes, estimate
from latentsync.inference.job.files import open_video, require_points_in_video, require_skipped_in_result
from latentsync.inference.job.request import DubRequest
from latentsync.inference.occlusion import occlusion_reach
from latentsync.inference.options import SyncGate, SyncOptions
from latentsync.inference.scene import Cast
from latentsync.inference.stretches import Stretch
from latentsync.inference.sync_gate import STRETCH
from latentsync.inference.timeline import expected_frames, frame_spacing, result_seconds
from latentsync.inference.weights import ModelSettings, model_settings
from latentsync.inference.windows import WindowPlan
from latentsync.media.audio import audio_seconds
from latentsync.media.video import VideoFile
from latentsync.types import VideoInfo

if TYPE_CHECKING:
    import torch

    from latentsync.inference.room import GpuRoom


def window_plan(options: SyncOptions, settings: ModelSettings, info: VideoInfo) -> WindowPlan:
    """How the run cuts its frames into windows. Raises ``ConfigError`` for an overlap that windows cannot have."""
    rate = 1 / frame_spacing(info)
    return WindowPlan.for_run(options.compat, rate, settings.num_frames, settings.steady_reference, options.overlap)


def frames_to_do(video: VideoFile, duration: Fraction, options: SyncOptions) -> int:
    """Frames of the result, or of the excerpt that is asked for. Raises ``ConfigError`` for an excerpt of none."""
    if options.excerpt is None:
        return expected_frames(video.info, duration, options.length)
    return len(excerpt_frames(video, duration, options.length, options.excerpt))


def share_passing(cast: Cast, made: Stretch) -> Fraction:
    """Which share of the frames of a ``made`` stretch passes through, each counted for every role that dubs it: below 0
    where several people speak at once."""
    if cast.parts[0].stop is None:
        return cast.parts[0].speech.share_passing(made)
    dubbed = Fraction(0)
    for part in cast.parts:
        first, last = max(made.start - part.start, Fraction(0)), min(made.stop - part.start, part.seconds)
        if first < last:
            own = Stretch(first, last)
            dubbed += own.seconds * (1 - part.speech.share_passing(own))
    return 1 - dubbed / made.seconds


def cost_of(
    request: DubRequest,
    info: VideoInfo,
    frames: int,
    settings: ModelSettings,
    plan: WindowPlan,
    options: SyncOptions,
    devices: Sequence[torch.device],
    dtype: torch.dtype,
    passing: Fraction,
) -> tuple[Estimate, GpuRoom | None]:
    """What the run will cost, and what there is room for on the GPU that has the least."""
    from latentsync.inference.device import measure_speed
    from latentsync.inference.room import auto_batch, batches_in_flight, room_on

    sizes = NetworkSizes(count_parameters(request.weights.unet), count_parameters(request.weights.codec_file))
    branches = 2 if options.sampler.guided else 1
    weights = dtype.itemsize * sizes.total
    rooms = [room_on(device, dtype, settings.resolution, branches, weights) for device in devices]
    room = min(filter(None, rooms), key=lambda room: room.windows, default=None)
    small = request.weights.are_builtin
    windows = auto_batch(devices[0], dtype, settings.resolution, branches, small) if room is None else room.windows
    judged = 0 if options.sync_gate is SyncGate.OFF else ceil(STRETCH / MODEL_FPS * info.fps) + plan.group_length
    cost = estimate(
        info,
        frames,
        plan,
        settings.resolution,
        options.sampler,
        sizes,
        sum(measure_speed(device, dtype) for device in devices),
        request.named_batch() or windows,
        on_accelerator=devices[0].type != "cpu",
        passing=passing,
        held=occlusion_reach(options)[1] + judged,
        in_flight=1 if options.compat is not None else batches_in_flight(devices[0], len(devices)),
    )
    return cost, room


def rough_cost(request: DubRequest) -> Estimate:
    """The cost of a run by the headers of its files: no frame is decoded, no face looked for, pauses count as speech.

    Raises the named errors of what shows that far.
    """
    video = open_video(request)
    seconds = audio_seconds(request.audio if request.drive is None else request.drive, request.audio_track)
    require_points_in_video(request, video.info, seconds)
    if request.scene is None:
        require_skipped_in_result(request.options, result_seconds(video.info, seconds, request.options.length))
    request.weights.check()
    settings, options = model_settings(request.weights.unet, request.unet_config), request.options
    plan = window_plan(options, settings, video.info)
    frames = frames_to_do(video, seconds, options)

    from latentsync.inference.device import common_precision  # torch takes seconds to import

    devices, _ = usable_devices(request)
    dtype = common_precision(request.precision, devices)
    cost, _ = cost_of(request, video.info, frames, settings, plan, options, devices, dtype, Fraction(0))
    return cost
