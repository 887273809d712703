"""Scenes of other programs: each format is mapped to the same values, and a wrong file is a sentence with its line."""

from __future__ import annotations

import json
import sys
from fractions import Fraction
from pathlib import Path

import pytest

from latentsync.errors import ConfigError, PackageMissingError
from latentsync.scene.model import PersonChoice, SegmentAudio, face_at
from latentsync.scene.readers import read_any, with_faces

FPS = Fraction(25)


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def turns(scene):
    return [(float(each.start), float(each.end), each.person) for each in scene.segments]


def fault(path: Path, line: int) -> str:
    with pytest.raises(ConfigError) as error:
        read_any(path, FPS)
    assert error.value.message.startswith(f"{path}, line {line}"), error.value.message
    assert error.value.remedy and "\n" not in error.value.message
    return error.value.message


# -- sync.so ----------------------------------------------------------------------------------------------------------

REQUEST = """\
{"model": "lipsync-2",
 "input": [{"type": "video", "url": "talk.mp4"},
  {"type": "audio", "url": "https://example.com/a/anna%20en.wav?x=1", "refId": "anna"},
  {"type": "audio", "url": "ben.wav", "refId": "ben"}],
 "segments": [
  {"startTime": 0, "endTime": 4.2, "audioInput": {"refId": "anna"}},
  {"startTime": 5, "endTime": 9, "audioInput": {"refId": "ben", "startTime": 1.5, "endTime": 5.5}}],
 "options": {"sync_mode": "cut_off",
  "active_speaker_detection": {"frame_number": 50, "coordinates": [320, 180]}}}
"""


def test_a_request_of_sync_so(tmp_path):
    write(tmp_path, "anna en.wav", "")
    scene = read_any(write(tmp_path, "request.json", REQUEST), FPS)
    assert scene.video == tmp_path / "talk.mp4"
    assert scene.people == (PersonChoice("speaker", "320.0,180.0@2.0000"),)
    assert turns(scene) == [(0, 4.2, "speaker"), (5, 9, "speaker")]
    assert scene.segments[0].audio == SegmentAudio(tmp_path / "anna en.wav")
    assert scene.segments[1].audio == SegmentAudio(tmp_path / "ben.wav", start=Fraction(3, 2), end=Fraction(11, 2))


@pytest.mark.parametrize(
    ("old", "new", "line", "word"),
    [
        ('{"refId": "anna"}', '{"refId": "eve"}', 6, "eve"),
        ('"startTime": 1.5, ', "", 7, "a startTime and an endTime"),
        ('"endTime": 4.2', '"endTime": "x"', 6, "endTime"),
        ('"url": "talk.mp4"', '"assetId": "7"', 2, "assetId"),
        ('"url": "ben.wav"', '"url": "https://example.com/ben.wav"', 4, "fetched"),
        ('{"type": "audio", "url": "ben.wav"', '{"type": "text", "provider": {}', 4, "text"),
        ("[320, 180]", "[320]", 9, "point"),
    ],
)
def test_faults_of_a_request(tmp_path, old, new, line, word):
    write(tmp_path, "anna en.wav", "")
    assert old in REQUEST
    assert word in fault(write(tmp_path, "request.json", REQUEST.replace(old, new)), line)


def test_who_speaks_in_a_request(tmp_path):
    def face(choice) -> str:
        given = json.loads(REQUEST) | {"options": {"active_speaker_detection": choice}}
        return read_any(write(tmp_path, "r.json", json.dumps(given)), FPS).people[0].face

    write(tmp_path, "anna en.wav", "")
    assert face({"auto_detect": True}) == "speaking"
    assert face(None) == "largest"
    assert face({"bounding_boxes": [None, [10, 20, 30, 60]]}) == "20.0,40.0@0.0400"
    given = json.loads(REQUEST)
    given["segments"][0]["optionsOverride"] = {"active_speaker_detection": {"frame_number": 0, "coordinates": [9, 8]}}
    scene = read_any(write(tmp_path, "r.json", json.dumps(given)), FPS)
    assert scene.people == (PersonChoice("speaker", "9.0,8.0@0.0000"), PersonChoice("speaker-2", "320.0,180.0@2.0000"))
    assert [segment.person for segment in scene.segments] == ["speaker", "speaker-2"]
    assert face_at(-3, 20.25, Fraction(2, 30)) == "0.0,20.2@0.0666", "no later than its frame"


# -- NVIDIA's LipSync NIM ---------------------------------------------------------------------------------------------


def boxes(number: int) -> dict:
    """20 frames: 1 speaks in 0 to 9, 2 in 5 to 19, of which 12 and 13 are bypassed; in the last nobody is named."""
    speakers = [
        {"bbox": [100, 50, 60, 80], "speaker_id": 1, "is_speaking": number < 10},
        {"bbox": [300, 50, 60, 80], "speaker_id": 2, "is_speaking": number >= 5},
    ]
    return {"speakers": [] if number == 19 else speakers, "bypass": number in (12, 13)}


