"""Files of a multipart form (RFC 7578), written to the disk as they come."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from gradio.processing_utils import hash_seed
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from latentsync.errors import LatentSyncError
from latentsync.page.names import safe_name

MOST_PARTS = 16  # files and fields of one form
LONGEST_HEADER = 2**14  # bytes of a header of a part


class RefusedError(LatentSyncError):
    """What is sent is not taken; ``status`` says so in HTTP."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class ReceivedFile:
    """One file of a form, on its way to the disk."""

    def __init__(self, name: str, path: Path) -> None:
        self.name, self.path, self.size = name, path, 0
        self.digest = hashlib.sha256(hash_seed)  # as Gradio names files, which then finds this one instead of copying
        self._file: BinaryIO = path.open("xb")

    def write(self, data: bytes) -> None:
        """Append."""
        self._file.write(data)
        self.digest.update(data)
        self.size += len(data)

    def close(self) -> None:
        """Write the rest. Raises ``OSError`` where it does not fit."""
        self._file.close()


class FormFiles:
    """The files of a form (RFC 7578) that are named ``files``, written to ``folder`` as they come; the rest is skipped.

    ``before`` is called with the number of bytes before they are written. Raises ``RefusedError`` for what is no form.
    """

    def __init__(self, content_type: str, folder: Path, before: Callable[[int], None]) -> None:
        kind, options = parse_options_header(content_type)
        if kind != b"multipart/form-data" or not options.get(b"boundary"):
            raise RefusedError(400, "An upload is a form (multipart/form-data) with files.")
        self._folder, self._before = folder, before
        try:
            self._parser = MultipartParser(
                options[b"boundary"],
                {
                    "on_part_begin": self._on_part_begin,
                    "on_header_field": self._on_header_field,
                    "on_header_value": self._on_header_value,
                    "on_header_end": self._on_header_end,
                    "on_headers_finished": self._on_headers_finished,
                    "on_part_data": self._on_part_data,
                    "on_part_end": self._on_part_end,
                    "on_end": self._on_end,
                },
            )
        except FormParserError as error:
            raise RefusedError(400, "The upload has a boundary that is too long.") from error
        self._field, self._value, self._disposition = b"", b"", b""
        self._open: ReceivedFile | None = None
        self._parts, self._ended = 0, False
        self.name = ""  # of the file that came last
        self.files: list[ReceivedFile] = []

    def write(self, chunk: bytes) -> None:
        """Take the next piece of the form."""
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise RefusedError(400, "The upload is not a form that can be read.") from error

    def finish(self) -> list[ReceivedFile]:
        """All files, at the end of the form."""
        if not self._ended:
            raise RefusedError(400, "The upload ends in the middle.")
        return self.files

    def close(self) -> None:
        """Let go of a file that was not finished."""
        if self._open is not None:
            self._open.close()

    def _on_part_begin(self) -> None:
        self._disposition = b""
        self._parts += 1
        if self._parts > MOST_PARTS:
            raise RefusedError(400, f"Up to {MOST_PARTS} files are taken at once.")

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]
        self._refuse_long_header()

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]
        self._refuse_long_header()

    def _refuse_long_header(self) -> None:
        if len(self._field) + len(self._value) > LONGEST_HEADER:
            raise RefusedError(400, "The upload has a header that is too long.")

    def _on_header_end(self) -> None:
        if self._field.lower() == b"content-disposition":
            self._disposition = self._value
        self._field, self._value = b"", b""

    def _on_headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        if options.get(b"name") != b"files" or b"filename" not in options:
            return
        self.name = safe_name(options[b"filename"])
        self._open = ReceivedFile(self.name, self._folder / str(self._parts))

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._open is not None:
            self._before(end - start)
            self._open.write(data[start:end])

    def _on_part_end(self) -> None:
        if self._open is not None:
            done, self._open = self._open, None
            done.close()
            self.files.append(done)

    def _on_end(self) -> None:
        self._ended = True
