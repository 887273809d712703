"""Two hundred files of every kind, and what they cost in memory. Slow."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.media.synthetic import tone, write_clip, write_wav
from tests.preprocess.world import DrawnNetworks, draw_talk, preprocess, reasons_of, require_agreement, small_settings

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
GROWTH = 24 * 2**20  # bytes that the peak of 48 files may lie above that of 12: the size of the interpreter's own noise


def fill(raw: Path) -> Counter:
    """200 files; how many of them have to end with which reason."""
    expected: Counter = Counter()

    def add(kind: str, path: Path, **drawn) -> Path:
        expected[kind] += 1
        return draw_talk(path, 1.6, **drawn)

    for k in range(20):
        add("", raw / f"speaker {k}" / "talk.mp4", seed=10 * k, offset=k % 13 - 6)
        add("", raw / f"speaker {k}" / "talk.mkv", seed=10 * k + 1)
        add("", raw / "variable" / f"{k}.mp4", seed=10 * k + 2, times=[n / 25 + 0.012 * (n % 3 > 0) for n in range(40)])
        add("", raw / "turned" / f"{k}.mp4", seed=10 * k + 3, rotation=90)
        add("several faces", raw / "两个" / f"{k}.mp4", seed=10 * k + 4, faces=2)
        add("no face", raw / "room's" / f"{k}.mp4", seed=10 * k + 5, faces=0)
        add("silent", raw / "silent" / f"{k}.mp4", seed=10 * k + 6, silent=True)
    for k in range(10):
        add("too small", raw / "tiny" / f"{k}.mp4", seed=500 + k, size=(48, 28))
        write_wav(raw / f"sound {k}.wav", tone(1.0 + k / 10))
        write_clip(raw / f"mute {k}.mp4", 30 + k)
        (raw / f"words {k}.mp4").write_text(f"words {k}")
        whole = (raw / f"speaker {k}" / "talk.mp4").read_bytes()
        (raw / f"cut {k}.mp4").write_bytes(whole[: len(whole) // 2 + k])
        shutil.copy(raw / f"speaker {k}" / "talk.mp4", raw / "variable" / f"copy {k}.mp4")
        expected.update({"unreadable": 3, "no sound": 1, "duplicate": 1})
    return expected


def test_two_hundred_files_are_all_accounted_for(tmp_path):
    raw = tmp_path / "raw"
    expected = fill(raw)
    assert expected.total() == 200
    preprocess(small_settings(raw), DrawnNetworks)
    assert Counter(reasons_of(tmp_path, raw).values()) == expected
    require_agreement(tmp_path, raw)


def test_memory_does_not_grow_with_the_number_of_files(tmp_path):
    code = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from tests.preprocess.world import DrawnNetworks, preprocess, small_settings\n"
        "preprocess(small_settings(Path(sys.argv[1]), Path(sys.argv[2])), DrawnNetworks)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    )
    peaks = []
    for count in (12, 48):
        raw = tmp_path / f"raw {count}"
        for seed in range(count):
            draw_talk(raw / f"{seed}.mp4", 2.4, seed=seed)
        command = [sys.executable, "-c", code, raw, tmp_path / f"out {count}"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500)
        assert done.returncode == 0, done.stderr
        peaks.append(int(done.stdout.split()[-1]) * 1024)
    assert peaks[1] - peaks[0] < GROWTH, peaks
