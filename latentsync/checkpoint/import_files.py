"""Import hand-copied weight files into a checkpoint folder: recognise by name and content, check, copy; never move."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from latentsync.atomic import atomic_file
from latentsync.checkpoint.card import read_card, write_sidecar
from latentsync.checkpoint.files import FileKind, inspect_file, sha256_file
from latentsync.checkpoint.inventory import JSON_ONLY, State, describe, look_up, require_content, set_aside
from latentsync.checkpoint.registry import (
    CODEC_WEIGHTS,
    DEFAULT_RELEASE,
    RELEASES,
    KnownFile,
    Release,
    of_release,
    releases_with,
)
from latentsync.errors import WeightsCorruptError, WeightsError, WeightsMismatchError, WeightsMissingError

CODEC_FOLDERS = {"AutoencoderKL": "vae", "AutoencoderTiny": "taesd"}  # by what their config.json says

Say = Callable[[str], None]


def import_files(source: Path, folder: Path, release: Release | None, say: Say = print) -> list[Path]:
    """Copy the known weight files in ``source``, a file or a folder, to where they belong in ``folder``.

    ``release`` is what the user says of a U-Net or sync network; None if nothing was said. Returns the files that are
    now in place. Raises ``WeightsMissingError`` if there is nothing, ``WeightsCorruptError`` for a broken file,
    ``WeightsMismatchError`` for files that are not known or that another file is in the way of.
    """
    if not source.exists():
        raise WeightsMissingError(f"There is no {source}.", remedy="Name the file or folder that was copied here.")
    known_files = _possible_files(release)
    found: dict[str, tuple[KnownFile, Path]] = {}
    for path in _candidates(source):
        known = _by_name(path, known_files) or (_by_content(path, known_files) if path == source else None)
        if known is None:
            continue
        if known.target in found:
            raise WeightsMismatchError(
                f"Both {found[known.target][1]} and {path} are {known.target}.", remedy="Name the one that is meant."
            )
        found[known.target] = (known, path)
    if not found:
        raise WeightsMismatchError(
            f"{source} is or holds no weight file that is known here.",
            remedy="`--list` names the known ones; a U-Net, a sync network or a Whisper file may have any name if it "
            "is given by itself.",
        )
    return [_import_file(known, path, folder, release, say) for known, path in found.values()]


def _possible_files(release: Release | None) -> list[KnownFile]:
    """The files of ``release``; of the default one, and what only others have, if none was named."""
    by_target: dict[str, KnownFile] = {}
    for each in (release,) if release else (DEFAULT_RELEASE, *RELEASES):
        for known in of_release(each):
            by_target.setdefault(known.target, known)
    return list(by_target.values())


def _candidates(source: Path) -> Iterator[Path]:
    if source.is_file():
        yield source
        return
    yield from (path for path in sorted(source.rglob("*")) if path.is_file())


def _by_name(path: Path, known_files: list[KnownFile]) -> KnownFile | None:
    """The known file of that name. An autoencoder's two names are everybody's, so its folder has to look like one."""
    named = [known for known in known_files if Path(known.target).name == path.name]
    if path.name not in ("config.json", CODEC_WEIGHTS):
        return named[0] if named else None
    config, weights = path.with_name("config.json"), path.with_name(CODEC_WEIGHTS)
    if not (config.is_file() and weights.is_file()):
        return None
    try:
        codec = CODEC_FOLDERS.get(json.loads(config.read_text(encoding="utf-8")).get("_class_name"))
    except (ValueError, AttributeError):
        codec = None
    return next((known for known in named if codec is not None and known.target == f"{codec}/{path.name}"), None)


def _by_content(path: Path, known_files: list[KnownFile]) -> KnownFile | None:
    """The known file that the tensors, or the checksum, of a renamed file tell of."""
    kind = inspect_file(path)
    digest = sha256_file(path) if path.stat().st_size < 10**9 else ""  # none of 1 GB and more has a known checksum
    for known in known_files:
        if known.sha256 and digest.startswith(known.sha256):
            return known
    if kind not in (FileKind.TORCH, FileKind.TORCH_LEGACY, FileKind.SAFETENSORS):
        return None
    from latentsync.checkpoint.tensors import read_table  # torch: seconds to import

    card = _network_of(read_table(path))
    return next((known for known in known_files if card is not None and known.card == card), None)


def _network_of(table: Mapping[str, Any]) -> str | None:
    names = table.get("state_dict", table)
    if "conv_in.weight" in names and any(".attentions." in name for name in names):
        return "unet"
    if any(name.startswith("visual_encoder.") for name in names):
        return "syncnet"
    return None


def _import_file(known: KnownFile, path: Path, folder: Path, release: Release | None, say: Say) -> Path:
    """Copy one file; the same file, if it is there already and whole, only gets its card."""
    inspect_file(path, accept=JSON_ONLY if path.suffix == ".json" else None)
    digest = sha256_file(path)
    require_content(path, known, digest)
    card = describe(path, known, sha256=digest, source="hand-copied", release=_release_of(path, known, release))
    status = look_up(known, folder)
    if status.state is State.MISSING or sha256_file(status.path) != digest:
        if status.state in (State.PRESENT, State.OTHER):
            raise WeightsMismatchError(
                f"{status.path} is there already and is another file than {path}.",
                remedy="Move it elsewhere, or keep the two apart with --dir.",
            )
        with atomic_file(status.path, durable=True) as temporary:
            shutil.copyfile(path, temporary)
            if sha256_file(temporary) != digest:
                raise WeightsCorruptError(f"{path} changed while it was copied.", remedy="Try again.")
            if status.state is State.CORRUPT:
                say(f"{status.note} It is kept as {set_aside(status.path).name}.")
    if card is not None:
        write_sidecar(status.path, card)
    if known.card == "unet" and card is not None and card.resolution is None:
        say(
            f"{path.name} does not say which release it is of: name it with --variant, so that it cannot be run at a "
            "resolution that it was not trained for."
        )
    say(f"{path} -> {status.path}")
    return status.path


def _release_of(path: Path, known: KnownFile, release: Release | None) -> str | None:
    """What the user says, or a name that only one release has, or a card beside the source if it is that file's."""
    if known.release is None or release is not None:
        return known.release and release
    if len(releases_with(known.target)) == 1:
        return known.release
    try:
        card = read_card(path)
    except WeightsError:
        return None
    return card.release if card else None
