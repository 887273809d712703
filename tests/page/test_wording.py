"""The words of the page."""

from __future__ import annotations

import ast
import re
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import pytest

import latentsync
from latentsync import errors
from latentsync.diffusion.settings import SamplerSettings
from latentsync.errors import (
    AudioError,
    ConfigError,
    DeviceError,
    LatentSyncError,
    NoAudioStreamError,
    NoVideoStreamError,
    OutOfMemoryError,
    OutputError,
    VideoError,
    WeightsError,
    WeightsMissingError,
)
from latentsync.inference.job.progress import Progress
from latentsync.inference.job.report import RunReport
from latentsync.inference.options import PRESETS
from latentsync.inference.record import FrameRange, JudgedStretch, RunRecord, SyncVerdict
from latentsync.inference.timeline import LengthMode
from latentsync.inference.weights import BUILTIN_NOTES
from latentsync.media.container import NO_VIDEO_REMEDY
from latentsync.page import wording
from latentsync.page.choices import CHOICES, HELP
from latentsync.page.fair_queue import Waiting
from latentsync.page.request import GATES, MASKS, OCCLUSIONS, SILENCES


def test_progress_says_stage_share_and_time_left():
    def words(reading):
        return wording.progress(reading, job="a-name", beat=7)

    dubbing = words(Progress("dubbing", 30, 120, 12.4))
    assert "Dubbing: 25%, about 12 s left" in dubbing and 'value="0.250"' in dubbing
    assert 'data-job="a-name"' in dubbing and 'data-beat="7"' in dubbing
    assert "Loading the models" in words(Progress("loading", 0, 120))
    assert "Waiting for 3 other jobs" in words(Waiting(3)) and "<progress" not in words(Waiting(3))
    assert "Waiting for another job to end" in words(Waiting(1))


def test_a_page_is_told_its_job_or_that_it_has_none():
    assert 'data-job="a-name"' in wording.status(wording.DONE, kind="done", job="a-name")
    assert 'data-job=""' in wording.status("Stopped.", kind="idle", job="")
    assert "data-job" not in wording.status(wording.IDLE, kind="idle")


def test_an_error_names_files_as_the_visitor_knows_them():
    path = Path("/srv/secret/abc/film.mp4")
    error = VideoError(f"{path} is a web page.", remedy="Download the file itself.")
    assert wording.sentence(error, path) == "film.mp4 is a web page. Download the file itself."
    assert "<b>" not in wording.status("<b>film</b>")


def test_a_name_is_never_read_as_markup():
    path = Path("/srv/secret/abc/**a** <img src=x> [b](javascript:c).mp4")
    said = wording.sentence(VideoError(f"{path} is empty (0 bytes)."), path)
    assert said == "**a** <img src=x> [b](javascript:c).mp4 is empty (0 bytes)."
    assert wording.not_taken(said).startswith(
        "**Not taken.** \\*\\*a\\*\\* \\<img src=x\\> \\[b\\](javascript:c).mp4 is"
    )
    assert "<img" not in wording.status(said)
    account = report_of(notes=[f"{path}: cut short, 5 of 10 frames are there"], video=str(path))
    assert "Note: \\*\\*a\\*\\* \\<img src=x\\> \\[b\\](javascript:c).mp4: cut short" in wording.report(account)
    assert wording.models("a_b (*.pt)", False) == "**Models:** a_b (\\*.pt)."


def test_notes_are_without_what_only_the_server_can_do():
    notes = [f"{BUILTIN_NOTES[0]}", "`python -m x` does it", "plain"]
    words = wording.report(report_of(notes=notes))
    assert "Note: without published weights the built-in models are used." in words and "Note: plain." in words
    assert words.count("Note:") == 2 and "python" not in words


KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, LatentSyncError)]


class Raised(NamedTuple):
    """An error as it stands in the source; ``x`` stands for values."""

    where: str
    error: LatentSyncError


