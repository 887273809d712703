"""A live stream in real time on this machine: how soon the first frame comes, and whether the others follow.

    latentsync live prepare in.mp4 out/anna.lsp
    python -m benchmarks.live out/anna.lsp --audio speech.wav --minutes 10
    python -m benchmarks.live out/anna.lsp --audio speech.wav --minutes 2 --late 0.05 --lost 0.01

The audio is sent in pieces of 20 ms by the clock, again and again; a share of the pieces comes 200 ms late, and another
does not come. Prints the figures as JSON: seconds from the first audio to its frame as it is made and as it is shown,
frames per second, the longest time that one frame stood, resident memory over time, and by how much the image is
behind where it should be at the end. The machine must have nothing else to do.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.report import circumstances

if TYPE_CHECKING:
    from latentsync.live.stream import LipsyncStream
    from latentsync.types import Frame

PIECE_SECONDS = 0.02
LATE_SECONDS = 0.2
MEMORY_SECONDS = 15


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("people", type=Path, help="a prepared person")
    parser.add_argument("--audio", type=Path, required=True, help="speech")
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--late", type=float, default=0.0, help="share of the pieces that come 200 ms late (0)")
    parser.add_argument("--lost", type=float, default=0.0, help="share of the pieces that do not come (0)")
    parser.add_argument("--window", type=int, default=8)
    parser.add_argument("--preset", help="sampler settings")
    parser.add_argument("--checkpoint_dir", type=Path)
    parser.add_argument("--device", default="auto")
    return parser.parse_args(arguments)


def pieces(audio: np.ndarray, rate: int, seconds: float, late: float, lost: float) -> Iterator[tuple[float, int]]:
    """(seconds after the start at which it comes, number) of each piece that comes, in that order."""
    random = np.random.default_rng(0)
    fate = random.random(round(seconds / PIECE_SECONDS))
    arrivals = [
        ((number + 1) * PIECE_SECONDS + (LATE_SECONDS if chance < lost + late else 0), number)
        for number, chance in enumerate(fate)
        if chance >= lost
    ]
    yield from sorted(arrivals)


def resident_mb() -> float:
    """Of this process."""
    import psutil

    return round(psutil.Process().memory_info().rss / 2**20, 1)


def run(parsed: argparse.Namespace) -> dict[str, object]:
    """The figures."""
    from latentsync.cli.live import load
    from latentsync.inference.timeline import frame_spacing
    from latentsync.live.person import load_person
    from latentsync.live.session import LiveSession, SessionSettings
    from latentsync.live.stream import LipsyncStream, OnBacklog
    from latentsync.media.audio import read_audio

    rate = 48_000
    audio = read_audio(parsed.audio, rate)
    person = load_person(parsed.people)
    pipeline, options, _ = load(parsed)
    person.give_latents(pipeline)
    for _ in warm_up(LipsyncStream(pipeline, person, options)):
        pass
    stream = LipsyncStream(pipeline, person, options, on_backlog=OnBacklog.FREEZE, most_waiting=Fraction(1, 2))
    still = next(iter(person.video.frames(0, 1)))
    session = LiveSession(stream, still, frame_spacing(person.video.info), SessionSettings(rate))
    coming = pieces(audio, rate, parsed.minutes * 60, parsed.late, parsed.lost)
    following = next(coming, None)
    length = round(PIECE_SECONDS * rate)
    begin = time.perf_counter()
    memory: list[float] = []
    first_made = first_shown = None
    shown, changed, longest = session.shown, begin, 0.0
    while (now := time.perf_counter()) < begin + parsed.minutes * 60:
        while following is not None and begin + following[0] <= now:
            first = following[1] * length
            session.receive(first, np.take(audio, np.arange(first, first + length), mode="wrap"), now)
            following = next(coming, None)
        frame = session.tick(now)
        if first_made is None and stream.statistics.frames:
            first_made = now - begin
        if frame is not shown:
            if first_shown is None:
                first_shown = now - begin
            else:
                longest = max(longest, now - changed)
            shown, changed = frame, now
        if now - begin > len(memory) * MEMORY_SECONDS:
            memory.append(resident_mb())
        time.sleep(0.004)
    figures = session.statistics()
    stream.close()
    lasted = parsed.minutes * 60 - (first_shown or 0)
    return {
        "look_ahead_seconds": float(stream.look_ahead),
        "first_frame_made_seconds": first_made,
        "first_frame_shown_seconds": first_shown,
        "frames_per_second": figures["shown"] / lasted,
        "longest_standing_frame_seconds": longest,
        "image_behind_its_time_seconds": now - begin - float(shown.time) - session.playout.delay,
        "memory_mb": memory,
        "statistics": figures,
        "seconds_by_stage": {name: round(each, 2) for name, each in stream.record.clock.seconds().items()},
        "machine": circumstances(parsed.device),
    }


def warm_up(stream: LipsyncStream) -> Iterator[Frame]:
    """A second of silence, so that nothing is made for the first time while it is measured."""
    stream.push(np.zeros(16_000, np.float32))
    stream.end()
    yield from stream.frames()


def main(arguments: list[str] | None = None) -> None:
    """Print the figures."""
    print(json.dumps(run(parse_arguments(arguments)), indent=1))


if __name__ == "__main__":
    main()
