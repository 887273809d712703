"""Do two commits compute the same? Short runs of every command of a checkout, each reduced to hashes of what it wrote.

    git worktree add ../before COMMIT
    python -m benchmarks.fingerprint --checkout ../before --inputs out/inputs --work out/before --output before.json
    python -m benchmarks.fingerprint --checkout . --inputs out/inputs --work out/after --output after.json
    python -m benchmarks.fingerprint --compare before.json after.json

Both runs get the same inputs, which the first one makes: drawn talkers, and tiny networks filled by the weight rule of
the tests. Frames and audio are hashed as they decode, weights tensor by tensor, so that notes and time stamps inside
files do not count. ``--mesh`` is a folder with the files of YuNet and the face mesh; without it the data pipeline is
left out.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from latentsync.config import read_yaml

STEPS = 20  # of each training
CLIPS = 2  # talkers of the evaluation
_CHANGES = {"version", "weights", "settings", "commit", "files"}  # keys of evaluation.json that are no figures


def make_inputs(folder: Path) -> None:
    """Talkers with the truth of their dub, and a checkpoint folder of tiny networks."""
    from tests.inference.tiny_weights import write_checkpoints

    if (folder / "complete").exists():
        return
    sample = ["-m", "benchmarks.evaluation_set", "--out", str(folder / "set"), "--clips", str(CLIPS), "--seconds", "2"]
    subprocess.run([sys.executable, *sample], check=True)
    write_checkpoints(folder / "tiny", resolution=64)
    (folder / "complete").touch()


def hash_video(path: Path) -> str:
    """Of decoded frames, their times, and decoded audio."""
    import av

    digest = hashlib.sha256()
    with av.open(str(path)) as container:
        for frame in container.decode(*container.streams.video[:1], *container.streams.audio[:1]):
            digest.update(repr((frame.pts, frame.format.name)).encode())
            padded = frame.format.name == "bgr0"  # lossless RGB, with a byte that says nothing
            digest.update((frame.to_ndarray(format="rgb24") if padded else frame.to_ndarray()).tobytes())
    return digest.hexdigest()


def hash_weights(path: Path) -> str:
    """Of the tensors of a safetensors file, or of a file in openai-whisper's format."""
    import torch
    from safetensors.torch import load_file

    if path.suffix == ".pt":
        table = torch.load(path, map_location="cpu", weights_only=True)["model_state_dict"]
    else:
        table = load_file(path)
    digest = hashlib.sha256()
    for name in sorted(table):
        digest.update(name.encode())
        digest.update(table[name].contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def hash_text(text: str) -> str:
    """Of UTF-8."""
    return hashlib.sha256(text.encode()).hexdigest()


class Checkout:
    """Commands of one checkout, run in it with this Python."""

    def __init__(self, root: Path, inputs: Path, work: Path, mesh: Path | None) -> None:
        self.root, self.inputs, self.work, self.mesh = root.resolve(), inputs.resolve(), work.resolve(), mesh

    def run(self, module: str, *arguments: object) -> None:
        """Raises ``CalledProcessError`` if the command fails."""
        environment = os.environ | {"PYTHONPATH": str(self.root), "LATENTSYNC_CACHE": str(self.work / "cache")}
        command = [sys.executable, "-m", module, *map(str, arguments)]
        subprocess.run(command, cwd=self.root, env=environment, check=True, stdout=subprocess.DEVNULL)

    def dub(self, name: str, *arguments: object) -> dict[str, str]:
        """A dub of the sample's first seconds, without loss."""
        assets, output = self.root / "assets", self.work / f"{name}.mkv"
        self.run(
            "scripts.inference", "--video_path", assets / "sample_video.mp4",
            "--audio_path", assets / "sample_audio.wav",
            "--detector", assets / "sample_faces.npz", "--video_out_path", output, "--codec", "ffv1", "--overwrite",
            "--quiet", "--device", "cpu", *arguments,
        )  # fmt: skip
        return {name: hash_video(output)}

    def sample(self) -> dict[str, str]:
        """The built-in models."""
        exact = ("--preset", "exact", "--excerpt", 1, 2)
        return self.dub("sample", "--excerpt", 0, "2.56") | self.dub("sample_exact", *exact)

    def published(self) -> dict[str, str]:
        """Networks of the published layout, filled by the rule, as each release would run them, and as we do."""
        tiny = ("--checkpoint_dir", self.inputs / "tiny", "--no-output-check", "--inference_steps", 4)
        found = self.dub("rule_filled", *tiny, "--excerpt", 0, 2)
        for release in ("1.0", "1.5", "1.6"):
            found |= self.dub(f"compat_{release}", *tiny, "--compat", release)
        return found

    def evaluation(self) -> dict[str, str]:
        """Figures of a small set."""
        folder, output = self.inputs / "set", self.work / "evaluation"
        self.run(
            "eval.evaluate", "--results", folder / "results", "--truth", folder / "truth",
            "--source", folder / "source",
            "--setting", "cross-sync-truth", "--output", output, "--workers", 1,
        )  # fmt: skip
        report = json.loads((output / "evaluation.json").read_text(encoding="utf-8"))
        figures = {key: value for key, value in report.items() if key not in _CHANGES}
        text = json.dumps(figures, sort_keys=True).replace(str(self.root), "")
        return {"evaluation.json": hash_text(text), "clips.csv": hash_text((output / "clips.csv").read_text())}

    def preprocess(self) -> dict[str, str]:
        """Clips of the data pipeline as far as the weights at hand allow."""
        if self.mesh is None:
            return {}
        output = self.work / "preprocess"
        self.run(
            "scripts.data_processing_pipeline", "--workers", 0, f"input_dir={self.inputs / 'set' / 'truth'}",
            f"output_dir={output}", f"weights_dir={self.mesh}", "faces.detector=yunet", "faces.min_side=60",
            "device=cpu", "segment_seconds=1", "last_step=affine_transformed",
        )  # fmt: skip
        clips = sorted(output.rglob("*.mp4"))
        return {str(clip.relative_to(output)): hash_video(clip) for clip in clips}

    def trainings(self) -> dict[str, str]:
        """Weights after a few steps of each."""
        place, few = f"data.train_output_dir={self.work / 'runs'}", [f"run.max_train_steps={STEPS}"]
        people = ["data.talkers.train_clips=6", "data.talkers.validation_clips=2"]
        few += ["run.validation_steps=10", "ckpt.save_ckpt_steps=10", place]
        syncnet = [*few, *people, "data.num_val_samples=8", "data.batch_size=2", "run.alarm_steps=1000"]
        self.run("scripts.train_syncnet", "--config_path", "configs/syncnet/talkers.yaml", *syncnet)
        unet = [*few, *people, "data.num_val_samples=2", f"run.inference_steps={2}"]
        first = "configs/unet/talkers_stage1.yaml"
        self.run("scripts.train_unet", "--unet_config_path", first, *unet, "data.batch_size=4")
        start = self.work / "runs" / "talkers_stage1" / "weights" / "last.safetensors"
        second = [*unet, "data.batch_size=1", f"ckpt.resume_ckpt_path={start}", f"run.max_train_steps={STEPS // 4}"]
        config = self.work / "syncnet.yaml"
        block = read_yaml(self.root / "configs/syncnet/builtin.yaml")
        block["ckpt"]["inference_ckpt_path"] = str(self.root / "checkpoints/builtin/syncnet.safetensors")
        config.write_text(json.dumps(block), encoding="utf-8")  # JSON is YAML
        second.append(f"data.syncnet_config_path={config}")
        self.run("scripts.train_unet", "--unet_config_path", "configs/unet/talkers_stage2.yaml", *second)
        small = [*few, *people, "data.batch_size=2"]
        self.run("scripts.train_builtin", "codec", *small)
        self.run("scripts.train_builtin", "video_encoder", *small)
        speech = [*few, "data.sentences=4", "data.num_val_samples=1", "data.batch_size=1", "run.max_train_steps=4"]
        self.run("scripts.train_builtin", "audio_encoder", *speech)
        files = sorted((self.work / "runs").glob("*/weights/**/last*"))
        weights = [file for path in files for file in ([path] if path.is_file() else path.rglob("*.safetensors"))]
        return {str(path.relative_to(self.work)): hash_weights(path) for path in sorted(weights)}


PARTS: dict[str, Callable[[Checkout], dict[str, str]]] = {
    "sample": Checkout.sample,
    "published": Checkout.published,
    "evaluation": Checkout.evaluation,
    "preprocess": Checkout.preprocess,
    "trainings": Checkout.trainings,
}


def compare(first: dict[str, Any], second: dict[str, Any]) -> int:
    """Print what differs; the number of differences, and of what only one of them has."""
    names = sorted({*first, *second})
    different = [name for name in names if first.get(name) != second.get(name)]
    for name in names:
        print(f"{'differs' if name in different else 'equal':8} {name}")
    print(f"{len(names) - len(different)} of {len(names)} equal")
    return len(different)


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkout", type=Path, help="root of the checkout whose commands run")
    parser.add_argument("--inputs", type=Path, help="folder of what all checkouts are given; made if it is not there")
    parser.add_argument("--work", type=Path, help="empty folder for what this checkout writes")
    parser.add_argument("--output", type=Path, help="JSON of hashes; parts that it has already are kept")
    parser.add_argument("--mesh", type=Path, help="folder with yunet_n_dynamic.onnx and face_landmarker.task")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="some of the parts")
    parser.add_argument("--compare", nargs=2, type=Path, metavar="JSON", help="two outputs; exit code 1 if they differ")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Exit code 1 if ``--compare`` finds a difference."""
    options = parse_arguments(arguments)
    if options.compare:
        first, second = (json.loads(path.read_text(encoding="utf-8")) for path in options.compare)
        return int(compare(first, second) > 0)
    make_inputs(options.inputs)
    options.work.mkdir(parents=True, exist_ok=True)
    checkout = Checkout(options.checkout, options.inputs, options.work, options.mesh and options.mesh.resolve())
    found = json.loads(options.output.read_text(encoding="utf-8")) if options.output.exists() else {}
    for part in options.only:
        found |= {f"{part}: {name}": digest for name, digest in PARTS[part](checkout).items()}
        options.output.write_text(json.dumps(found, indent=2), encoding="utf-8")
        print(part, "done", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
