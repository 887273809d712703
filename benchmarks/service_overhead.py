"""What the service adds to a dub over HTTP, with the built-in models: python -m benchmarks.service_overhead

A server and its worker process as `latentsync serve` has them, and the client of `latentsync.client`. The sample's
video with the first ``--seconds`` of its audio is sent as one job after the other; the first, which finds cold caches,
is not counted. Reported, as median, least, most and standard deviation over ``--jobs`` jobs: seconds from the request
until the client knows that the job is done (``total``), the dub's own (``dub``), and the difference: ``overhead``, of
which the job waited ``queue``, was read and written down ``service``, and was done before the client asked again
``noticed``. Uploads and the download are counted apart (``transfer``). ``loads``: how often networks were loaded;
1 is right.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
import wave
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.report import publish
from latentsync.client import Client
from latentsync.inference.job.networks import KeptNetworks, NetworkChoice
from latentsync.inference.weights import WeightPaths
from latentsync.places import SAMPLE_AUDIO, SAMPLE_FACES, SAMPLE_VIDEO
from latentsync.service import runner
from latentsync.service.dubs import Models
from latentsync.service.http.server import serving
from latentsync.service.job import ServiceSettings
from latentsync.service.store import open_store
from latentsync.service.supervisor import Supervisor, run_worker
from latentsync.service.worker import Worker

MODEL = "latentsync-builtin"
POLL_SECONDS = 0.02  # between two looks of the client
LOADS = "loads"


class SampleNetworks(KeptNetworks):
    """Knows the face of the sample, so that no detector is needed; notes in ``folder`` when it loads networks."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def pipeline(self, choice: NetworkChoice) -> Any:
        """See ``Networks``."""
        before = self._pipeline
        found = super().pipeline(choice)
        if self._pipeline is not before:
            with (self._folder / LOADS).open("a") as file:
                file.write("loaded\n")
        return found

    def detector(self, name: str, auxiliary: Path, device: str) -> Any:
        """None is needed: ``work`` has every dub read the faces from the sample's file."""


def settings_of(folder: Path) -> ServiceSettings:
    """Those of the service in ``folder``, for the server and its worker."""
    return ServiceSettings(folder, reserve=0)


def models() -> Models:
    """The built-in one."""
    return Models({MODEL: WeightPaths.builtin()}, MODEL)


def work(folder: Path, device: str) -> None:
    """The process of the worker."""
    networks, dub = partial(SampleNetworks, folder), runner.dub
    runner.dub = lambda request, **more: dub(replace(request, detector=str(SAMPLE_FACES)), **more)  # type: ignore[assignment]
    worker = Worker(open_store(folder), settings_of(folder), models(), "worker-0", device, make_networks=networks)
    worker.warm_up()
    run_worker(worker)


def measure(folder: Path, jobs: int, seconds: float, device: str) -> dict[str, Any]:
    """The figures of so many jobs."""
    audio = folder / "speech.wav"
    with wave.open(str(SAMPLE_AUDIO)) as whole, wave.open(str(audio), "wb") as part:
        part.setparams(whole.getparams())
        part.writeframes(whole.readframes(round(seconds * whole.getframerate())))
    command = [sys.executable, "-m", "benchmarks.service_overhead", "--worker", str(folder), "--device", device]
    with (
        serving(settings_of(folder), models(), None, lambda store: Supervisor([command])) as address,
        Client(address) as client,
    ):
        rows = [_one(client, folder, audio) for _ in range(jobs + 1)][1:]
    values = {name: [row[name] for row in rows] for name in rows[0]}
    spread = {
        name: {
            "median": statistics.median(each),
            "least": min(each),
            "most": max(each),
            "sd": statistics.stdev(each) if len(each) > 1 else 0.0,
        }
        for name, each in values.items()
    }
    ratio = statistics.median(total / dub for total, dub in zip(values["total"], values["dub"], strict=True))
    loads = len((folder / LOADS).read_text().splitlines())
    return {"jobs": jobs, "audio_seconds": seconds, **spread, "total_over_dub": ratio, "loads": loads}


def _one(client: Client, folder: Path, audio: Path) -> dict[str, float]:
    """Seconds of one job."""
    start = time.perf_counter()
    video, speech = ({"assetId": client.upload(path)} for path in (SAMPLE_VIDEO, audio))
    sent = time.perf_counter()
    made = client.generate(video, speech, model=MODEL, options={"sync_mode": "cut_off"})
    job = client.wait(made.id, poll=POLL_SECONDS)
    known = time.perf_counter()
    client.download(job, folder / "result.mp4")
    ended = time.perf_counter()
    report = json.loads((settings_of(folder).job_folder(job.id) / "report.json").read_text())
    total, dub = known - sent, float(report["wall_seconds"])
    queue, worked = float(job.content["queueSeconds"]), float(job.content["workSeconds"])
    return {
        "total": total,
        "dub": dub,
        "overhead": total - dub,
        "queue": queue,
        "service": worked - dub,
        "noticed": total - queue - worked,
        "transfer": (sent - start) + (ended - known),
    }


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=1.0, help="of audio in each job (1)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--worker", type=Path, metavar="FOLDER", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker is not None:
        work(options.worker, options.device)
        return
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), options.jobs, options.seconds, options.device)
    publish("service_overhead", figures, output=options.output)


if __name__ == "__main__":
    main()
