"""Lists of other files that are given out for media: whoever follows them shows what they name."""

from __future__ import annotations

import struct
from pathlib import Path

import av

from tests.media.hostile.containers import full_box, movie_header, mp4, png, sample_table, video_track
from tests.media.hostile.table import LIST, hostile
from tests.media.synthetic import tone, write_clip

SECRET = (160, 48)  # width and height of the video that lists point to

_LISTS = {
    "hls.mp4": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{secret}.ts\n#EXT-X-ENDLIST\n",
    "hls.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nsecret.ts\n#EXT-X-ENDLIST\n",
    "hls.wav": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{secret}.ts\n#EXT-X-ENDLIST\n",
    "concat.mp4": "ffconcat version 1.0\nfile secret.ts\n",
    "concat.wav": "ffconcat version 1.0\nfile secret.ts\n",
    "dash.mp4": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
    'profiles="urn:mpeg:dash:profile:isoff-live:2011" mediaPresentationDuration="PT1S"><Period><AdaptationSet '
    'mimeType="video/mp4"><Representation id="1"><BaseURL>secret.mp4</BaseURL></Representation></AdaptationSet>'
    "</Period></MPD>",
    "session.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n"
    "a=rtpmap:96 H264/90000\n",
    "session.mp4": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n",
    "subtitles.idx": "# VobSub index file, v7 (do not modify this line!)\nsize: 720x480\nid: en, index: 0\n"
    "timestamp: 00:00:01:000, filepos: 000000000\n",
    "drawing.mp4": '<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><image '
    'href="secret.png" width="9" height="9"/></svg>',
    "script.avs": 'DirectShowSource("secret.mp4")\n',
    "metafile.asx": '<asx version="3.0"><entry><ref href="secret.mp4"/></entry></asx>',
    "numbered%d.mp4": "no file of this name is a list, but FFmpeg could take it for a pattern\n",
}


@hostile(LIST, *_LISTS)
def a_list(folder: Path, name: str) -> Path:
    clip = write_clip(folder / "secret.mp4", 5, size=SECRET, sound=tone(0.2))
    with av.open(str(clip)) as source, av.open(str(folder / "secret.ts"), "w", format="mpegts") as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.size:
                packet.stream = stream
                out.mux(packet)
    path = folder / name
    path.write_text(_LISTS[name].format(secret=folder / "secret"))
    return path


@hostile(LIST, "frame%d.png")
def a_pattern(folder: Path) -> Path:
    for number in range(3):
        (folder / f"frame{number}.png").write_bytes(png(*SECRET))
    path = folder / "frame%d.png"
    path.write_text("no image")
    return path


@hostile(LIST, "elsewhere.mov")
def a_reference(folder: Path) -> Path:
    """A movie whose samples lie in another file (section 8.7.2)."""
    (folder / "secret.bin").write_bytes(png(256, 256))
    table = sample_table([(1, 1)], [(1, 1, 1)], (len(png(256, 256)), 1, b""), [0])
    track = video_track(table).replace(full_box(b"url ", 1), full_box(b"url ", 0, b"file:secret.bin\0"))
    grown = len(track) - len(video_track(table))
    return mp4(folder / "elsewhere.mov", movie_header(), _with_sizes(track, grown))


def _with_sizes(track: bytes, grown: int) -> bytes:
    """The boxes around a 'dref' that has grown, told so."""
    for kind in (b"trak", b"mdia", b"minf", b"dinf", b"dref"):
        at = track.index(kind) - 4
        track = track[:at] + struct.pack(">I", int.from_bytes(track[at : at + 4], "big") + grown) + track[at + 4 :]
    return track
