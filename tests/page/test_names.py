"""Names of files as visitors see them: no folder, no mark-up, nothing that nobody sees."""

from __future__ import annotations

import html
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from latentsync.page.names import LONGEST_NAME, all_without_folders, in_markdown, shown_name, without_folders

FOLDER = "/tmp/latentsync_page_x1/0a1b2c3d"
HOSTILE = [
    "<img src=x onerror=alert(1)>.mp4",
    "<script>alert(1)</script>",
    "**a**.mp4",
    "__a__ _b_ a_b_c",
    "[a](javascript:alert(1))",
    "![a](http://127.0.0.1/x.png)",
    "`rm`",
    "~~a~~",
    "&lt;b&gt; &amp;",
    "$$x^2$$",
    "a | b",
    "http://evil.example/x www.evil.example a@evil.example",
    "\\*a\\*",
]


def rendered(text: str) -> str:
    """As Markdown with tables and strikethrough, in front of which there are words of ours."""
    markdown = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    return html.unescape(tags_only_around(markdown.render(f"Note: {text}")))


def tags_only_around(paragraph: str) -> str:
    inside = paragraph.removeprefix("<p>Note: ").removesuffix("</p>\n")
    assert "<" not in inside
    return inside


@pytest.mark.parametrize("name", HOSTILE)
def test_markdown_shows_a_name_as_it_is(name):
    assert rendered(in_markdown(name)) == name


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Zl", "Zp"]), min_size=1, max_size=60))
def test_markdown_shows_any_name_as_it_is(name):
    name = " ".join(unicodedata.normalize("NFC", name).split())
    assert rendered(in_markdown(f"a{name}a")) == f"a{name}a"


@pytest.mark.parametrize(
    "name, shown",
    [
        ("film.mp4", "film.mp4"),
        ("my film (2).mp4", "my film (2).mp4"),
        ("a\nb\r\nc.mp4", "a b c.mp4"),
        ("photo\u202egpj.exe", "photogpj.exe"),  # shown as photoexe.jpg
        ("a\u200bb\ufeff.mp4", "ab.mp4"),
        ("a\x1b[31mb.mp4", "a[31mb.mp4"),
        ("a\ud800b.mp4", "ab.mp4"),
        ("\u202e\u202d", "a file"),
        ("", "a file"),
    ],
)
def test_a_name_is_one_line_of_what_can_be_seen(name, shown):
    assert shown_name(Path(FOLDER) / name if name else "") == shown


def test_a_long_name_keeps_its_beginning_and_its_end():
    shown = shown_name(f"{FOLDER}/{'a' * 300}.mp4")
    assert len(shown) == LONGEST_NAME and shown.startswith("aaa") and shown.endswith("aaa.mp4") and "…" in shown


@pytest.mark.parametrize("name", [*HOSTILE, "film.mp4", "my film.mp4", "a'b.mp4", 'a"b.mp4', "a\nb.mp4", "x" * 300])
@pytest.mark.parametrize("text", ["{} is a web page.", "[Errno 28] No space left on device: {!r}", "There is no '{}'."])
def test_a_path_is_its_name_in_any_text(name, text):
    path = Path(FOLDER) / name.replace("/", "")
    shown = without_folders(text.format(str(path)), path)
    assert shown_name(path) in shown and "/tmp" not in shown


@pytest.mark.parametrize(
    "text, shown",
    [
        (f"{FOLDER}/my film.mp4 is cut short", "my film.mp4 is cut short"),
        ("These are missing: /srv/models/a.pt, /srv/models/b.pt.", "These are missing: a.pt, b.pt."),
        (r"C:\Users\me\film.mp4 is empty", "film.mp4 is empty"),
        ("The folder /tmp/latentsync_page_x/jobs/ab/job_1 is full", "The folder job_1 is full"),
        ("(/srv/x/a.pt)", "(a.pt)"),
        (f"{Path.cwd()}/checkpoints/unet.pt", "unet.pt"),
        ("/dub takes 10 values and/or 3 / 4 of them", "/dub takes 10 values and/or 3 / 4 of them"),
        ("1/25 s, https://example.org/a/b", "1/25 s, https://example.org/a/b"),
    ],
)
def test_paths_that_nobody_named_are_known_by_their_looks(text, shown):
    assert without_folders(text) == shown


def test_figures_have_names_at_every_depth():
    value = {"a": [f"{FOLDER}/x.mp4", 1, None, {"b": f"see {FOLDER}/y.wav"}], "c": 2.5, "d": True}
    assert all_without_folders(value) == {"a": ["x.mp4", 1, None, {"b": "see y.wav"}], "c": 2.5, "d": True}
