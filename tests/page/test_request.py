"""Values of a call: each gives a request, or one sentence that names the field as the page calls it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from latentsync.errors import ConfigError
from latentsync.inference.options import DEFAULT_SEED, PRESETS, SyncOptions, apply_preset
from latentsync.inference.timeline import LengthMode
from latentsync.inference.weights import WeightPaths
from latentsync.page.request import (
    DUB_FIELDS,
    LABELS,
    PREVIEW_FIELDS,
    QUALITIES,
    FieldError,
    JobRequest,
    stretches,
    uploaded_file,
)
from latentsync.page.wording import sentence
from tests.page.anything import any_value

CHECKPOINTS = ("built-in models", "release 1.6 (latentsync_unet.pt)")


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uploads")
    for name in ("in.mp4", "in.wav", "mask.png"):
        (folder / name).write_bytes(b"x")
    return folder / "in.mp4", folder / "in.wav"


@pytest.fixture(scope="session")
def request_of(files):
    def make(**values):
        given = {"video": {"path": str(files[0])}, "audio": str(files[1])} | values
        return JobRequest.from_values(given, CHECKPOINTS)

    return make


@pytest.mark.parametrize("empty", [None, ""])
def test_an_empty_field_has_its_default(request_of, files, empty):
    names = [name for name in DUB_FIELDS if name not in ("video", "audio")]
    expected = JobRequest(*(path.resolve() for path in files), CHECKPOINTS[0])
    assert request_of() == request_of(**dict.fromkeys(names, empty)) == expected
    assert expected.seed == DEFAULT_SEED and expected.preset is expected.steps is None
    assert request_of(moment=empty).moment == 0 and request_of(moment=empty).kind == "preview"


def test_values_that_can_be(request_of, files):
    request = request_of(
        checkpoint=CHECKPOINTS[1],
        preset="fast",
        steps=12.0,
        guidance_scale=2,
        seed=-1,
        length="loop",
        quality="draft",
        face="240,100@0.5",
        mask="trained",
        silence="close",
        skip="12.0 - 14.5; 20-21,3-4",
        sync_gate="report",
        occlusion="off",
        mask_file=str(files[0].with_name("mask.png")),
        moment=1e6,
    )
    assert (request.steps, request.guidance_scale, request.seed, request.moment) == (12, 2.0, -1, 1e6)
    assert (request.checkpoint, request.preset, request.length) == (CHECKPOINTS[1], "fast", "loop")
    assert (request.mask, request.silence, request.sync_gate) == ("trained", "close", "report")
    assert request.occlusion == "off"
    assert request.files == (*(path.resolve() for path in files), files[0].with_name("mask.png").resolve())
    assert request.skip == "12-14.5, 20-21, 3-4"
    assert [str(stretch) for stretch in stretches(request.skip)] == ["12-14.5", "20-21", "3-4"]
    assert (request.quality, request.face, request.kind) == ("draft", "240,100@0.5", "preview")
    assert request_of(steps=0, guidance_scale=0.0).steps is request_of(guidance_scale=0).guidance_scale is None
    assert isinstance(request_of(steps=12.0).steps, int) and request_of(seed=2**64 - 1).seed == 2**64 - 1


REFUSED = [
    ("steps", math.nan, "Steps: nan is no number to count with. Give a whole number from 0 to 200."),
    ("steps", -1, "Steps: -1 is not possible. Give a whole number from 0 to 200."),
    ("steps", 3.5, "Steps: 3.5 is not possible. Give a whole number from 0 to 200."),
    ("steps", 10**400, "Steps: so large a number is not possible. Give a whole number from 0 to 200."),
    ("steps", "20", "Steps: '20' is no number. Give a whole number from 0 to 200."),
    ("steps", True, "Steps: true or false is no number. Give a whole number from 0 to 200."),
    ("guidance_scale", math.inf, "Guidance (hold of the sound): inf is no number to count with. Give a number"),
    ("guidance_scale", 1e300, "Guidance (hold of the sound): 1e+300 is not possible. Give a number from 0 to 10."),
    ("seed", 2**64, "Seed: so large a number is not possible. Give a whole number from -1."),
    ("seed", [5], "Seed: a list is no number. Give a whole number from -1."),
    ("moment", -0.1, "Moment to try: -0.1 is not possible. Give a number from 0 to 1e+06."),
    ("preset", "quick", "Preset: there is no 'quick'. Use one of: exact, balanced, fast, preview, builtin, live."),
    ("preset", {"a": 1}, "Preset: there is no an object. Use one of"),
    ("checkpoint", "../../x", "Models: there is no '../../x'. Use one of: built-in models, release 1.6"),
    ("length", 5, "If the video is shorter or longer than the sound: there is no 5. Use one of: pingpong"),
    ("quality", "x" * 1000, "Quality of the file: there is no a text. Use one of: as the source"),
    ("face", "nobody", "Who speaks: 'nobody' names nobody. Use 'largest', 'speaking', 'index:0' or"),
    ("face", "9" * 5000, "Who speaks: a text names nobody."),
    ("face", "index:" + "9" * 250, "Who speaks: a text names nobody."),
    ("mask", "/etc/passwd", "What is painted: there is no 'passwd'. Use one of: face, trained."),
    ("silence", ["close"], "Where nobody speaks: there is no a list. Use one of: generate, close, original."),
    ("sync_gate", True, "Mouth and sound: there is no true or false. Use one of: off, report, redo."),
    ("occlusion", "/etc/passwd", "Things before the face: there is no 'passwd'. Use one of: auto, off."),
    ("skip", "1e99999999-2", "Leave these seconds alone: '1e99999999-2' is no stretch of time. Give seconds"),
    ("skip", "1/0-2", "Leave these seconds alone: '1/0-2' is no stretch of time."),
    ("skip", "-1-2", "Leave these seconds alone: '-1-2' is no stretch of time."),
    ("skip", "5-4", "Leave these seconds alone: From 5 s to 4 s is no stretch of time. Give a start from 0"),
    ("skip", "1-2," * 60, "Leave these seconds alone: a text is no stretch of time."),
    ("skip", 12, "Leave these seconds alone: 12 is no stretch of time."),
    ("video", "/etc/passwd\0", "Video: there is no such file here. Upload it (again)"),
    ("audio", {"path": ["x"]}, "Sound: an object is no file. Upload one and give what the upload answers."),
    ("audio", 7, "Sound: 7 is no file."),
    ("scene", 5, "Scene: 5 is no scene. Give the text"),
    ("scene", "{", "Scene: the text, line 1: no JSON"),
    ("scene", '{"segments": [{"start": 1e999999999, "person": "a"}]}', "Scene: the text is not"),
    ("scene", '{"segments": [{"start": ' + "9" * 400 + ', "person": "a"}]}', "Scene: the text, line 1: so large a"),
    ("scene", '{"segments": [{"start": 0, "person": "face.png", "audio": "/etc/passwd"}]}', "Scene: 'face.png' names"),
    ("scene", '{"segments": [{"start": 0, "person": "index:0", "audio": "a.wav"}]}', "Scene: the sound a.wav is not"),
    ("scene", '{"segments": [{"start": 0, "person": "index:0", "audio": "/no/a.wav"}]}', "Scene: there is no such"),
    ("scene", '{"segments": [{"start": 0, "person": "index:0", "audio": "~no.such/a"}]}', "Scene: there is no such"),
    ("mask_file", "trained", "A mask of your own: there is no such file here. Upload it (again)"),
]


@pytest.mark.parametrize("field, value, words", REFUSED)
def test_a_refused_value_is_a_sentence_with_the_name_of_the_field(request_of, field, value, words):
    with pytest.raises(FieldError) as refused:
        request_of(**{field: value})
    assert sentence(refused.value).startswith(words)
    assert refused.value.field == field and LABELS[field] in words


def test_a_scene_needs_no_other_sound(request_of, files):
    text = json.dumps({"people": {"a": "index:1"}, "segments": [{"start": 0, "person": "a", "audio": str(files[1])}]})
    request = request_of(scene=text, audio=None, face="index:0")
    assert request.audio is None and request.is_as_long_as_video and request.files == (files[0], files[1])
    assert request.scene.speakers()[0].face == "index:1" and request.scene.audio is None
    assert request_of(scene=text).scene.audio.file == files[1]
    without = json.dumps({"segments": [{"start": 0, "person": "speaking"}]})
    assert request_of(scene=without).scene.audio_of(request_of(scene=without).scene.segments[0]).file == files[1]
    with pytest.raises(ConfigError, match="A video and a sound are needed"):
        request_of(scene=without, audio=None)
    with pytest.raises(FieldError, match="no such file"):  # uploads lie in one folder
        JobRequest.from_values({"video": str(files[0]), "scene": text}, CHECKPOINTS, files[0].parent / "other")
    assert request_of(scene="{\"segments\": []}").scene is None


@pytest.mark.parametrize("missing", ["video", "audio"])
@pytest.mark.parametrize("value", [None, ""])
def test_both_files_are_needed(request_of, missing, value):
    with pytest.raises(ConfigError, match="A video and a sound are needed"):
        request_of(**{missing: value})


def test_a_file_lies_where_uploads_do(files, tmp_path):
    folder = files[0].parent
    assert uploaded_file("video", str(files[0]), folder) == files[0].resolve()
    inside = [folder, folder / "nothing.mp4", folder / "a" / ".." / ".." / "x", "../x", "a\ud800b", "x" * 5000]
    (tmp_path / "elsewhere.mp4").write_bytes(b"x")
    (folder / "link.mp4").unlink(missing_ok=True)
    (folder / "link.mp4").symlink_to(tmp_path / "elsewhere.mp4")
    for path in [*inside, tmp_path / "elsewhere.mp4", folder / "link.mp4", "/etc/passwd", "http://a.example/x.mp4"]:
        with pytest.raises(FieldError, match="Video: there is no such file here"):
            uploaded_file("video", str(path), folder)


@given(st.dictionaries(st.sampled_from(PREVIEW_FIELDS), any_value(), max_size=4))
@settings(max_examples=400, deadline=None)
@example({"seed": 2**64 - 1, "steps": 200, "guidance_scale": 10.0, "moment": 0})
def test_anything_gives_a_request_or_a_sentence(request_of, values):
    try:
        request = request_of(**values)
    except ConfigError as error:
        said = sentence(error)
        assert said.endswith(".") and len(said) < 500 and said.isprintable()
        assert isinstance(error, FieldError) or "A video and a sound are needed" in said
        said.encode()
        return
    assert isinstance(request.video, Path) and request.checkpoint in CHECKPOINTS
    assert request.preset is None or request.preset in PRESETS
    assert request.quality in QUALITIES and LengthMode(request.length)
    _, sampler = apply_preset(
        request.preset, WeightPaths.builtin(), steps=request.steps, guidance_scale=request.guidance_scale
    )
    SyncOptions(sampler=sampler, seed=max(request.seed, 0), face=request.face)
