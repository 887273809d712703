"""Memory runs out at any place of a dub: there is a result or a named error, and the next job is as if nothing was."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL

from latentsync.diffusion.settings import SamplerSettings
from latentsync.errors import OutOfMemoryError
from latentsync.face.backends.face_alignment import FaceAlignmentDetector
from latentsync.inference import loading, precision
from latentsync.inference.fallback import PrecisionFallback
from latentsync.inference.job.dub import dub
from latentsync.inference.job.networks import KeptNetworks
from latentsync.inference.job.request import DubRequest
from latentsync.inference.options import SyncOptions
from latentsync.inference.output_guard import OutputGuard
from latentsync.inference.weights import WeightPaths
from latentsync.media.video import VideoFile
from latentsync.media.writer import write_video
from latentsync.models.unet import UNet3D
from latentsync.models.whisper import WhisperTaps
from latentsync.runtime.side_network import SideNetwork
from tests.inference.tiny_weights import write_checkpoints
from tests.inference.world import DrawnVideo, KnownFaces
from tests.media.synthetic import tone, write_wav

VIDEO = DrawnVideo(17, 200, 200, face=90)  # two windows


class KnownFacesInPortions(FaceAlignmentDetector):
    """The product's detector around known faces."""

    def _detect(self, frames):
        return KnownFaces(VIDEO).detect(frames)


class Process(KeptNetworks):
    """A process that dubs one video again and again with networks that it keeps."""

    def __init__(self, folder, precision):
        super().__init__()
        self.folder, self.precision, self.runs = folder, precision, 0

    def detector(self, name, auxiliary, device):
        return KnownFacesInPortions(None, None, SideNetwork(torch.device(device)), "known faces")

    def run(self):
        """The pixels of the result, and the report."""
        self.runs += 1
        output = self.folder / f"{self.runs}.mkv"
        request = DubRequest(
            self.folder.parent / "video.mp4",
            self.folder.parent / "audio.wav",
            output,
            SyncOptions(sampler=SamplerSettings("dpm++", steps=1, guidance_scale=1.0)),
            weights=WeightPaths.in_directory(self.folder.parent / "checkpoints"),
            precision=self.precision,
            batch="2",
        )
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("LATENTSYNC_CACHE", str(self.folder / str(self.runs)))  # faces are looked for anew
            report = dub(request, networks=self)
        return np.stack([frame.pixels for frame in VideoFile(output).frames()]).astype(float), report


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("job")
    write_checkpoints(folder / "checkpoints")
    write_video(folder / "video.mp4", VIDEO.frames(), VIDEO.info)
    write_wav(folder / "audio.wav", tone(0.68, 16_000), 16_000)
    return folder


@pytest.fixture
def process(folder, tmp_path_factory, monkeypatch):
    """What makes a process, with a folder of its own."""
    # What untrained networks give is noise: every window passes unless a test says otherwise.
    monkeypatch.setattr(OutputGuard, "fault", lambda self, made, original: None)

    def make(precision):
        place = folder / tmp_path_factory.mktemp("process").name
        place.mkdir()
        return Process(place, precision)

    return make


@pytest.fixture(scope="module")
def loaded():
    """The networks of every pipeline that is loaded, the newest last."""
    found, arrange = [], loading.arrange

    def noted(models, compiled=False):
        found.append(models)
        return arrange(models, compiled)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loading, "arrange", noted)
        yield found


class LackOfMemory:
    """Raises in place of a function, the first ``times`` calls; afterwards the function works."""

    def __init__(self, patch, owner, name, times):
        self.function, self.times, self.raised = getattr(owner, name), times, 0
        patch.setattr(owner, name, lambda *arguments, **more: self(*arguments, **more))

    def __call__(self, *arguments, **more):
        if self.raised < self.times:
            self.raised += 1
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return self.function(*arguments, **more)


