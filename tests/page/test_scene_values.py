"""The editor's fields as a scene and back, what it shows of one, and scene files that are brought to it."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
import yaml

from latentsync.errors import ConfigError
from latentsync.inference.job.people import VideoPeople, VideoPerson
from latentsync.page.scene_part import with_stretches
from latentsync.page.scene_values import (
    MISSING,
    WHOEVER_SPEAKS,
    SeenPerson,
    SeenVideo,
    brought_files,
    edited_scene,
    opened_scene,
    scene_from_text,
    scene_to_text,
    scene_to_yaml,
)
from latentsync.page.scene_view import account, editor
from latentsync.scene.model import Scene

LEFT, RIGHT = "100,80@0.000", "300,80@0.000"
SEEN = SeenVideo(
    Fraction(10), Fraction(30000, 1001), (SeenPerson(LEFT, "Person 1", ""), SeenPerson(RIGHT, "Person 2", ""))
)
ROWS = [{"name": "Person 1", "face": LEFT}, {"name": "Person 2", "face": RIGHT}]


def new(person, file):
    return {"person": str(person), "file": file, "new": "1"}


def edit(*segments, rows=ROWS, seconds=3):
    return edited_scene({"people": rows, "segments": list(segments)}, SEEN, lambda path: Fraction(seconds))


def fields(start, end, person="0", file="/up/a.wav", **more):
    return {"person": person, "start": start, "end": end, "file": file, **more}


def test_sounds_are_placed_one_after_the_other_and_a_long_one_with_the_video():
    frame = 1 / SEEN.fps
    scene = edit(new(0, "/up/a.wav"), new(1, "/up/b.wav"))
    first, second = scene.segments
    assert (first.person, second.person) == ("Person 1", "Person 2")
    assert first.start == 0 and 3 <= first.end <= 3 + frame and second.start == first.end
    assert all((time * SEEN.fps).denominator == 1 for each in scene.segments for time in (each.start, each.end))
    both = edit(new(0, "/up/a.wav"), new(1, "/up/b.wav"), seconds=9.5)
    assert [each.start for each in both.segments] == [0, 0]
    with pytest.raises(ConfigError, match="no room"):
        edit(fields("0", "10"), new(0, "/up/b.wav"))


def test_fields_become_a_scene_that_is_kept_as_text_and_as_a_file():
    more = {"from": "1.5", "until": "4", "channel": "1", "guidance_scale": "1.8", "silence": "close", "fade_in": "2"}
    scene = edit(fields("0.51", "3", **more), fields("4", "", "1", "a.wav"), rows=[ROWS[0] | {"name": "Anna"}, ROWS[1]])
    assert scene_from_text(scene_to_text(scene)) == scene
    first, second = scene.segments
    assert first.start == 15 / SEEN.fps and first.audio.start == Fraction(3, 2) and first.audio.channel == 1
    assert first.options.guidance_scale == 1.8 and first.transition.fade_in == 2 and second.end is None
    assert second.audio.file == MISSING / "a.wav"
    saved = yaml.safe_load(scene_to_yaml(scene, "in.mp4"))
    assert saved["video"] == "in.mp4" and saved["people"] == {"Anna": LEFT, "Person 2": RIGHT}
    assert saved["segments"][0]["audio"]["file"] == "a.wav" and saved["segments"][1]["audio"] == "a_2.wav"
    brought = edit(fields("4", "", "1", "a.wav"), new(0, "/up/a.wav"))
    assert [each.audio.file for each in brought.segments] == [Path("/up/a.wav")]  # it was missing


def test_whoever_speaks_and_people_without_a_part():
    scene = edit(fields("0", "2", "speaking"))
    assert [(each.name, each.face) for each in scene.people] == [(WHOEVER_SPEAKS, "speaking")]
    assert edit().people == () and scene_to_text(edit()) == ""


@pytest.mark.parametrize(
    ("segment", "words"),
    [
        (fields("x", "2"), "'x' is no number for the start"),
        (fields("3", "2"), "is no stretch of time"),
        (fields("1e99999999", "2"), "is no number"),
        (fields("0", "2", "7"), "nobody who is known"),
        (fields("0", "2", steps="1.5"), "is no number for Steps"),
        (fields("0", "2", file=["a"]), "does not understand"),
        ("x", "does not understand"),
    ],
)
def test_what_cannot_be_is_a_sentence(segment, words):
    with pytest.raises(ConfigError, match=words):
        edit(segment)


def test_two_people_of_one_name_and_a_photo_are_refused():
    with pytest.raises(ConfigError, match="Two people are called"):
        edit(rows=[ROWS[0], ROWS[1] | {"name": "Person 1"}])
    with pytest.raises(ConfigError, match=r"'x\.png' names nobody"):
        edit(rows=[{"name": "a", "face": "/etc/x.png"}])


def test_files_of_other_programs_are_opened(tmp_path):
    turns = tmp_path / "talk.rttm"
    turns.write_text("SPEAKER x 1 0 2 <NA> <NA> A <NA> <NA>\nSPEAKER x 1 2 3 <NA> <NA> B <NA> <NA>\n", encoding="utf-8")
    scene = opened_scene(turns, SEEN.fps, {})
    assert [(each.name, each.face) for each in scene.people] == [("A", ""), ("B", "")]
    assert "Which face is A?" in account(scene, SEEN, tmp_path / "sound.wav", "")
    assert editor(scene, SEEN).count('<select name="face"') == 2
    own = tmp_path / "own.yaml"
    own.write_text(
        f"people: {{anna: '{LEFT}', ben: /etc/ben.png}}\nsegments:\n"
        "- {start: 0, end: 1, person: anna, audio: takes/a.wav}\n- {start: 1, person: ben, audio: ../../b.wav}\n",
        encoding="utf-8",
    )
    scene = opened_scene(own, SEEN.fps, {"b.wav": Path("/up/b.wav")})
    assert [each.audio.file for each in scene.segments] == [MISSING / "a.wav", Path("/up/b.wav")]
    assert [each.face for each in scene.people] == [LEFT, ""]
    assert "a.wav is not here yet" in account(scene, SEEN, None, "")
    (tmp_path / "a.exe").write_text("x", encoding="utf-8")
    with pytest.raises(ConfigError, match="is no scene"):
        opened_scene(tmp_path / "a.exe", SEEN.fps, {})


def test_names_are_text_wherever_they_are_shown():
    hostile = '<img src=x onerror=alert(1)>"{{x}}${y}'
    scene = edit(fields("0", "2", file=f"/up/{hostile}.wav"), rows=[ROWS[0] | {"name": hostile}])
    for shown in (editor(scene, SEEN), account(scene, SEEN, None, scene_to_yaml(scene, hostile))):
        assert "<img src=x" not in shown and "{{x}}" not in shown and "${y}" not in shown


def test_the_second_look_adds_stretches_and_who_was_missed():
    member = VideoPerson([(Fraction(0), Fraction(4))], frames=100)
    cast = VideoPeople((member, member), 250, {LEFT: 1, RIGHT: 1})
    found = with_stretches(SEEN, replace(cast, members=(member,), named={LEFT: 0, RIGHT: 0}))
    assert [each.face for each in found.people] == [LEFT]  # both are one person
    assert found.people[0].stretches == ((Fraction(0), Fraction(4)),)
    assert [each.stretches for each in with_stretches(SEEN, VideoPeople((), 250)).people] == [(), ()]
    assert editor(Scene((), ()), found).count('class="seen"') == 1


def test_a_text_that_names_a_file_of_the_server_learns_nothing_of_it(tmp_path):
    uploads = tmp_path / "uploads"
    uploads.mkdir()
    (uploads / "a.wav").touch()
    (tmp_path / "secret.wav").touch()
    (uploads / "link.wav").symlink_to(tmp_path / "secret.wav")
    named = [uploads / "a.wav", uploads / "gone.wav", tmp_path / "secret.wav", uploads / ".." / "secret.wav"]
    assert brought_files([*named, uploads / "link.wav"], uploads) == {"a.wav": uploads / "a.wav"}
