"""What each part of stage 2 contributes: short trainings of equal budget from one stage-1 network, each measured.

    python -m benchmarks.ablations --start STAGE_1 --mesh DIR --syncnet_weights FILE --steps 200 --output out/ablations

Every row is ``configs/unet/talkers_stage2.yaml`` with the changes of ``TRAININGS``, from the same start weights, on the
same clips, for the same number of steps; then ``benchmarks.cross_sync`` dubs the same unseen talkers with it. Rows of
``GUIDANCES`` measure the network of the first row at other guidance scales. Rows that are complete are passed over, so
the same command goes on with what was stopped. Writes ``ablations.md`` and ``ablations.png`` into the output folder,
from what is there. ``--rows NAME ...`` runs some rows only; ``--list`` names them.

Two rows need a network of their own and are left out without it: the temporal loss a video encoder (``--videomae``,
from ``scripts/train_builtin.sh video_encoder``), the sync loss on latents a sync network that sees them
(``--latent_syncnet_weights``, from ``./train_syncnet.sh configs/syncnet/talkers_latent.yaml``).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from latentsync.places import BUILTIN_SYNCNET, BUILTIN_SYNCNET_CONFIG

ROOT = Path(__file__).parents[1]
STAGE_2 = ROOT / "configs" / "unet" / "talkers_stage2.yaml"
LATENT_SYNCNET = ROOT / "configs" / "syncnet" / "talkers_latent.yaml"
BUILTIN = ROOT / "checkpoints" / "builtin"
FIRST, NONE, LATENT, TREPA = "pixel SyncNet", "no SyncNet", "latent SyncNet", "with TREPA"
NO_SYNC = ("run.use_syncnet=false", "run.pixel_space_supervise=false")
TRAININGS: dict[str, tuple[str, ...]] = {
    FIRST: (),
    NONE: NO_SYNC,
    LATENT: ("run.pixel_space_supervise=false",),
    TREPA: ("run.trepa_loss_weight=0.9",),  # 10 for the published feature of 1408 values, of which ours has 128
    "with movement loss": ("run.movement_loss_weight=0.5",),
    "shared noise": ("run.use_mixed_noise=false",),
    "no motion modules": ("model.use_motion_module=false", "run.trainable_modules=null"),
    "levels weighted alike": ("run.loss_levels=uniform",),
    "areas weighted alike": ("run.kept_area_weight=1",),
    "no audio dropout": ("run.audio_dropout=0",),
}
SEEDS = (2, 3)  # of further trainings of these two rows, where time allows; the configuration's own is the first
REPEATED = (FIRST, NONE)
TRAININGS |= {f"{name}, seed {seed}": (*TRAININGS[name], f"run.seed={seed}") for seed in SEEDS for name in REPEATED}
START = "stage 1 (the start)"
GUIDANCES = {f"guidance {scale}": scale for scale in (1.0, 2.0, 2.5)}  # every other row has 1.5
FIGURES = ("correlation", "leak", "silence", "lag", "psnr", "ssim", "flicker", "sync_cosine", "sync_offset")
PLOTTED = ("correlation", "leak", "psnr", "flicker", "sync_cosine")


@dataclass(frozen=True)
class Row:
    """A network and how it is measured."""

    name: str
    unet: Path
    guidance: float = 1.5

    @property
    def folder(self) -> str:
        """A name for files."""
        return "".join(letter if letter.isalnum() else "_" for letter in self.name.lower())


def rows_of(options: argparse.Namespace) -> Iterator[Row]:
    """All rows that can be had with the weights at hand, in the order of the table."""
    yield Row(START, options.start)
    needs = {TREPA: options.videomae, LATENT: options.latent_syncnet_weights}
    for name in TRAININGS:
        if name not in needs or needs[name] is not None:
            yield Row(name, weights_of(name, options))
    for name, scale in GUIDANCES.items():
        yield Row(name, weights_of(FIRST, options), scale)


def weights_of(training: str, options: argparse.Namespace) -> Path:
    """Where the network of a row of ``TRAININGS`` lies when it is trained."""
    return options.output / "runs" / Row(training, Path()).folder / "weights" / "last.safetensors"


def train(row: Row, options: argparse.Namespace) -> None:
    """Train the row's network, unless it needs no training or is complete."""
    from latentsync.config import load_config
    from latentsync.recipe import UNetRecipe
    from latentsync.training.loop.trainer import TrainingResult
    from latentsync.training.unet.run import train_unet

    if row.name not in TRAININGS:
        return
    latent = row.name == LATENT
    overrides = [
        f"data.train_output_dir={options.output}/runs",
        f"data.syncnet_config_path={sync_config(options, latent=latent)}",
        f"networks.codec={options.codec}", f"networks.audio_encoder={options.audio_encoder}",
        f"ckpt.resume_ckpt_path={options.start}", f"run.max_train_steps={options.steps}",
        f"run.validation_steps={options.steps}", f"ckpt.save_ckpt_steps={options.steps}", "data.num_val_samples=16",
        "run.inference_steps=4", f"data.batch_size={options.batch}", *options.overrides, *TRAININGS[row.name],
    ]  # fmt: skip
    if row.name == TREPA:
        overrides.append(f"networks.videomae={options.videomae}")
    if train_unet(load_config(STAGE_2, UNetRecipe, overrides), row.folder) is not TrainingResult.FINISHED:
        raise SystemExit("Stopped and saved. The same command goes on from there.")