def check_next_job(process, expected, dtype, loaded):
    """It runs as asked: in its precision, with the weights as they were loaded, and gives the same up to rounding."""
    after, report = process.run()
    assert np.abs(after - expected).mean() < 0.5
    assert report.precision == str(dtype).removeprefix("torch.") and report.record.precision_changes == []
    models = loaded[-1]
    fresh = loading.load_unet(WeightPaths.in_directory(process.folder.parent / "checkpoints").unet, dtype=dtype)
    kept = models.unet.state_dict()
    assert all(torch.equal(kept[name], tensor) for name, tensor in fresh.state_dict().items())
    assert models.dtype == dtype and all(tensor.dtype == dtype for tensor in models.codec.parameters())


PLACES = {
    "probe": (precision, "_measure_speed"),
    "load": (loading, "load_codec"),
    "audio": (WhisperTaps, "forward"),
    "detector": (KnownFacesInPortions, "_detect"),
    "encode": (AutoencoderKL, "encode"),
    "U-Net": (UNet3D, "forward"),
    "decode": (AutoencoderKL, "decode"),
}
ALWAYS = 10**9


@pytest.fixture(scope="module")
def expected(folder):
    """The result when nothing happens."""
    (folder / "expected").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OutputGuard, "fault", lambda self, made, original: None)
        return Process(folder / "expected", "fp32").run()[0]


@pytest.mark.parametrize("place", PLACES)
def test_a_result_or_a_named_error_and_the_next_job_is_unharmed(process, expected, loaded, place):
    """It runs out every time, then once, then not at all, in one process."""
    server = process("fp32")
    with pytest.MonkeyPatch.context() as patch:
        precision.measure_speed.cache_clear()
        always = LackOfMemory(patch, *PLACES[place], ALWAYS)
        with pytest.raises(OutOfMemoryError, match="not enough memory for .*: CUDA out of memory") as caught:
            server.run()
        assert caught.value.remedy and always.raised
    with pytest.MonkeyPatch.context() as patch:
        once = LackOfMemory(patch, *PLACES[place], 1)
        assert np.abs(server.run()[0] - expected).mean() < 0.5
        assert once.raised == 1
    check_next_job(server, expected, torch.float32, loaded)


def convert_a_part(fallback, fill=PrecisionFallback._fill):
    """As when memory runs out after half of the weights."""
    whole, fallback._waiting = fallback._waiting, fallback._waiting[::2]
    fill(fallback, torch.float32)
    fallback._waiting = whole
    raise torch.OutOfMemoryError("CUDA out of memory.")


@pytest.mark.parametrize("place", ["room", "conversion", "U-Net", "nowhere"])
def test_a_retry_in_full_precision(process, expected, loaded, place):
    """The first window is faulty in half precision, and memory runs out in the retry."""
    server = process("bf16")
    fill, original = PrecisionFallback._fill, UNet3D.forward

    def forward(self, sample, *arguments, **more):
        if sample.dtype == torch.float32 and len(sample) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return original(self, sample, *arguments, **more)

    with pytest.MonkeyPatch.context() as patch:
        faults = iter(["noise"])
        patch.setattr(OutputGuard, "fault", lambda *_: next(faults, None))
        if place == "room":
            patch.setattr("latentsync.inference.fallback.free_bytes", lambda device: 1000)
        elif place == "conversion":
            patch.setattr(
                PrecisionFallback,
                "_fill",
                lambda self, dtype: convert_a_part(self) if dtype == torch.float32 else fill(self, dtype),
            )
        elif place == "U-Net":
            patch.setattr(UNet3D, "forward", forward)
        report = server.run()[1]
    record = report.record
    (change,) = record.precision_changes
    assert (change.window, change.fault, change.precision) == (0, "noise", "float32")
    assert any("noise in window 0" in note for note in report.notes)
    if place in ("room", "conversion"):
        assert "not enough memory for the networks in float32" in change.hindrance
        assert record.windows_refused == {0: "noise"}
        assert record.frames_passed_through == 15  # the window that follows shares the 16th
    else:
        assert record.windows_refused == {} and record.to_dict()["windows_redone_in_fp32"] == 2
    check_next_job(server, expected, torch.bfloat16, loaded)
