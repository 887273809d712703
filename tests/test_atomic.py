"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from latentsync.atomic import atomic_file, atomic_folder, link_or_copy, sweep, unfinished, write_text


def names_in(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


@pytest.mark.parametrize("durable", [False, True])
def test_nothing_appears_if_writing_fails(tmp_path: Path, durable: bool) -> None:
    target = tmp_path / "out" / "a.bin"
    with pytest.raises(RuntimeError), atomic_file(target, durable=durable) as temporary:
        temporary.write_bytes(b"half")
        raise RuntimeError
    assert names_in(target.parent) == []
    with atomic_file(target, durable=durable) as temporary:
        temporary.write_bytes(b"whole")
        assert not target.exists()
    assert names_in(target.parent) == ["a.bin"]


def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    write_text(target, "old")
    with atomic_file(target) as temporary:
        temporary.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"


def test_many_may_write_one_file(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    texts = [str(number) * 10_000 for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda text: write_text(target, text), texts))
    assert target.read_text() in texts
    assert names_in(tmp_path) == ["a.txt"]


def test_a_long_name_has_room_for_its_unfinished_one(tmp_path: Path) -> None:
    name = "é" * 127  # 254 bytes of the 255 that a name may have
    write_text(tmp_path / name, "text")
    assert names_in(tmp_path) == [name]


def test_names_that_are_no_text_are_written_as_escapes(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9")
    with pytest.raises(UnicodeEncodeError):
        write_text(tmp_path / "a.txt", name)
    write_text(tmp_path / "a.txt", name, errors="backslashreplace")
    assert (tmp_path / "a.txt").read_text("utf-8") == "caf\\udce9"


def test_what_a_library_keeps_to_itself_others_may_read(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.touch()
    with atomic_file(tmp_path / "a.safetensors", durable=True) as temporary:
        save_file({"a": torch.zeros(1)}, temporary)
    assert (tmp_path / "a.safetensors").stat().st_mode == plain.stat().st_mode


def test_a_file_is_linked_and_copied_where_links_are_refused(tmp_path, monkeypatch, caplog):
    given, target = tmp_path / "given.mp4", tmp_path / "folder" / "linked.mp4"
    given.write_bytes(b"frames")
    given.chmod(0o640)
    link_or_copy(given, target)
    assert target.samefile(given)
    link_or_copy(given, target)  # again, as a recovery does
    assert names_in(target.parent) == ["linked.mp4"]
    assert given.stat().st_mode & 0o777 == 0o640

    def refuse(*paths):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    link_or_copy(given, tmp_path / "copied.mp4")
    assert not (tmp_path / "copied.mp4").samefile(given)
    assert (tmp_path / "copied.mp4").read_bytes() == b"frames"
    assert "copied, not linked" in caplog.text


def test_a_folder_appears_whole_and_replaces_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "step_5"
    target.mkdir()
    (target / "old").touch()
    unfinished(target).mkdir()
    (unfinished(target) / "left_by_a_killed_process").touch()
    with atomic_folder(target) as folder:
        assert folder == unfinished(target)
        (folder / "inner").mkdir()
        (folder / "inner" / "new").write_bytes(b"x")
        assert names_in(target) == ["old"]
    assert names_in(tmp_path) == ["step_5"]
    assert names_in(target) == ["inner"]


def test_no_folder_appears_if_writing_fails(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), atomic_folder(tmp_path / "step_5") as folder:
        (folder / "half").touch()
        raise RuntimeError
    assert names_in(tmp_path) == []


WRITER = """
import sys, time
from pathlib import Path
from latentsync.atomic import atomic_file
with atomic_file(Path(sys.argv[1])) as temporary:
    temporary.write_bytes(b"half")
    print("writing", flush=True)
    sys.stdin.read()
"""


def start_writer(target: Path) -> subprocess.Popen:
    line = [sys.executable, "-c", WRITER, str(target)]
    writer = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parents[1])
    assert writer.stdout.readline() == b"writing\n"
    return writer


def test_what_a_killed_process_left_is_swept_and_nothing_else(tmp_path: Path) -> None:
    mine = [".a.mp4.part", f".a.mp4.{'0' * 32}.part", "a.part.lock", f"a.{'0' * 32}.part.lock", ".b.lock"]
    for name in mine:
        (tmp_path / name).write_text("kept")
    killed, living = (start_writer(tmp_path / name) for name in ("killed.mp4", "living.mp4"))
    killed.kill()
    killed.wait()
    assert len(names_in(tmp_path)) == len(mine) + 4
    write_text(tmp_path / "c.txt", "next")
    left = set(names_in(tmp_path)) - set(mine) - {"c.txt"}
    assert len(left) == 2 and all(name.startswith(".living.mp4.") for name in left)
    living.communicate()
    assert (tmp_path / "living.mp4").read_bytes() == b"half"
    assert set(names_in(tmp_path)) == {*mine, "c.txt", "living.mp4"}


def test_writers_and_sweepers_at_once(tmp_path: Path) -> None:
    def write(number: int) -> None:
        with atomic_file(tmp_path / str(number)) as temporary:
            temporary.write_text(str(number))
            sweep(tmp_path)
            assert temporary.read_text() == str(number)

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(write, number) for number in range(100)]:
            done.result()
    assert sorted(names_in(tmp_path), key=int) == [str(number) for number in range(100)]


def test_where_there_are_no_locks_files_are_written_all_the_same(tmp_path: Path, monkeypatch) -> None:
    def refuse(*_, **__):
        raise NotImplementedError

    monkeypatch.setattr("latentsync.atomic.FileLock.acquire", refuse)
    with atomic_file(tmp_path / "a.txt") as temporary:
        temporary.write_text("text")
        sweep(tmp_path)
        assert len(names_in(tmp_path)) == 1
    assert names_in(tmp_path) == ["a.txt"]