def sync_config(options: argparse.Namespace, *, latent: bool) -> Path:
    """The configuration of a sync network with the weights that were given for it, as a file."""
    from latentsync.config import load_config, save_config
    from latentsync.recipe import SyncNetRecipe

    weights = options.latent_syncnet_weights if latent else options.syncnet_weights
    changes = [f"ckpt.inference_ckpt_path={weights}"] + [f"data.codec_path={options.codec}"] * latent
    recipe = load_config(LATENT_SYNCNET if latent else BUILTIN_SYNCNET_CONFIG, SyncNetRecipe, changes)
    path = options.output / ("latent_syncnet.yaml" if latent else "syncnet.yaml")
    save_config(recipe, path)
    return path


def measure(row: Row, options: argparse.Namespace) -> None:
    """Dub the talkers with the row's network, unless that has been done."""
    place = options.output / "measured" / row.folder
    if (place / "cross_sync.json").exists():
        return
    command = [
        sys.executable, "-m", "benchmarks.cross_sync", "--mesh", options.mesh, "--unet", row.unet,
        "--codec", options.codec, "--audio_encoder", options.audio_encoder, "--output", place,
        "--syncnet_config", BUILTIN_SYNCNET_CONFIG, "--clips", options.clips, "--seconds", options.seconds,
        "--steps", options.sampling_steps, "--guidance", row.guidance,
        "--syncnet", f"ckpt.inference_ckpt_path={options.syncnet_weights}",
    ]  # fmt: skip
    subprocess.run([str(word) for word in command], cwd=ROOT, check=True)


def report(rows: list[Row], options: argparse.Namespace) -> str:
    """The table of the rows that have been measured; also drawn."""
    found = {}
    for row in rows:
        path = options.output / "measured" / row.folder / "cross_sync.json"
        if path.exists():
            summary = json.loads(path.read_text(encoding="utf-8"))["summary"]
            found |= {"the true video": summary["truth"]} if not found else {}
            found[row.name] = summary["result"]
    if not found:
        return "Nothing has been measured yet."
    from benchmarks.cross_sync_rows import table

    draw(found, options.output / "ablations.png")
    missing = [row.name for row in rows if row.name not in found]
    text = f"{table(found, FIGURES)}\n\n{over_seeds(found)}Not run: {', '.join(missing) or 'nothing'}.\n"
    (options.output / "ablations.md").write_text(text, encoding="utf-8")
    return text


