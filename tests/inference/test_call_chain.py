"""How many calls a reader follows from the command line to the network."""

from __future__ import annotations

import re
import sys
import threading
from pathlib import Path

import torch

from latentsync.cli.dub import main
from latentsync.inference import weights
from latentsync.models.unet import UNet3D

ROOT = Path(__file__).parents[2]
MOST = 11
# What is not part of the way: the joints between threads, the second try of work that lacked memory, the writer that
# asks for frames, and iterators that pass values on as they are.
PASSING_ON = re.compile(
    r"latentsync/stream\.py|latentsync/runtime/memory\.py|latentsync/media/|each$|_counted$|_write$|_require_a_dubbed_frame$"
    r"|_noted$|frames_of$|WindowPlaces\.follow$"
)


def calls_of(frame):
    """The functions of this repository on a stack, outermost first."""
    calls = []
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(ROOT / "latentsync") or path.is_relative_to(ROOT / "scripts"):
            calls.insert(0, f"{path.relative_to(ROOT)} {frame.f_code.co_qualname}")
        frame = frame.f_back
    return [call for call in calls if not PASSING_ON.search(call)]


def test_few_calls_lead_from_the_command_line_to_the_network(tmp_path, monkeypatch):
    forward, stacks = UNet3D.forward, []

    def look(*arguments, **options):
        if not stacks:  # before the first frame is out, every thread on the way waits for this call
            own = threading.get_ident()
            stacks.extend((thread == own, calls_of(frame)) for thread, frame in sys._current_frames().items())
        return forward(*arguments, **options)

    monkeypatch.setattr(UNet3D, "forward", look)
    monkeypatch.setattr(weights, "WEIGHTS", tmp_path)  # so that the built-in models run
    assets = ROOT / "assets"
    arguments = [
        *("--video_path", assets / "sample_video.mp4", "--audio_path", assets / "sample_audio.wav"),
        *("--detector", assets / "sample_faces.npz", "--video_out_path", tmp_path / "out.mp4"),
        *("--excerpt", "0", "1.28", "--batch", "2", "--inference_steps", "1", "--quiet"),
    ]
    threads = torch.get_num_threads()
    torch.set_num_threads(2)  # two windows, each in a thread of its own
    try:
        assert main([str(each) for each in arguments]) == 0
    finally:
        torch.set_num_threads(threads)
    waiting = [calls for mine, calls in stacks if not mine]
    (command_line,) = [calls for calls in waiting if any("dub.py dub" in call for call in calls)]
    (batches,) = [calls for calls in waiting if any("generate_groups" in call for call in calls)]
    (network,) = [calls for mine, calls in stacks if mine]
    way = [*command_line, *batches, *network]
    assert way[0].endswith("main") and way[-1].endswith("sample")
    assert len(way) + 1 <= MOST, "\n".join(way)  # and the network itself
