"""What a dub will cost, estimated before it starts from the request, its files and the devices: denoising steps, time,
memory, disk. Rough on purpose."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil, log
from typing import TYPE_CHECKING

import psutil

from latentsync.checkpoint import count_parameters
from latentsync.constants import MODEL_FPS
from latentsync.diffusion.settings import SamplerSettings
from latentsync.inference.excerpt import excerpt_frames
from latentsync.inference.job.devices import usable_devices
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

    from latentsync.inference.gpu_memory import GpuRoom


# Parameters, and floating-point operations for a frame at 256 pixels, which grow with the area: of the built-in
# networks and of the published ones, counted by torch.utils.flop_counter (`python -m benchmarks.roofline`). Those of
# another size are taken to lie on the power law through both.
UNETS = ((10.46e6, 5.00e9), (1.267e9, 253e9))
CODECS = ((3.42e6, 43.4e9), (83.7e6, 2 * 273e9 + 622e9))  # two encodings and one decoding
CACHED_SHARE = 0.15  # cost of a step that reuses features, over a full one: the outermost layers have most pixels
UTILISATION = 0.4  # share of the speed of a matrix product that convolutions reach
LAUNCHES = 4600  # operations of one evaluation of the published U-Net, whatever its batch
LAUNCH_SECONDS = 5e-6  # of the host, for each of them on an accelerator
PIXEL_SECONDS = 70e-9  # of one core, to decode, paste and encode a pixel (docs/experiments/benchmarks-2026-11.md)
START_SECONDS = 2.0  # to load small networks and to generate the first window
READ_BYTES = 1e9  # per second, of weights from a disk to the device
# Frames that all stages and queues hold at most, counted before an encoder that waits: always, for each window of a
# batch, and for each window of every batch in flight where there are several.
FRAMES_IN_FLIGHT, FRAMES_PER_WINDOW, FRAMES_IN_BATCH = 70, 38, 15
FACE_BYTES = 2 * 12  # for each pixel of a canvas: the aligned face of a frame and the generated one, three floats each
HOST_SHARE = 0.5  # of the host's free memory that frames may take
BITS_PER_PIXEL = 0.15  # of an encoded result; talking heads at the default quality stay below


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
    from latentsync.inference.gpu_memory import auto_batch, batches_in_flight, room_on
    from latentsync.inference.precision import measure_speed

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

    from latentsync.inference.precision import common_precision  # torch takes seconds to import

    devices, _ = usable_devices(request)
    dtype = common_precision(request.precision, devices)
    cost, _ = cost_of(request, video.info, frames, settings, plan, options, devices, dtype, Fraction(0))
    return cost


@dataclass(frozen=True, slots=True)
class NetworkSizes:
    """Numbers of parameters."""

    unet: int
    codec: int

    @property
    def total(self) -> int:
        """Of both."""
        return self.unet + self.codec


@dataclass(frozen=True, slots=True)
class Estimate:
    """The cost of a run.

    ``seconds`` is right within a factor of two or three; the progress bar knows better after the first window.
    ``start_seconds`` of them are for what a program does once: loading, and the first window.
    ``windows_on_host``: as many in a batch as the host's memory has room for. ``windows_for_joins``: those of
    ``windows`` that would not be needed if windows did not overlap.
    ``denoising_steps``: calls of the sampler's loop, counted for each window. ``memory_bytes``: of the frames that wait
    between the stages and of their faces, without the networks.
    """

    frames: int
    windows: int
    denoising_steps: int
    seconds: float
    memory_bytes: int
    disk_bytes: int
    windows_on_host: int
    windows_for_joins: int = 0
    start_seconds: float = 0.0

    def describe(self) -> str:
        """One sentence for the terminal."""
        more = f" ({self.windows_for_joins} more than with --overlap 0)" if self.windows_for_joins else ""
        return (
            f"{self.frames} frames, {self.windows} windows{more}, {self.denoising_steps} denoising steps: "
            f"about {duration(self.seconds)}; memory for frames about {self.memory_bytes / 1e9:.1f} GB, "
            f"result about {self.disk_bytes / 1e6:.0f} MB."
        )


def estimate(
    info: VideoInfo,
    frames: int,
    plan: WindowPlan,
    resolution: int,
    sampler: SamplerSettings,
    networks: NetworkSizes,
    flops_per_second: float,
    batch: int = 1,
    on_accelerator: bool = False,
    passing: Fraction = Fraction(0),
    held: int = 0,
    in_flight: int = 1,
) -> Estimate:
    """The cost of a result of ``frames`` frames; ``flops_per_second`` as measured by ``precision.measure_speed``.

    The frames are taken to be one shot with a face in each.
    ``on_accelerator``: the networks run beside the host's work, and no faster than their operations are launched.
    ``passing``: share of the frames that are left as they are, so that there are fewer windows. ``held``: further
    frames that wait, such as those for the verdict of a sync network. ``in_flight``: batches generated at once.
    """
    dubbed = max(1, ceil(frames * (1 - passing)))
    windows = plan.windows_in(dubbed)
    full, reusing = sampler.evaluations
    area = (resolution / 256) ** 2
    flops = _between(UNETS, networks.unet) * (full + reusing * CACHED_SHARE) + _between(CODECS, networks.codec)
    generating = windows * plan.length * area * flops / (flops_per_second * UTILISATION)
    pixels = info.width * info.height
    around = frames * pixels * PIXEL_SECONDS / (os.cpu_count() or 1)
    start = START_SECONDS + 4 * networks.total / READ_BYTES
    if on_accelerator:
        whole_calls = ceil(sampler.steps / sampler.cache_interval)
        calls = whole_calls + (sampler.steps - whole_calls) * CACHED_SHARE
        launching = ceil(windows / batch) * calls * LAUNCHES * LAUNCH_SECONDS
        seconds = start + max(generating, launching, around)
    else:
        seconds = start + generating + around
    frame_bytes = 3 * pixels + FACE_BYTES * resolution**2
    always = FRAMES_IN_FLIGHT + held
    per_window = FRAMES_PER_WINDOW + (FRAMES_IN_BATCH * in_flight if in_flight > 1 else 0)
    room = HOST_SHARE * psutil.virtual_memory().available / frame_bytes - always
    return Estimate(
        frames=frames,
        windows=windows,
        denoising_steps=windows * sampler.steps,
        seconds=seconds,
        memory_bytes=min(frames, always + per_window * max(batch, plan.stride)) * frame_bytes,
        disk_bytes=int(max(pixels * frames * BITS_PER_PIXEL / 8, _source_bytes(info, frames / info.fps))),
        windows_on_host=max(1, int(room / per_window)),
        windows_for_joins=windows - replace(plan, overlap=0).windows_in(dubbed),
        start_seconds=start,
    )


def _between(known: tuple[tuple[float, float], tuple[float, float]], parameters: int) -> float:
    """Operations of a network, by the power law through two that are ``known``: (parameters, operations)."""
    (small, few), (large, many) = known
    return few * (parameters / small) ** (log(many / few) / log(large / small))


def _source_bytes(info: VideoInfo, seconds: Fraction) -> float:
    return (info.bit_rate or 0) / 8 * float(seconds)


def duration(seconds: float) -> str:
    """A length of time in the unit that suits it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