def over_seeds(found: Mapping[str, Mapping]) -> str:
    """What the rows with several seeds have on average, and how far their seeds lie apart; "" if there are none."""
    lines = []
    for name in REPEATED:
        runs = [found[run] for run in (name, *(f"{name}, seed {seed}" for seed in SEEDS)) if run in found]
        if len(runs) > 1:
            means = {figure: [run[figure]["mean"] for run in runs if figure in run] for figure in PLOTTED}
            cells = [f"{sum(x) / len(x):.3g} ({min(x):.3g} to {max(x):.3g})" if x else "–" for x in means.values()]
            lines.append(f"| {name}, {len(runs)} seeds | {' | '.join(cells)} |")
    if not lines:
        return ""
    head = f"| mean of the seeds (lowest to highest) | {' | '.join(PLOTTED)} |\n|---{'|---' * len(PLOTTED)}|\n"
    return head + "\n".join(lines) + "\n\n"


def draw(found: Mapping[str, Mapping], path: Path) -> None:
    """One diagram for each figure, a bar for each row, with its worst clip as a mark."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = list(found)
    figure = Figure(figsize=(3.2 * len(PLOTTED) + 2, 0.4 * len(names) + 1.2), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    for axes, name in zip(figure.subplots(1, len(PLOTTED), sharey=True), PLOTTED, strict=True):
        for place, row in enumerate(names):
            values = found[row].get(name, {})
            if "mean" in values and values["mean"] != float("inf"):
                axes.barh(place, values["mean"], color="C0")
                axes.plot(values.get("worst", values["mean"]), place, "k|", markersize=10)
        axes.set_title(name, fontsize=10)
        axes.grid(axis="x", alpha=0.3)
        axes.set_yticks(range(len(names)), names, fontsize=8)
        axes.invert_yaxis() if name == PLOTTED[0] else None
    figure.savefig(path)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--start", type=Path, default=ROOT / "output/builtin/unet_stage1/weights/last.safetensors")
    parser.add_argument("--codec", type=Path, default=BUILTIN / "codec")
    parser.add_argument("--audio_encoder", type=Path, default=BUILTIN / "audio_encoder.pt")
    parser.add_argument("--syncnet_weights", type=Path, default=BUILTIN_SYNCNET)
    parser.add_argument("--latent_syncnet_weights", type=Path, help="of configs/syncnet/talkers_latent.yaml")
    parser.add_argument("--videomae", type=Path, help="weights of configs/video_encoder/talkers.yaml")
    parser.add_argument("--mesh", type=Path, help="folder with the files of the detector 'yunet'")
    parser.add_argument("--output", type=Path, default=Path("out/ablations"))
    parser.add_argument("--steps", type=int, default=200, help="of each training")
    parser.add_argument("--batch", type=int, default=4, help="clips per step")
    parser.add_argument("--clips", type=int, default=8, help="talkers that are dubbed")
    parser.add_argument("--seconds", type=float, default=6.0, help="length of each")
    parser.add_argument("--sampling_steps", type=int, default=10)
    parser.add_argument("--rows", nargs="*", help="only these")
    parser.add_argument("--list", action="store_true", help="only name the rows")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="for every training")
    options = parser.parse_args()
    if options.mesh is None and not options.list:
        parser.error("--mesh is needed to measure")
    unknown = set(options.rows or ()) - {row.name for row in rows_of(options)}
    if unknown:
        parser.error(f"there is no row {', '.join(sorted(unknown))} with the weights that were given; see --list")
    for name, value in vars(options).items():
        if isinstance(value, Path):
            setattr(options, name, value.absolute())
    return options


def main() -> None:
    options = parse_arguments()
    rows = list(rows_of(options))
    if options.list:
        print("\n".join(row.name for row in rows))
        return
    options.output.mkdir(parents=True, exist_ok=True)
    for row in rows:
        if not options.rows or row.name in options.rows:
            train(row, options)
            measure(row, options)
            report(rows, options)
    print(report(rows, options))


if __name__ == "__main__":
    main()