NIM_TURNS = [(0, 0.4, "1"), (0.2, 0.48, "2"), (0.56, 0.76, "2")]


def test_boxes_of_speakers_as_json(tmp_path):
    text = json.dumps({"frames": [boxes(number) for number in range(20)], "version": 3})
    scene = read_any(write(tmp_path, "speakers.json", text), FPS)
    assert turns(scene) == [*NIM_TURNS, (0.76, 0.8, "largest")]
    assert scene.people[:2] == (PersonChoice("1", "130.0,90.0@0.0000"), PersonChoice("2", "330.0,90.0@0.2000"))


def test_boxes_of_speakers_as_csv(tmp_path):
    lines = ["frame,x,y,width,height,speaker_id,is_speaking,bypass"]
    for number in range(19):
        frame = boxes(number)
        for each in frame["speakers"]:
            box = ",".join(map(str, each["bbox"]))
            lines.append(f"{number},{box},{each['speaker_id']},{each['is_speaking']},{int(frame['bypass'])}")
    assert turns(read_any(write(tmp_path, "speakers.csv", "\n".join(lines)), FPS)) == NIM_TURNS


def test_faults_of_boxes(tmp_path):
    rows = [json.dumps(boxes(number)) for number in range(3)]
    text = '{"frames": [\n' + ",\n".join(rows) + "]}"
    assert "four" in fault(write(tmp_path, "a.json", text.replace("[300, 50, 60, 80]", "[300, 50, 60]", 2)), 2)
    wrong = text.replace('"is_speaking": false', '"is_speaking": "no"', 1)
    assert "is_speaking" in fault(write(tmp_path, "b.json", wrong), 2)
    head = "frame,x,y,width,height,speaker_id,is_speaking,bypass\n0,1,1,9,9,1,true,\n"
    assert "width" in fault(write(tmp_path, "c.csv", "frame,x,y,w,height,speaker_id,is_speaking\n"), 1)
    assert "'a'" in fault(write(tmp_path, "d.csv", head + "1,a,1,9,9,1,true,\n"), 3)
    assert "maybe" in fault(write(tmp_path, "e.csv", head + "1,1,1,9,9,1,maybe,\n"), 3)
    assert "speaker_id" in fault(write(tmp_path, "f.csv", head + "1,1,1,9,9,,true,\n"), 3)
    with pytest.raises(ConfigError, match="counts frames"):
        read_any(write(tmp_path, "g.csv", head))


# -- diarizers and subtitles ------------------------------------------------------------------------------------------

RTTM = """\
;; made by a diarizer
SPKR-INFO talk 1 <NA> <NA> <NA> unknown SPEAKER_00 <NA> <NA>
SPEAKER talk 1 0.00 4.20 <NA> <NA> SPEAKER_00 <NA> <NA>
SPEAKER talk 1 4.00 5.00 <NA> <NA> SPEAKER_01 <NA> <NA>

SPEAKER talk 1 4.10 2.00 <NA> <NA> SPEAKER_00 <NA> <NA>
"""


def test_turns_of_a_diarizer(tmp_path):
    scene = read_any(write(tmp_path, "talk.rttm", RTTM))
    assert turns(scene) == [(0, 6.1, "SPEAKER_00"), (4, 9, "SPEAKER_01")]  # turns that overlap are one
    assert [each.face for each in scene.people] == ["", ""]
    assert scene.segments[1].place.endswith("line 4")


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (3, RTTM.replace("SPEAKER talk 1 0.00", "SPAEKER talk 1 0.00")),
        (4, RTTM.replace("4.00 5.00", "4.00 -5.00")),
        (4, RTTM.replace("<NA> <NA> SPEAKER_01 <NA> <NA>", "")),
        (6, RTTM.replace("SPEAKER talk 1 4.10", "SPEAKER other 1 4.10")),
        (1, ";; nothing\n"),
    ],
)
def test_faults_of_turns(tmp_path, line, text):
    fault(write(tmp_path, "talk.rttm", text), line)


SRT = """\
1
00:00:00,000 --> 00:00:02,000
Anna: Good evening.

2
00:00:02,300 --> 00:00:04,200
ANNA SMITH: <i>And</i> welcome.

3
00:00:04,500 --> 00:00:09,000
- Ben: Thank you.
- [Anna] You are welcome.

4
00:00:09,000 --> 00:00:11,000
[music] ♪
"""
VTT = """\
WEBVTT - an interview

NOTE made by hand

intro
00:00.000 --> 00:02.000 align:start
<v Anna>Good evening.

00:02.400 --> 00:04.200
<v.loud Anna>And welcome.</v>

01:00:04.500 --> 01:00:09.000
<v Ben>Thank you.</v> <v Anna>Oh.</v>
"""


