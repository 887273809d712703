"""How the page shows a scene: a row for each person with a time line, and the fields of each segment, in HTML.

Everything that comes from visitors is text here: ``_text`` keeps names and files from being read as anything else.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Mapping
from fractions import Fraction
from pathlib import Path

from latentsync.errors import ConfigError
from latentsync.face.selection import LARGEST, SPEAKING
from latentsync.inference.options import PRESETS
from latentsync.page import wording
from latentsync.page.choices import CHOICES
from latentsync.page.names import shown_name
from latentsync.page.request import LABELS
from latentsync.page.scene_values import WHOEVER_SPEAKS, SeenPerson, SeenVideo, is_missing, with_audio
from latentsync.scene.files import plain_seconds
from latentsync.scene.model import PersonChoice, Scene, Segment, check_scene
from latentsync.scene.readers import ALL_SUFFIXES

Row = tuple[PersonChoice, SeenPerson | None]
_TEMPLATE_SIGNS = str.maketrans({"$": "&#36;", "{": "&#123;", "}": "&#125;", "`": "&#96;", "\\": "&#92;"})
_MARKS = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600)  # s between two marks of the clock
_MOST_MARKS = 6


def rows_of(scene: Scene, seen: SeenVideo) -> list[Row]:
    """The people of the editor: those who are seen, by the names that the scene gives them, then the scene's others."""
    left = [*scene.people, *(each for each in scene.speakers() if each not in scene.people)]
    rows: list[Row] = []
    for person in seen.people:
        own = next((each for each in left if each.face == person.face), None)
        if own is not None:
            left.remove(own)
        rows.append((own or PersonChoice(_free(person.name, scene), person.face), person))
    return [*rows, *((each, None) for each in left)]


def editor(scene: Scene, seen: SeenVideo) -> str:
    """The people, their time lines and the segments."""
    rows = rows_of(scene, seen)
    names = [row[0].name for row in rows]
    people = "".join(_row(number, row, scene, seen) for number, row in enumerate(rows))
    segments = "".join(_fields(number, each, names, seen) for number, each in enumerate(scene.segments))
    data = f'data-seconds="{float(seen.seconds):.6f}" data-fps="{float(seen.fps):.6f}"'
    return (
        f'<div class="scene" {data}><ol class="cast">{people}</ol>{_clock(seen.seconds)}'
        f'<div class="segments">{segments}</div>'
        f'<label class="bring open">Open a scene file<input type="file" data-open accept="{",".join(ALL_SUFFIXES)}">'
        "</label></div>"
    )


def account(scene: Scene, seen: SeenVideo, audio: Path | None, text: str, fault: str = "") -> str:
    """What the scene comes to, or what is wrong with it, and a link that saves it. ``audio``: that of the whole;
    ``text``: the scene's file."""
    if not scene.segments:
        return _said(fault, is_wrong=True) if fault else _said(wording.SCENE_HELP)
    fault = fault or _fault(with_audio(scene, audio), seen)
    count = "1 segment" if len(scene.segments) == 1 else f"{len(scene.segments)} segments"
    link = "data:application/yaml;base64," + base64.b64encode(text.encode()).decode()
    return (
        f"{_said(fault, is_wrong=True) if fault else _said(f'{count}. {wording.SCENE_READY}')}"
        f'<a class="save" download="scene.yaml" href="{link}">Save the scene file</a>'
    )


def _said(words: str, is_wrong: bool = False) -> str:
    look, role = ("said wrong", "alert") if is_wrong else ("said", "status")
    return f'<p class="{look}" role="{role}">{_text(words)}</p>'


def _fault(scene: Scene, seen: SeenVideo) -> str:
    """What would be refused, as one sentence; empty for a scene that can be dubbed."""
    for each in scene.segments:
        if each.audio is not None and is_missing(each.audio):
            return f"{shown_name(each.audio.file)} is not here yet. Drop it onto the row of {each.person}."
        if each.audio is None and scene.audio is None:
            return f"The segment from {_seconds(each.start)} s has no sound. Bring '{LABELS['audio']}' for the whole."
        if not scene.person(each.person).face:
            return f"Which face is {each.person}? Choose it in the row."
    try:
        check_scene(scene, seen.seconds, 1 / seen.fps)
    except ConfigError as error:
        return wording.sentence(error)
    return ""


def _row(number: int, row: Row, scene: Scene, seen: SeenVideo) -> str:
    person, there = row
    name = _text(person.name)
    face = f'<img src="{there.image}" alt="" width="56" height="56">' if there else '<span class="faceless">?</span>'
    stretches = there.stretches if there else ()
    lane = "".join(
        f'<i class="seen" style="{_place(start, stop, seen.seconds)}"></i>'
        for start, stop in stretches
    )
    own = [(k, each) for k, each in enumerate(scene.segments) if each.person == person.name]
    bars = "".join(_bar(k, each, seen.seconds) for k, each in own)
    return (
        f'<li class="person">{face}<div class="who">'
        f'<input name="name" id="name-{number}" value="{name}" maxlength="60" aria-label="Name of person {number + 1}">'
        f"{_which_face(number, person, there, seen)}"
        f'<label class="bring"><span>Drop a sound for <b>{name}</b>, or choose it</span>'
        f'<input type="file" data-person="{number}" id="bring-{number}" accept="audio/*,video/*" multiple></label>'
        f'</div><div class="lane">{lane}{bars}</div></li>'
    )


