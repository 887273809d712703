"""Calls of every shape: each gives a result or a sentence, and nothing is left of it."""

from __future__ import annotations

import json
import logging
import re
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from latentsync.page.request import CALLS
from latentsync.page.wording import FAULT, NOT_UNDERSTOOD
from tests.page.caller import CHOICES, Caller, any_call
from tests.page.stage import below, wait_until

FUNCTIONS = 21  # of the page


@pytest.fixture(scope="module")
def caller(served, example):
    caller = Caller(served[0], example.video, example.audio)
    yield caller
    caller.close()


def body(**fields):
    return json.dumps(fields).encode()


def test_a_right_call_has_a_result(caller):
    answer = caller.call("call/dub", body(data=[caller.video, caller.audio, *CHOICES]))
    assert answer.data[2]["frames"] == 50 and answer.sentence == ""
    answer = caller.call("call/preview", body(data=[caller.video, caller.audio, None, *[None] * 8]))
    assert answer.data[2]["frames"] == 25
    answer = caller.call("call/v2/preview", body(video=caller.video, audio=caller.audio, moment=1))
    assert answer.data[2]["frames"] == 25


CALLED_WRONGLY = {
    "not JSON": ("call/dub", b"{", 400, "The call is no JSON that can be read."),
    "no text": ("call/dub", b"\xff\xfe", 400, "The call is no JSON that can be read."),
    "a number of 5000 digits": ("call/dub", b'{"data": [' + b"1" * 5000 + b"]}", 400, "The call is no JSON"),
    "very deep": ("call/dub", b"[" * 10**5, 400, "The call is no JSON that can be read."),
    "deep": ("call/dub", b'{"data": ' + b"[" * 40 + b"]" * 40 + b"}", 400, "The call holds lists or objects more"),
    "a list": ("call/dub", b"[]", 400, "A call is a JSON object."),
    "no data": ("call/dub", b"{}", 400, "'data' is a list of the values of a call."),
    "NaN": ("call/dub", b'{"data": NaN}', 400, "'data' is a list of the values of a call."),
    "long": ("call/dub", b'{"data": ["' + b"x" * 2**21 + b'"]}', 413, "That is too large: up to 1 MB are taken."),
    "session": ("call/dub", b'{"data": [], "session_hash": 5}', 400, "'session_hash' is a text of 1 to 64"),
    "nobody's name": ("call/nothing", b'{"data": []}', 404, "Not found"),
    "nobody's name by name": ("call/v2/nothing", b"{}", 404, "Not found"),
    "nobody's field": ("call/v2/dub", b'{"sound": 5}', 400, "/dub has the fields video, audio, checkpoint"),
    "no function": ("queue/join", b'{"data": [], "session_hash": "a"}', 404, NOT_UNDERSTOOD),
    "nobody's function": ("queue/join", b'{"data": [], "session_hash": "a", "fn_index": 999}', 404, NOT_UNDERSTOOD),
    "no session": ("queue/join", b'{"data": [], "fn_index": 0}', 400, "'session_hash' is a text of 1 to 64"),
    "cancel": ("cancel", b'{"fn_index": 0}', 400, "'session_hash' is a text of 1 to 64 letters"),
}


@pytest.mark.parametrize("route, content, status, words", CALLED_WRONGLY.values(), ids=CALLED_WRONGLY)
def test_what_is_no_call_is_refused_before_gradio_reads_it(caller, caplog, route, content, status, words):
    answer = caller.call(route, content)
    assert answer.status == status and answer.sentence.startswith(words)
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


def test_a_call_that_is_not_sent_as_json_is_refused(caller):
    """What a form on another page can post without asking is none."""
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        answer = caller.post("call/dub", b'{"data": []}', kind)
        assert (answer.status_code, answer.json()["detail"]) == (415, "A call is sent as application/json.")


@pytest.mark.parametrize("api_name", CALLS)
def test_too_few_values_are_a_sentence_with_the_names(caller, api_name):
    answer = caller.call(f"call/{api_name}", body(data=[caller.video]))
    assert answer.sentence == f"1 of {len(CALLS[api_name])} values came; they are {', '.join(CALLS[api_name])}."


@pytest.mark.parametrize("function", range(FUNCTIONS))
def test_every_function_of_the_page_answers_anything_with_a_sentence(caller, function, capfd, caplog):
    passwords = {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}
    kinds = (None, passwords, 10**400, "\ud800", {}, [[]], True, "x" * 30_000)
    count = caller.inputs(function)
    for data in ([], [None] * (count + 1), *([value] * count for value in kinds)):
        fields = {"data": data, "fn_index": function, "session_hash": "s", "event_data": {"index": 10**9, "value": 1}}
        answer = caller.call("queue/join", body(**fields))
        assert answer.data is not None or is_sentence(answer.sentence)
    assert "Traceback" not in capfd.readouterr().err + caplog.text


def test_a_stream_of_nobody_has_no_traceback(caller, capfd, caplog):
    for address in ("queue/data?session_hash=nobody", "call/dub/nobody", "call/v2/dub/nobody"):
        answer = caller._client.get(f"gradio_api/{address}")
        assert answer.status_code == 200 and "Not Found" in answer.text
    assert "Traceback" not in capfd.readouterr().err + caplog.text


