"""Named errors: what went wrong, with which file, and what to do about it.

Library code raises these; a program prints them (``terminal.report``: one sentence, then the remedy) and exits with
``error.exit_code``. Nothing here is raised for a bug of ours: those stay ordinary exceptions.
"""

from __future__ import annotations

INTERRUPTED_EXIT_CODE = 130  # Ctrl-C, as shells report it


class LatentSyncError(Exception):
    """Base of all errors that a user can mend.

    ``message`` is one sentence with the file or clip id and the cause; ``remedy`` one sentence with what to do.
    """

    exit_code = 1

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}\n  -> {self.remedy}" if self.remedy else self.message


class ConfigError(LatentSyncError):
    """A configuration file or a combination of options that makes no sense."""

    exit_code = 3


class PackageMissingError(LatentSyncError):
    """A Python package that only this part of the program needs is not installed, or does not load."""

    exit_code = 4


class WeightsError(LatentSyncError):
    """A weight file that cannot be used."""

    exit_code = 10


class WeightsMissingError(WeightsError):
    """The weight file is not there."""

    exit_code = 11


class WeightsCorruptError(WeightsError):
    """Truncated, an LFS pointer, an HTML page, not a weight file at all, or a wrong checksum."""

    exit_code = 12


class WeightsMismatchError(WeightsError):
    """An undamaged file of another network, version or resolution than the one asked for."""

    exit_code = 13


class DownloadError(WeightsError):
    """The hub or mirror did not give the file."""

    exit_code = 14


class LicenceError(WeightsError):
    """A weight file whose licence is not known to allow what it is to be used for."""

    exit_code = 15


class AdapterMismatchError(WeightsMismatchError):
    """An adapter that was trained on another U-Net than the one that it is to change."""

    exit_code = 16


class VideoError(LatentSyncError):
    """The input video cannot be opened or decoded."""

    exit_code = 20


class NoVideoStreamError(VideoError):
    """The file holds no video stream."""

    exit_code = 21


class AudioError(LatentSyncError):
    """The input audio cannot be opened or decoded."""

    exit_code = 30


class NoAudioStreamError(AudioError):
    """The file holds no audio stream, or one without a single sample."""

    exit_code = 31


class NoFaceError(LatentSyncError):
    """No usable face where one is needed."""

    exit_code = 40


class OutputError(LatentSyncError):
    """The result cannot be written."""

    exit_code = 50


class DiskFullError(OutputError):
    """Not enough room for the result."""

    exit_code = 51


class EncoderError(OutputError):
    """The video encoder is missing or refuses the frames."""

    exit_code = 52


class StoreError(OutputError):
    """Files at an address (S3, Google Cloud Storage ...) cannot be read or written."""

    exit_code = 53


class GenerationError(LatentSyncError):
    """The network gave something that is no face: not finite, black, noise, or its own mask."""

    exit_code = 60


class OutOfMemoryError(LatentSyncError):
    """Even a single window does not fit."""

    exit_code = 61


class DeviceError(LatentSyncError):
    """The asked-for device or precision is not available."""

    exit_code = 62


class DeadlineError(LatentSyncError):
    """The deadline of a job had passed before it began."""

    exit_code = 63


class BusyError(LatentSyncError):
    """As much is under way or waits as may, of everybody or of this one; later there may be room."""

    exit_code = 64


class DataError(LatentSyncError):
    """Training or evaluation data that cannot be used."""

    exit_code = 70


class TrainingError(LatentSyncError):
    """A training run that cannot go on."""

    exit_code = 80


class ServerError(LatentSyncError):
    """The page cannot be served where it was asked to be."""

    exit_code = 90


class StoppedError(LatentSyncError):
    """Whoever started the run has stopped it."""

    exit_code = INTERRUPTED_EXIT_CODE