def _which_face(number: int, person: PersonChoice, there: SeenPerson | None, seen: SeenVideo) -> str:
    if there is not None:
        return f'<input type="hidden" name="face" value="{_text(person.face)}">'
    choices = {"": "Which face is it?"} | {each.face: each.name for each in seen.people}
    choices |= {SPEAKING: WHOEVER_SPEAKS, LARGEST: "The largest face"}
    choices.setdefault(person.face, person.face)
    label, options = _text(f"Face of {person.name}"), _options(choices, person.face)
    return f'<select name="face" id="face-{number}" aria-label="{label}">{options}</select>'


def _bar(number: int, segment: Segment, seconds: Fraction) -> str:
    end, file = segment.end_in(seconds), "" if segment.audio is None else shown_name(segment.audio.file)
    words = f"{segment.person}, {file or 'sound of the whole'}. Arrows move it, with Shift its end. Delete removes it."
    return (
        f'<button type="button" class="bar" id="bar-{number}" data-segment="{number}" aria-label="{_text(words)}" '
        f'style="{_place(segment.start, end, seconds)}"><i data-edge="start"></i><span>{_text(file)}</span>'
        '<i data-edge="end"></i></button>'
    )


def _fields(number: int, segment: Segment, names: list[str], seen: SeenVideo) -> str:
    audio, options, fades = segment.audio, segment.options, segment.transition
    missing = is_missing(audio)
    path = "" if audio is None else audio.file.name if missing else str(audio.file)
    file = "the sound of the whole" if audio is None else shown_name(audio.file) + (" (missing)" if missing else "")
    people = {str(k): name for k, name in enumerate(names)} | {SPEAKING: WHOEVER_SPEAKS}
    if WHOEVER_SPEAKS in names:
        del people[SPEAKING]
    who = str(names.index(segment.person)) if segment.person in names else ""

    def number_field(name: str, label: str, value: object, step: str = "any", most: str = "", empty: str = "") -> str:
        shown = "" if value is None else value
        limit = f' max="{most}"' if most != "" else ""
        return (
            f'<label>{label}<input type="number" name="{name}" id="{name}-{number}" value="{shown}" min="0"{limit} '
            f'step="{step}" inputmode="decimal" placeholder="{empty}"></label>'
        )

    first = "" if audio is None or not audio.start else plain_seconds(audio.start)
    until = "" if audio is None or audio.end is None else plain_seconds(audio.end)
    frame, most = f"{float(1 / seen.fps):.6f}".rstrip("0"), f"{float(seen.seconds):.3f}"
    more = [
        number_field("until", "Sound to, s", until),
        number_field("channel", "Channel of the sound", None if audio is None else audio.channel, "1"),
        number_field("track", "Track of the file", None if audio is None else audio.track, "1"),
        _choice("preset", number, LABELS["preset"], {"": "As the whole"} | {k: k for k in PRESETS}, options.preset),
        number_field("steps", LABELS["steps"], options.steps, "1"),
        number_field("guidance_scale", "Guidance", options.guidance_scale, "0.1"),
        _choice("silence", number, LABELS["silence"], {"": "As the whole"} | dict(CHOICES["silence"]), options.silence),
        number_field("fade_in", "Fade in, frames", fades.fade_in, "1"),
        number_field("fade_out", "Fade out, frames", fades.fade_out, "1"),
    ]
    set_apart = any(v is not None for v in (options.preset, options.steps, options.guidance_scale, options.silence))
    set_apart = set_apart or fades.fade_in is not None or fades.fade_out is not None
    return (
        f'<fieldset class="segment"><legend>{_text(file)}</legend>'
        f'<input type="hidden" name="file" value="{_text(path)}">'
        f"{_choice('person', number, 'Who', people, who)}"
        f"{number_field('start', 'From, s', _seconds(segment.start), frame, most)}"
        f"{number_field('end', 'To, s', '' if segment.end is None else _seconds(segment.end), frame, most)}"
        f"{'' if audio is None else number_field('from', 'Sound from, s', first, empty='0')}"
        f"<details{' open' if set_apart or until else ''}><summary>Options</summary>{''.join(more)}</details>"
        f'<button type="button" class="remove" data-segment="{number}" aria-label="Remove {_text(file)}">'
        "Remove</button></fieldset>"
    )


def _choice(name: str, number: int, label: str, choices: Mapping[str, str], value: str | None) -> str:
    field = f'<select name="{name}" id="{name}-{number}">{_options(choices, value or "")}</select>'
    return f"<label>{_text(label)}{field}</label>"


def _options(choices: Mapping[str, str], chosen: str) -> str:
    return "".join(
        f'<option value="{_text(value)}"{" selected" if value == chosen else ""}>{_text(words)}</option>'
        for value, words in choices.items()
    )


def _clock(seconds: Fraction) -> str:
    step = next((each for each in _MARKS if seconds <= each * _MOST_MARKS), _MARKS[-1])
    marks: Iterable[int] = range(0, int(seconds) + 1, step)
    shown = "".join(
        f'<span style="left:{float(100 * mark / seconds):.2f}%">{mark // 60}:{mark % 60:02}</span>' for mark in marks
    )
    return f'<div class="clock" aria-hidden="true">{shown}</div>'


def _place(start: Fraction, stop: Fraction, seconds: Fraction) -> str:
    return f"left:{float(100 * start / seconds):.3f}%;width:{float(100 * (stop - start) / seconds):.3f}%"


def _seconds(time: Fraction) -> str:
    return f"{float(time):.3f}".rstrip("0").rstrip(".")


def _free(name: str, scene: Scene) -> str:
    """A name that nobody else in the scene has."""
    taken = {each.name for each in scene.people}
    return name if name not in taken else next(f"{name} ({k})" for k in range(2, 100) if f"{name} ({k})" not in taken)


def _text(text: str) -> str:
    """As text in HTML, and in Gradio's templates."""
    return html.escape(text).translate(_TEMPLATE_SIGNS)
