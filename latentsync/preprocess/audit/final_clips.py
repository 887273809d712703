"""The clips that came out of a run, as the manifest that training takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from latentsync.constants import MODEL_FPS
from latentsync.data import manifest as training
from latentsync.errors import DataError
from latentsync.preprocess.engine.layout import Layout, as_text
from latentsync.preprocess.engine.recordings import read_recordings, rows_in_order
from latentsync.preprocess.settings import PreprocessSettings
from latentsync.preprocess.steps.sequence import Step


def speaker_of(name: str, first_folder: bool) -> str:
    """The first sub-folder of an input file, where folders stand for speakers; "" if nothing is known."""
    folders = PurePosixPath(name).parts[:-1]
    return as_text(folders[0]) if first_folder and folders else ""


def make_manifest(
    layout: Layout,
    settings: PreprocessSettings,
    steps: Sequence[Step],
    target: Path,
    validation_share: float,
    speakers_by_folder: bool = False,
) -> tuple[int, int, int]:
    """Write the clips that the last of ``steps`` let through to ``target``, split by recording; how many there are on
    the training and the validation side, and how many are left out as copies of validation clips.

    Raises ``DataError`` if there are none, or only clips of one recording.
    """
    clips = sorted(_clips(layout, settings, steps, speakers_by_folder), key=lambda clip: str(clip.path))
    if not clips:
        raise DataError(
            f"No clip has come through {steps[-1].name} in {layout.output_dir}.",
            remedy="Run `latentsync preprocess` first, or name an earlier step.",
        )
    train, validation = training.split_by_source(clips, validation_share)
    training.write_manifest((*train, *validation), target)
    return len(train), len(validation), len(clips) - len(train) - len(validation)


def _clips(
    layout: Layout, settings: PreprocessSettings, steps: Sequence[Step], speakers_by_folder: bool
) -> Iterator[training.Clip]:
    names = [step.name for step in steps]
    if "affine_transformed" not in names:
        raise DataError(f"The clips of {names[-1]} are not aligned.", remedy="Name a step after affine_transformed.")
    for record, journal in read_recordings(layout):
        for index, row in rows_in_order(journal, steps):
            for clip in row.made if index == len(steps) - 1 else ():
                path = layout.file(row.step, clip)
                yield training.Clip(
                    path=path,
                    content=training.content_hash(path),
                    frames=clip.frames,
                    fps=MODEL_FPS,
                    width=settings.alignment.resolution,
                    height=settings.alignment.resolution,
                    audio_seconds=clip.seconds,
                    speaker=speaker_of(record.name, speakers_by_folder),
                    source=journal.name.removesuffix(".mp4"),
                )
