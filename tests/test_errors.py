"""Named errors and the exit codes of commands."""

from __future__ import annotations

import pytest

from latentsync import errors
from latentsync.errors import LatentSyncError, VideoError
from latentsync.terminal import run_command

ERRORS = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, LatentSyncError)]


def test_every_error_has_an_exit_code_of_its_own():
    codes = [error.exit_code for error in ERRORS]
    assert len(set(codes)) == len(codes)
    assert not {0, 2} & set(codes), "success, and argparse's code for a wrong command line"


def test_an_error_is_a_sentence_and_a_remedy(capsys):
    def fail() -> None:
        raise VideoError("a.mp4 cannot be opened.", remedy="Name another file.")

    assert run_command(fail) == VideoError.exit_code
    assert capsys.readouterr().err == "a.mp4 cannot be opened.\n  -> Name another file.\n"


@pytest.mark.parametrize(("returned", "code"), [(None, 0), (0, 0), (1, 1)])
def test_a_command_without_an_error_gives_its_own_code(returned, code):
    assert run_command(lambda: returned) == code


def test_what_is_a_fault_of_the_program_goes_through():
    with pytest.raises(ZeroDivisionError):
        run_command(lambda: 1 // 0)
