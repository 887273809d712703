from benchmarks import service_load
from tests.benchmarks.commands import run_benchmark


def test_no_job_is_lost_or_mixed_up_and_what_may_not_wait_is_refused(monkeypatch, capsys):
    found = run_benchmark(service_load, ["--clients", "8", "--waiting", "3"], monkeypatch, capsys)
    assert found["rounds"] == [{"taken": 3, "refused": 5, "lost": 0, "mixed up": 0}] * 2
    assert found["status_requests"] >= 6 and found["server_cpu_ms_per_request"] > 0
