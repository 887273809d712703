from benchmarks import startup
from tests.benchmarks.commands import run_benchmark


def test_processes_and_the_first_frame_are_timed(monkeypatch, capsys):
    arguments = ["--rounds", "1", "--only", "import,help", "--model", "tiny", "--presets", "preview"]
    found = run_benchmark(startup, arguments, monkeypatch, capsys)
    assert [row["what"] for row in found["rows"]] == ["import", "help"]
    assert all(row["processor_seconds"] > 0 and row["seconds"] > 0 for row in found["rows"])
    assert found["first_frame_seconds"]["preview"] > 0


def test_every_process_that_can_be_timed_is_a_command_that_exists(tmp_path):
    known = startup.commands(tmp_path)
    assert set(known) == {"import", "help", "dry_run", "load", "page_help"}
    for path in (startup.VIDEO, startup.AUDIO, startup.FACES, startup.ROOT / known["page_help"][0]):
        assert path.exists()
