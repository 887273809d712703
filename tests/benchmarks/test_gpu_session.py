"""The session of a GPU: every step runs in its smoke size; one that fails or hangs does not end the others."""

from __future__ import annotations

import json
import sys

import pytest
import torch

from benchmarks import gpu_session
from benchmarks.gpu.session import Context, Step, call_apart, call_here, finished_steps, read_lines, run_session
from benchmarks.gpu.tables import BEGIN, END, write_tables

CONTEXT = Context(torch.device("cpu"), smoke=True)


def run_main(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["gpu_session", *map(str, arguments)])
    gpu_session.main()


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    """The lines of a whole session in its smoke size."""
    path = tmp_path_factory.mktemp("session") / "gpu.jsonl"
    with pytest.MonkeyPatch.context() as monkeypatch:
        run_main(monkeypatch, "--device", "cpu", "--smoke", "--output", path)
    return path


def test_every_step_runs_in_order_and_finds_figures(record):
    lines = read_lines(record)
    assert [line["step"] for line in lines] == [step.name for step in gpu_session.STEPS]
    for line in lines:
        assert line["status"] == "done", line.get("error")
        assert line["rows"] and line["smoke"] and line["seconds"] >= 0 and line["circumstances"]["device"] == "cpu"


def rows_of(record, step):
    return next(line["rows"] for line in read_lines(record) if line["step"] == step)


def test_what_the_figures_of_a_cpu_must_say(record):
    assert all(row["finite"] and row["relative_error"] < 1e-4 for row in rows_of(record, "correctness"))
    halved, whole = rows_of(record, "small_cards")
    assert (halved["windows"], halved["did_not_fit"]) == (1, [4, 2]) and halved["retry"] == "fits"
    assert (whole["windows"], whole["did_not_fit"]) == (4, [])
    bf16, fp16 = rows_of(record, "training")[-2:]
    assert bf16["gradient_cosine"] > 0.9 and bf16["gradient_zeros"] < 0.1 and fp16["precision"] == "fp16"


def test_a_session_that_is_done_runs_nothing_again(record, monkeypatch):
    before = record.read_text()
    run_main(monkeypatch, "--device", "cpu", "--smoke", "--output", record)
    assert record.read_text() == before


def test_tables_take_the_place_of_the_last_ones(record, tmp_path, monkeypatch):
    document = tmp_path / "gpu.md"
    document.write_text(f"# A page\n\n{BEGIN}\nold tables\n{END}\n\nThe end.\n")
    for _ in range(2):
        run_main(monkeypatch, "--tables", record, "--document", document)
    text = document.read_text()
    assert text.startswith("# A page\n") and text.endswith("The end.\n") and "old tables" not in text
    assert all(text.count(f"### {step.title}\n") == 1 for step in gpu_session.STEPS)
    assert "| model | windows | layout | cudnn benchmark | pass, ms | launch, ms |" in text
    with pytest.raises(ValueError, match="no lines"):
        write_tables(gpu_session.STEPS, record, record)


def broken(context):
    yield {"found": 1.23456}
    raise RuntimeError("no kernel image is available")


def sound(context):
    yield {"found": None}


def test_a_step_that_fails_keeps_its_rows_and_is_run_again_by_the_next_call(tmp_path):
    record, calls = tmp_path / "deep" / "lines.jsonl", []

    def call(step, seconds):
        calls.append(step.name)
        return call_here(step, CONTEXT)

    steps = [Step("broken", "", 9, broken), Step("sound", "", 9, sound)]
    assert not run_session(steps, record, 60, call, {"smoke": True})
    first, second = read_lines(record)
    assert first["status"] == "failed" and first["rows"] == [{"found": 1.235}]
    assert first["error"] == "RuntimeError: no kernel image is available"
    assert second["status"] == "done" and finished_steps(record) == {"sound"}
    assert run_session([Step("broken", "", 9, sound), steps[1]], record, 60, call, {"smoke": True})
    assert calls == ["broken", "sound", "broken"]
    assert [line["status"] for line in read_lines(record)] == ["done", "done"]


def test_a_line_that_was_cut_off_is_written_again(tmp_path):
    record, steps = tmp_path / "lines.jsonl", [Step("sound", "", 9, sound)]
    record.write_text('{"step": "sound", "status": "do')
    assert run_session(steps, record, 60, lambda step, seconds: call_here(step, CONTEXT), {})
    assert finished_steps(record) == {"sound"}


def test_no_step_begins_when_the_time_of_the_session_is_over(tmp_path):
    record = tmp_path / "lines.jsonl"
    assert not run_session([Step("sound", "", 9, sound)], record, 0, lambda *of: pytest.fail("a step"), {})
    assert not record.exists()


WRITES = 'import pathlib, sys; p = pathlib.Path(sys.argv[-1]); p.write_text(\'{"found": 1}\\n{"cut off\'); '


@pytest.mark.parametrize(
    ("then", "status", "error"),
    [("", "done", ""), ("raise SystemExit('CUDA error')", "failed", "CUDA error")],
)
def test_the_rows_of_a_step_in_a_process_of_its_own_are_kept(then, status, error):
    result = call_apart([sys.executable, "-c", WRITES + then], seconds=300)
    assert result["status"] == status and result["rows"] == [{"found": 1}]
    assert result.get("error", "").strip() == error


def test_a_step_that_takes_longer_than_it_may_is_ended():
    result = call_apart([sys.executable, "-c", "while True: pass"], seconds=0.1)
    assert result["status"] == "timed out" and result["rows"] == []


def test_the_command_of_a_step_writes_its_rows(tmp_path, monkeypatch):
    rows = tmp_path / "rows.jsonl"
    run_main(monkeypatch, "--device", "cpu", "--smoke", "--only", "attention", "--rows", rows)
    assert [json.loads(line)["head"] for line in rows.read_text().splitlines()] == [40, 160]


@pytest.mark.gpu
def test_on_a_gpu_every_step_runs_in_its_smoke_size(tmp_path, monkeypatch):
    record = tmp_path / "gpu.jsonl"
    run_main(monkeypatch, "--device", "cuda", "--smoke", "--output", record)
    assert finished_steps(record) == {step.name for step in gpu_session.STEPS}
