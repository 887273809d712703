"""What a weight file is, told from its first and last bytes before anything tries to load it.

Nothing here imports torch: a preflight may look at every file in milliseconds.
"""

from __future__ import annotations

import hashlib
import math
import re
import zipfile
from enum import Enum
from pathlib import Path

from latentsync.errors import WeightsCorruptError, WeightsMissingError

LEGACY_TORCH_MAGIC = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # pickled magic number of torch.save before 1.6
LFS_MAGIC = b"version https://git-lfs"
SAFETENSORS_HEADER_LIMIT = 100_000_000  # bytes; the format's own limit
READ_BLOCK = 1 << 20  # bytes per read while hashing
FINGERPRINT_ENDS = 1 << 20  # bytes at either end that go into a fingerprint

FETCH_AGAIN = (
    "Fetch it again with `latentsync weights`, or bring in a good copy with its --import option."
)


class FileKind(Enum):
    """The containers that weights arrive in."""

    TORCH = "torch"  # torch.save since 1.6: a ZIP archive with data.pkl
    TORCH_LEGACY = "torch-legacy"  # torch.save before 1.6: a sequence of pickles
    TORCHSCRIPT = "torchscript"
    SAFETENSORS = "safetensors"
    ONNX = "onnx"
    TASK = "task"  # MediaPipe's bundle: a ZIP archive of TFLite networks
    JSON = "json"


def inspect_file(path: str | Path, *, accept: frozenset[FileKind] | None = None) -> FileKind:
    """The kind of a weight file; ``accept`` names the kinds that will do (None: any but JSON).

    Raises ``WeightsMissingError`` if there is no such file and ``WeightsCorruptError`` if it is empty, cut short, a
    Git-LFS pointer, a web page, a foreign pickle or anything else that is no weight file.
    """
    path = Path(path)
    if path.is_dir():
        raise WeightsMissingError(f"{path} is a folder, not a weight file.", remedy="Name the file inside it.")
    if not path.is_file():
        raise WeightsMissingError(
            f"The weight file {path} does not exist.",
            remedy="Fetch it with `latentsync weights`, or copy it in with its --import option.",
        )
    kind = _kind(path)
    wanted = accept if accept is not None else frozenset(FileKind) - {FileKind.JSON}
    if kind not in wanted:
        names = " or ".join(sorted(each.value for each in wanted))
        raise corrupt(path, f"is a {kind.value} file where a {names} file is needed")
    return kind


def corrupt(path: Path, cause: str, remedy: str = FETCH_AGAIN) -> WeightsCorruptError:
    """The error that says why ``path`` is no usable weight file."""
    return WeightsCorruptError(f"The weight file {path} {cause}.", remedy=remedy)


def count_parameters(path: str | Path) -> int:
    """How many numbers a weight file holds: as its header says, or as many as fit in single precision if it has none.

    Raises ``WeightsMissingError`` and ``WeightsCorruptError`` as ``inspect_file`` does.
    """
    path = Path(path)
    if inspect_file(path) is not FileKind.SAFETENSORS:
        return path.stat().st_size // 4
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as archive:
        return sum(math.prod(archive.get_slice(name).get_shape()) for name in archive.keys())  # noqa: SIM118


def sha256_file(path: str | Path) -> str:
    """Hexadecimal SHA-256 of a file's content."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as stream:
        while block := stream.read(READ_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def fingerprint(path: str | Path) -> str:
    """Hexadecimal SHA-256 of a file's size and its two ends: tells two weight files apart in milliseconds.

    The end of a torch file holds the checksums of all its tensors, so any change of a tensor shows.
    """
    path = Path(path)
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as stream:
        digest.update(stream.read(FINGERPRINT_ENDS))
        stream.seek(max(0, size - FINGERPRINT_ENDS))
        digest.update(stream.read())
    return digest.hexdigest()


def _kind(path: Path) -> FileKind:
    size = path.stat().st_size
    if size == 0:
        raise corrupt(path, "is empty")
    with path.open("rb") as stream:
        head = stream.read(1024)
    if head.startswith(LFS_MAGIC):
        raise _lfs_pointer(path, head)
    if len(head) > 8 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= SAFETENSORS_HEADER_LIMIT:
        return _safetensors(path, size)
    if head.startswith(b"PK\x03\x04") or path.suffix == ".task":  # a task bundle may begin with padding
        return _archive(path)
    if head.startswith(LEGACY_TORCH_MAGIC):
        return FileKind.TORCH_LEGACY
    if head.startswith(b"\x80"):
        raise corrupt(path, "is a Python pickle that PyTorch did not write; such files can run code and are not opened")
    if path.suffix == ".onnx" and head.startswith(b"\x08"):  # protobuf field 1: ir_version
        return FileKind.ONNX
    return _text(path, head)


def _lfs_pointer(path: Path, head: bytes) -> WeightsCorruptError:
    size = re.search(rb"^size (\d+)", head, re.MULTILINE)
    stands_for = f" for a file of {int(size[1]):,} bytes" if size else ""
    return corrupt(
        path,
        f"is a Git-LFS pointer{stands_for}, not the weights themselves",
        "Run `git lfs pull` where the file came from, or fetch it with `latentsync weights`.",
    )


def _safetensors(path: Path, size: int) -> FileKind:
    """Compare the file's length with what its header says; the header itself is read by the safetensors library."""
    from safetensors import SafetensorError, safe_open

    with path.open("rb") as stream:
        header = int.from_bytes(stream.read(8), "little")
    if 8 + header > size:
        raise corrupt(path, f"is cut short: its header alone needs {8 + header:,} bytes, it has {size:,}")
    try:
        with safe_open(path, framework="numpy"):
            return FileKind.SAFETENSORS
    except SafetensorError as error:
        raise corrupt(path, f"is a damaged or cut-short safetensors file ({error})") from error


def _archive(path: Path) -> FileKind:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError, RuntimeError) as error:  # the latter two from damaged directories
        raise corrupt(path, "is cut short or damaged: the directory at the end of the archive is no such") from error
    members = {name.partition("/")[2] for name in names}
    if "constants.pkl" in members:
        return FileKind.TORCHSCRIPT
    if "data.pkl" in members:
        return FileKind.TORCH
    if any(name.endswith(".tflite") for name in names):
        return FileKind.TASK
    raise corrupt(path, "is a ZIP archive, but of no known network")


def _text(path: Path, head: bytes) -> FileKind:
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if start.startswith(b"<"):
        title = re.search(rb"<title>([^<]{1,80})", head, re.IGNORECASE)
        named = f" ({title[1].decode(errors='replace').strip()!r})" if title else ""
        raise corrupt(path, f"is a web page{named}, saved in place of the weights")
    if start.startswith((b"{", b"[")):
        if path.suffix == ".json":
            return FileKind.JSON
        raise corrupt(path, f"is a JSON message, saved in place of the weights: {start[:120].decode(errors='replace')}")
    if not head.strip(b"\0"):
        raise corrupt(path, "begins with zeros, as an unfinished download or copy does")
    raise corrupt(path, "is of no known weight format")