def all_errors() -> list[Raised]:
    """Every error of the product that has a remedy, with every remedy that it may have."""
    found = []
    for path in sorted(Path(latentsync.__file__).parent.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            given = [keyword.value for keyword in call.keywords if keyword.arg == "remedy"]
            if given and call.args:
                named = vars(errors).get(ast.unparse(call.func).rpartition(".")[2])
                kinds = [named] if named in KINDS else [VideoError, AudioError, WeightsError]
                (message, *_), remedies = texts(call.args[0], tree), texts(given[0], tree)
                where = f"{path.name}:{call.lineno}"
                found += [Raised(where, kind(message, remedy=remedy)) for kind in kinds for remedy in remedies]
    return found


def texts(node: ast.expr, tree: ast.Module) -> list[str]:
    """What an expression may be: a text as it is, and of anything else every text of the module that it could come
    from."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [node.value]
    if isinstance(node, ast.JoinedStr):
        return ["".join(str(part.value) if isinstance(part, ast.Constant) else "x" for part in node.values)]
    if isinstance(node, ast.BinOp):
        return [a + b for a in texts(node.left, tree)[:1] for b in texts(node.right, tree)[:1]]
    constants = (each for each in ast.walk(tree) if isinstance(each, ast.Constant) and isinstance(each.value, str))
    return [each.value for each in constants if "--" in each.value or "python -m" in each.value] or ["x"]


def test_no_error_names_an_option_or_a_command_on_the_page():
    raised = all_errors()
    assert len(raised) > 250
    assert sum("--" in str(each.error) for each in raised) > 20  # what they say on the command line
    for where, error in raised:
        said = wording.sentence(error)
        assert "--" not in said and "python -m" not in said and "`" not in said, (where, said)
        assert "configs/" not in said and "checkpoints/" not in said, (where, said)
        assert said.endswith((".", ":", "x", ")", "]")), (where, said)
        assert not re.search(r"[.:] Name (a|the|another) |Remedy", said) and "folder of" not in said, (where, said)


def test_what_is_named_elsewhere_is_uploaded_here():
    said = wording.sentence(NoVideoStreamError("It holds only sound.", remedy=NO_VIDEO_REMEDY))
    assert said == "It holds only sound. Upload a video."
    said = wording.sentence(NoAudioStreamError("It is silent film.", remedy="Name a file that has sound."))
    assert said == "It is silent film. Upload a file that has sound."


def test_an_option_in_a_message_is_called_as_on_the_page():
    error = ConfigError("The point 5,5 of --face lies outside.", remedy="Leave out --compile.")
    assert wording.sentence(error) == "The point 5,5 of 'Who speaks' lies outside. Choose another setting."
    assert "'frame rate'" in wording.sentence(ConfigError("There is no --frame_rate."))


@pytest.mark.parametrize("kind", [WeightsMissingError, DeviceError, OutputError, OutOfMemoryError])
def test_what_only_the_server_can_mend_is_not_asked_of_visitors(kind):
    said = wording.sentence(kind("It is so.", remedy="Create the folder first."))
    assert "folder" not in said and said.startswith("It is so. ") and "whoever runs this page" in said


def report_of(**changes) -> RunReport:
    """A report without anything in it."""
    plain = {"video": "v", "audio": "a", "output": "o", "output_seconds": 2.0, "fps": 25.0, "wall_seconds": 4.0}
    rest = {"encode_seconds": 0.5, "record": RunRecord(frames=50), "device": "cpu", "precision": "float32"}
    plain |= rest | {"options": {"seed": 7}, "weights": {}, "versions": {}, "encoded": {}, "notes": []}
    return RunReport(**plain | changes)


def test_a_report_in_words():
    record = RunRecord(frames=50, passed_through=[FrameRange(10, 14, "no face")])
    with record.clock.measure("generate"):
        pass
    account = report_of(record=record, notes=["careful"])
    words = wording.report(account, start=3.0)
    assert "Preview from 3.0 s" in words and "2.0 s for a second of video" in words and "seed 7" in words
    assert "5 frames are as they were: 3.40-3.60 s (no face)." in words
    assert "| generating the mouth | 0.0 |" in words and "| encoding | 0.5 |" in words and "Note: careful." in words


def test_a_stretch_out_of_sync_is_pointed_out():
    poor = SyncVerdict(0.2, 0.05, 6, False)
    judged = [JudgedStretch(Fraction(0), Fraction(12, 5), SyncVerdict(0.8, 0.6, 0, True))]
    judged.append(JudgedStretch(Fraction(12, 5), Fraction(24, 5), poor, first_try=poor))
    words = wording.report(report_of(record=RunRecord(frames=120, judged=judged)))
    assert words.count("**Look here.**") == 1
    assert "From 2.4 to 4.8 s the mouth does not follow the audio, also when it was made again" in words


def test_there_are_words_for_every_choice_of_what_is_shown():
    assert {name: tuple(words) for name, words in CHOICES.items()} == {
        "mask": MASKS,
        "silence": SILENCES,
        "occlusion": OCCLUSIONS,
        "sync_gate": GATES,
    }
    assert {*CHOICES, "skip", "mask_file"} == set(HELP)


def test_a_preset_says_what_it_costs(monkeypatch):
    assert wording.preset("exact") == "Exact (20 steps, as published)"
    assert wording.preset("builtin").startswith("Built-in (")
    assert len({wording.preset(name) for name in PRESETS}) == len(PRESETS)
    monkeypatch.setitem(PRESETS, "hasty", SamplerSettings(steps=4, cache_interval=2))
    assert wording.preset("hasty") == "Hasty (4 steps, 1 in 2 in full)"


def test_there_are_words_for_every_way_of_fitting_the_length():
    assert set(wording.LENGTHS) == {mode.value for mode in LengthMode}
