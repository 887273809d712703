"""What a visitor is told of an error, and what the log has of it."""

from __future__ import annotations

import errno
import logging

import pytest

from latentsync.errors import StoppedError, VideoError, WeightsMissingError
from latentsync.page.faults import LONGEST_TRACEBACK, FaultLog
from latentsync.page.wording import FAULT


@pytest.fixture
def faults(clock):
    return FaultLog(seconds=600.0, clock=clock)


def raised(make, number=1):
    """``number`` errors of one place."""
    for _ in range(number):
        try:
            make()
        except Exception as error:  # noqa: BLE001
            yield error


def broken():
    raise ValueError("broken\x1b[31m\r\n2026-01-01 forged line")


def test_a_visitors_mistake_is_one_line_without_a_traceback(faults, caplog, tmp_path):
    path = tmp_path / "a\nb.mp4"
    with caplog.at_level(logging.INFO):
        said = faults.sentence(VideoError(f"{path} is empty (0 bytes).", remedy="Copy it again."), path)
    assert said == "a b.mp4 is empty (0 bytes). Copy it again."
    (record,) = caplog.records
    assert record.levelno == logging.INFO and record.exc_info is None and record.getMessage() == f"refused: {said}"
    with caplog.at_level(logging.INFO):
        assert faults.sentence(StoppedError("Stopped.")) == "Stopped."
    assert len(caplog.records) == 1


def test_a_fault_is_logged_once_with_its_place_and_counted(faults, clock, caplog):
    assert {faults.sentence(error) for error in raised(broken, 1000)} == {FAULT}
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "in broken" in record.getMessage() and "ValueError: broken" in record.getMessage()
    assert "\x1b" not in record.getMessage() and "\r" not in record.getMessage()
    clock.now = 601.0
    for error in raised(broken):
        faults.sentence(error)
    assert len(caplog.records) == 2 and "999 more like it before" in caplog.records[1].getMessage()


def test_faults_of_other_places_and_kinds_are_logged_beside_it(faults, caplog):
    for error in (*raised(broken, 3), *raised(lambda: [][1], 3), *raised(lambda: {}["x"], 3)):
        faults.sentence(error)
    assert len(caplog.records) == 3


def test_a_long_message_does_not_fill_the_log(faults, caplog):
    def talk():
        raise ValueError("x" * 10**6)

    for error in raised(talk, 10):
        faults.sentence(error)
    (record,) = caplog.records
    assert len(record.getMessage()) < LONGEST_TRACEBACK + 100


def test_what_the_server_lacks_is_a_warning_with_its_own_remedy(faults, caplog):
    def missing():
        raise WeightsMissingError("The file /srv/w/unet.pt is not there.", remedy="Fetch it with --x.")

    said = {faults.sentence(error) for error in raised(missing, 5)}
    assert said == {"The file unet.pt is not there. Choose others under 'Models', or tell whoever runs this page."}
    (record,) = caplog.records
    assert record.levelno == logging.WARNING and record.exc_info is None
    assert "/srv/w/unet.pt" in record.getMessage() and "--x" in record.getMessage()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_called_so(faults, caplog, number):
    def full():
        raise OSError(number, "No space left on device", "/srv/x/y.json")

    (said,) = {faults.sentence(error) for error in raised(full, 2)}
    assert said == "The disk of the server is full. Come back later, or tell whoever runs this page."
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