def test_a_fault_of_ours_is_a_sentence_and_one_traceback(caller, served, monkeypatch, caplog, capfd):
    def broken(*values):
        raise ValueError("broken <b>here</b>")

    monkeypatch.setattr(served[1], "perform", broken)
    right = body(data=[caller.video, caller.audio, *CHOICES])
    assert [caller.call("call/dub", right).sentence for _ in range(3)] == [FAULT] * 3
    assert caplog.text.count("Traceback") == 1 and "in broken" in caplog.text
    assert "Traceback" not in capfd.readouterr().err


def test_a_double_click_gives_one_job_and_a_word_about_it(caller, served, held):
    call = {"data": [caller.video, caller.audio, *CHOICES], "session_hash": "twice"}
    first, second = (
        caller.post("queue/join", body(fn_index=caller.function("run"), **call)).json()["event_id"] for _ in range(2)
    )
    messages = []
    with caller._client.stream("GET", "gradio_api/queue/data?session_hash=twice") as stream:
        for line in stream.iter_lines():
            if line.startswith("data: "):
                messages.append(json.loads(line[6:]))
                done = [each["event_id"] for each in messages if each["msg"] == "process_completed"]
                if second in done:
                    held.set()
    assert done.index(second) < done.index(first)
    (warning,) = [each for each in messages if each["msg"] == "log"]
    assert warning["event_id"] == second and warning["level"] == "warning"
    (end,) = [each for each in messages if each["msg"] == "process_completed" and each["event_id"] == first]
    assert end["success"] and "50 frames" in json.dumps(messages)
    assert "status failed" not in json.dumps(messages)
    wait_until(lambda: not len(served[1]))


def is_sentence(text) -> bool:
    return isinstance(text, str) and 10 < len(text) < 600 and text.isprintable() and text.endswith(".")


def fuzz(caller, page_folder, count) -> Counter:
    """Make ``count`` calls; gives how often each kind of answer came."""
    outcomes: Counter = Counter()

    @given(any_call(caller, FUNCTIONS))
    @settings(
        max_examples=count,
        derandomize=count < 1000,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def one(call):
        answer = caller.call(*call)
        if answer.data is not None:
            outcomes["a result"] += 1
            return
        assert answer.sentence == "Not found" or is_sentence(answer.sentence), (call, answer)
        assert str(page_folder) not in answer.sentence and "Traceback" not in answer.sentence, (call, answer)
        outcomes[f"refused with {answer.status}" if answer.status != 200 else "a sentence of the handlers"] += 1

    one()
    return outcomes


def leftovers(page_folder) -> set[str]:
    """Files and folders of jobs, but for those of results."""
    paths = below(page_folder)
    kept = {path.parent for path in paths if path.suffix == ".mp4"}
    empty = {str(path) for path in paths if path.name.startswith("job_") and path not in kept and path.is_dir()}
    return empty | {str(path) for path in paths if path.suffix == ".part"}


def memory() -> int:
    return psutil.Process().memory_info().rss


def held() -> Counter:
    """Threads and open files by their names, without the threads that Gradio keeps for calls (as many as calls were
    answered at once) and without the numbers of sockets and pipes."""
    names = [re.sub(r"\d+", "", each.name) for each in threading.enumerate() if "AnyIO" not in each.name]
    for handle in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # that of the listing itself
            names.append(handle.readlink().name.partition(":")[0])
    return Counter(names)


def settled(caller, page_folder, served, count) -> Counter:
    """What is held when what is made once has been made."""
    fuzz(caller, page_folder, count)
    wait_until(lambda: not len(served[1]))
    return held()


def assert_nothing_left(before, page_folder, served, capfd, caplog) -> None:
    wait_until(lambda: not len(served[1]))
    assert "Traceback" not in capfd.readouterr().err + caplog.text
    assert not [record for record in caplog.records if record.levelno > logging.WARNING]
    assert leftovers(page_folder) == set()
    with suppress(AssertionError):
        wait_until(lambda: (held() - before).total() <= 2)
    assert (held() - before).total() <= 2, held() - before


def test_calls_of_every_shape(caller, page_folder, served, capfd, caplog):
    before = settled(caller, page_folder, served, 10)
    outcomes = fuzz(caller, page_folder, 100)
    assert outcomes["a sentence of the handlers"] > 20 and len(outcomes) > 2
    assert_nothing_left(before, page_folder, served, capfd, caplog)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_ten_thousand_calls(caller, page_folder, served, capfd, caplog):
    before = settled(caller, page_folder, served, 300)
    start, at_first = time.monotonic(), memory()
    outcomes = fuzz(caller, page_folder, 10_000)
    with capfd.disabled():
        more = f"{(memory() - at_first) / 1e6:.0f} MB more in memory, with what Hypothesis keeps"
        print(f"\n{outcomes.total()} calls in {time.monotonic() - start:.0f} s, {more}: {dict(outcomes)}", flush=True)
    assert outcomes.total() >= 9000  # Hypothesis leaves out what it has tried
    assert outcomes["a result"] > 100
    assert_nothing_left(before, page_folder, served, capfd, caplog)
