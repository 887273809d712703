"""Scenes from and to files: what is written is read again, and every fault is one sentence with its line."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as some

from latentsync.errors import ConfigError
from latentsync.scene.files import read_scene, write_scene
from latentsync.scene.model import (
    PersonChoice,
    Scene,
    Segment,
    SegmentAudio,
    SegmentOptions,
    Transition,
    check_scene,
)

ROOT = Path(__file__).parents[2]
INTERVIEW = """\
video: interview.mp4
audio: both.wav
people:
  anna: index:0
  ben: {face: "640,300@2.5"}
segments:
- {start: 0, end: 4.2, person: anna}
- start: 0:04.2
  end: 9
  person: ben
  audio: {file: takes/ben.wav, channel: 1, start: 1.5, end: 6.3}
  options: {guidance_scale: 1.8, silence: close}
  transition: {fade_in: 2, fade_out: 5}
"""


def write(folder: Path, text: str, name: str = "scene.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_becomes_exact_values(tmp_path):
    scene = read_scene(write(tmp_path, INTERVIEW))
    assert scene.video == tmp_path / "interview.mp4"
    assert scene.people == (PersonChoice("anna", "index:0"), PersonChoice("ben", "640,300@2.5"))
    first, second = scene.segments
    assert (first.start, first.end, first.audio) == (0, Fraction(21, 5), None)
    assert second == Segment(
        Fraction(21, 5),
        Fraction(9),
        "ben",
        SegmentAudio(tmp_path / "takes" / "ben.wav", channel=1, start=Fraction(3, 2), end=Fraction(63, 10)),
        SegmentOptions(guidance_scale=1.8, silence="close"),
        Transition(2, 5),
    )
    assert second.place == f"{tmp_path / 'scene.yaml'}, line 8"
    assert scene.audio_of(first) == SegmentAudio(tmp_path / "both.wav")
    assert scene.audio_of(Segment(Fraction(3), Fraction(4), "anna")).start == 3  # the part at the same time


seconds = some.fractions(min_value=0, max_value=9999, max_denominator=90000)
paths = some.sampled_from(["a.wav", "takes/b c.flac", "ä.mp3"])
names = some.sampled_from(["anna", "ben", "1", "null", "true", "Zoë: x"])
audios = some.builds(SegmentAudio, paths.map(Path), some.none() | some.integers(0, 3), some.none(), seconds)
segments = some.builds(
    Segment,
    seconds,
    some.none() | seconds,
    names,
    some.none() | audios,
    some.builds(SegmentOptions, some.sampled_from([None, "fast"]), some.none() | some.integers(1, 50)),
    some.builds(Transition, some.none() | some.integers(0, 9)),
)
people = some.lists(some.builds(PersonChoice, names, some.sampled_from(["", "index:0"])), unique_by=lambda p: p.name)
scenes = some.builds(Scene, people.map(tuple), some.lists(segments, max_size=3).map(tuple), some.none() | audios)


@pytest.mark.parametrize("name", ["scene.yaml", "scene.json"])
def test_what_is_written_is_read_again(tmp_path, name):
    @settings(max_examples=12, deadline=None, database=None, phases=[Phase.generate])
    @given(scenes)
    def both_ways(scene):
        path = tmp_path / name
        write_scene(scene, path)
        assert read_scene(path) == moved(scene, Path.cwd())

    both_ways()


def moved(scene: Scene, folder: Path) -> Scene:
    """With files where they are: a scene that is made in a program names them relative to where that runs."""

    def audio(given):
        if given is None:
            return None
        return SegmentAudio(folder / given.file, given.track, given.channel, given.start, given.end)

    return Scene(
        scene.people,
        tuple(
            Segment(each.start, each.end, each.person, audio(each.audio), each.options, each.transition)
            for each in scene.segments
        ),
        audio(scene.audio),
    )


def test_files_beside_a_scene_are_written_relative_to_it(tmp_path):
    scene = read_scene(write(tmp_path, INTERVIEW))
    write_scene(scene, tmp_path / "copy.json")
    text = (tmp_path / "copy.json").read_text(encoding="utf-8")
    assert str(tmp_path) not in text and "takes/ben.wav" in text
    assert read_scene(tmp_path / "copy.json") == scene


def test_the_example_of_the_page_is_a_scene(tmp_path):
    page = (ROOT / "docs" / "scenes.md").read_text(encoding="utf-8")
    example = page.partition("```yaml\n")[2].partition("```")[0]
    scene = read_scene(write(tmp_path, example))
    assert [person.name for person in scene.speakers()] == ["anna", "ben"] and len(scene.segments) == 4
    for audio in scene.files():
        audio.touch()
    check_scene(scene, Fraction(26))


FAULTS = {
    "unknown key": ("segments:\n- start: 0\n  ende: 4\n  person: a\n", 3, "ende"),
    "unknown key at the top": ("segmnts: []\nsegments: []\n", 1, "segmnts"),
    "no segments": ("video: a.mp4\n", 1, "segments"),
    "no person": ("segments:\n- start: 1\n", 2, "person"),
    "a time that is none": ("segments:\n- start: soon\n  person: a\n", 2, "soon"),
    "a negative time": ("segments:\n- person: a\n  start: -1\n", 3, "-1"),
    "a number in place of a list": ("segments: 3\n", 1, "list"),
    "no number": ("segments:\n- start: 0\n  person: a\n  options:\n    guidance_scale: much\n", 5, "much"),
    "half a channel": ("segments:\n- {start: 0, person: a,\n   audio: {file: a.wav, channel: 0.5}}\n", 3, "channel"),
    "a key that is there twice": ("segments:\n- start: 0\n  start: 1\n  person: a\n", 3, "twice"),
    "no YAML": ("segments:\n- start: [0\n", 3, "YAML"),
}


@pytest.mark.parametrize(("text", "line", "word"), FAULTS.values(), ids=FAULTS)
def test_a_fault_is_a_sentence_with_its_line(tmp_path, text, line, word):
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as error:
        read_scene(path)
    assert error.value.message.startswith(f"{path}, line {line}: ") and word in error.value.message
    assert error.value.message.count("\n") == 0 and error.value.remedy


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('{"segments": [\n {"start": 0,\n\t"person": 4.5}]}', 3),
        ('{"segments": [\n {"start": 0,,}]}', 2),
        ('{"segments": [],\n "segments": []}', 1),
    ],
)
def test_faults_in_json_have_lines_too(tmp_path, text, line):
    with pytest.raises(ConfigError, match=rf"line {line}: "):
        read_scene(write(tmp_path, text, "scene.json"))


def test_a_scene_is_checked_against_its_video_and_its_files(tmp_path):
    (tmp_path / "both.wav").touch()
    (tmp_path / "takes").mkdir()
    (tmp_path / "takes" / "ben.wav").touch()

    def fault(text: str) -> str:
        with pytest.raises(ConfigError) as error:
            check_scene(read_scene(write(tmp_path, text)), Fraction(10), Fraction(1, 25))
        return error.value.message

    check_scene(read_scene(write(tmp_path, INTERVIEW)), Fraction(9))
    check_scene(read_scene(write(tmp_path, INTERVIEW)), Fraction(9) - Fraction(1, 50), Fraction(1, 25))
    overlap = INTERVIEW.replace("person: ben", "person: anna").replace("0:04.2", "4.1")
    assert "line 8" in fault(overlap) and "'anna'" in fault(overlap)
    assert "line 8" in fault(INTERVIEW.replace("end: 9", "end: 10.1"))
    assert "line 8" in fault(INTERVIEW.replace("takes/ben.wav", "takes/eve.wav"))
    assert "line 7" in fault(INTERVIEW.replace("end: 4.2", "end: 0"))
    assert "no audio" in fault(INTERVIEW.replace("audio: both.wav\n", ""))
    assert "which face 'anna'" in fault(INTERVIEW.replace("anna: index:0", "anna:"))
    assert "no segment" in fault("segments: []\n")


def test_reading_a_scene_loads_no_framework(tmp_path):
    path = write(tmp_path, INTERVIEW)
    code = (
        "import sys\nfrom pathlib import Path\nfrom latentsync.scene.readers import read_any\n"
        f"read_any(Path({str(path)!r}))\nprint([n for n in ('torch', 'cv2', 'numpy', 'av') if n in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
