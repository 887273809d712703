"""How soon the page answers, and what a second job costs on it beyond the same job from the command line.

python -m benchmarks.page_overhead
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
from gradio_client import Client, handle_file

ROOT = Path(__file__).parents[1]
VIDEO, AUDIO, FACES = (ROOT / "assets" / name for name in ("sample_video.mp4", "sample_audio.wav", "sample_faces.npz"))
STEPS = 1  # quick jobs: what is measured does not depend on the network


def main() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    start = time.perf_counter()
    server = subprocess.Popen([sys.executable, "gradio_app.py", "--port", str(port)], cwd=ROOT)
    try:
        address = f"http://127.0.0.1:{port}/"
        _wait_for(address)
        figures = {"ready_seconds": time.perf_counter() - start} | _jobs(address)
    finally:
        server.terminate()
        server.wait()
    figures["command_line_seconds_without_loading"] = _command_line()
    print(json.dumps({name: round(value, 2) for name, value in figures.items()}))


def _wait_for(address: str) -> None:
    while True:
        try:
            httpx.get(address).raise_for_status()
            return
        except httpx.HTTPError:
            time.sleep(0.1)


def _jobs(address: str) -> dict[str, float]:
    """Seconds of the second job as the caller sees them, and those of the pipeline in it."""
    client = Client(address, verbose=False, download_files=False)
    for _ in range(2):
        start = time.perf_counter()
        job = {"video": handle_file(str(VIDEO)), "audio": handle_file(str(AUDIO)), "steps": STEPS}
        _, _, account = client.predict(**job, guidance_scale=1, api_name="/dub")
        elapsed = time.perf_counter() - start
    return {
        "second_job_seconds": elapsed,
        "second_job_pipeline_seconds": account["wall_seconds"],
        "second_job_loading_seconds": account["seconds_by_stage"]["load"],
    }


def _command_line() -> float:
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "scripts.inference", "--quiet", "--report", str(report)]
        command += ["--video_path", str(VIDEO), "--audio_path", str(AUDIO), "--detector", str(FACES)]
        command += ["--video_out_path", f"{folder}/out.mp4", "--inference_steps", str(STEPS), "--guidance_scale", "1"]
        subprocess.run(command, cwd=ROOT, check=True)
        account = json.loads(report.read_text(encoding="utf-8"))
    return account["wall_seconds"] - account["seconds_by_stage"]["load"]


if __name__ == "__main__":
    main()