def test_subtitles_with_names(tmp_path):
    assert turns(read_any(write(tmp_path, "talk.srt", SRT))) == [
        (0, 2, "Anna"),
        (2.3, 4.2, "ANNA SMITH"),
        (4.5, 9, "Ben"),
        (4.5, 9, "Anna"),
    ]
    assert turns(read_any(write(tmp_path, "talk.vtt", VTT))) == [
        (0, 4.2, "Anna"),  # cues a moment apart are one segment
        (3604.5, 3609, "Ben"),
        (3604.5, 3609, "Anna"),
    ]


@pytest.mark.parametrize(
    ("name", "line", "text"),
    [
        ("a.srt", 2, SRT.replace("Anna: Good", "Good")),
        ("b.srt", 6, SRT.replace("00:00:04,200", "00:00:01,200")),
        ("c.srt", 9, SRT.replace("00:00:04,500 -->", "")),
        ("d.vtt", 1, VTT[3:]),
        ("e.vtt", 9, VTT.replace("00:02.400", "0x:02.400")),
        ("f.srt", 1, ""),
    ],
)
def test_faults_of_subtitles(tmp_path, name, line, text):
    fault(write(tmp_path, name, text), line)


def test_who_the_people_are_is_said_afterwards(tmp_path):
    scene = read_any(write(tmp_path, "talk.rttm", RTTM))
    known = with_faces(scene, {"SPEAKER_01": "index:1"})
    assert known.people == (PersonChoice("SPEAKER_00"), PersonChoice("SPEAKER_01", "index:1"))
    with pytest.raises(ConfigError, match="SPEAKER_7"):
        with_faces(scene, {"SPEAKER_7": "index:1"})


# -- OpenTimelineIO ---------------------------------------------------------------------------------------------------


def edit(folder: Path):
    """Anna's take from 1 s, after 2 s of nothing; Ben's two takes; the takes' clocks begin at an hour."""
    otio = pytest.importorskip("opentimelineio")
    time, span = otio.opentime.RationalTime, otio.opentime.TimeRange

    def clip(name, start, seconds):
        media = otio.schema.ExternalReference(f"takes/{name}.wav", span(time(3600 * 24, 24), time(240, 24)))
        return otio.schema.Clip(name, media, span(time((3600 + start) * 24, 24), time(seconds * 24, 24)))

    anna, ben = (otio.schema.Track(name, kind=otio.schema.TrackKind.Audio) for name in ("anna", "ben"))
    anna.metadata["latentsync"] = {"face": "index:0"}
    anna.append(otio.schema.Gap(source_range=span(time(0, 24), time(48, 24))))
    anna.append(clip("a1", 1, 3))
    ben.extend([clip("b1", 0, 2), clip("b2", 2, 1)])
    film = otio.schema.Track("V1", kind=otio.schema.TrackKind.Video)
    film.append(otio.schema.Clip("film", otio.schema.ExternalReference("talk.mov"), span(time(0, 24), time(240, 24))))
    found = otio.schema.Timeline("interview")
    found.tracks.extend([film, anna, ben])
    otio.adapters.write_to_file(found, str(folder / "edit.otio"))
    return folder / "edit.otio"


def test_an_edit(tmp_path):
    scene = read_any(edit(tmp_path))
    assert scene.video == tmp_path / "talk.mov"
    assert turns(scene) == [(0, 2, "ben"), (2, 5, "anna"), (2, 3, "ben")]
    spoken = {each.audio.file.name: each.audio for each in scene.segments}
    assert spoken["a1.wav"] == SegmentAudio(tmp_path / "takes" / "a1.wav", start=Fraction(1), end=Fraction(4))
    assert scene.person("anna").face == "index:0" and scene.person("ben").face == ""


def test_faults_of_an_edit(tmp_path):
    path = edit(tmp_path)
    text = path.read_text(encoding="utf-8")
    without = json.loads(text)
    without["tracks"]["children"][2]["children"][1]["media_references"] = {}
    unlinked = json.dumps(without, indent=4)
    line = next(number for number, each in enumerate(unlinked.splitlines(), 1) if '"b2"' in each)
    assert "names no file" in fault(write(tmp_path, "a.otio", unlinked), line)
    fault(write(tmp_path, "b.otio", text.replace("{", "", 1)), 2)
    with pytest.raises(ConfigError, match="no edit"):
        read_any(write(tmp_path, "c.otio", text.replace("Timeline.1", "Timeline.99")))


def test_an_edit_without_the_package_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "opentimelineio", None)
    with pytest.raises(PackageMissingError) as error:
        read_any(write(tmp_path, "a.otio", "{}"))
    assert "requirements-otio.txt" in error.value.remedy


def test_an_unknown_file_is_a_sentence(tmp_path):
    with pytest.raises(ConfigError, match=r"\.docx"):
        read_any(write(tmp_path, "talk.docx", ""))
