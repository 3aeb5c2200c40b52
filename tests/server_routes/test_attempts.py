"""One attempt is one start of a row; what ends in good order, or with the power, is nobody's fault."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from plugin_support import EVERYWHERE, NO_REAL, ONE_HOST, REAL, Comfy, all_hosts, one_host, picture, row, until

from wfrecovery.bridge.recovery.decisions import MOST_CUT_OFF

EXEC_NODES = Path(__file__).with_name("exec_route")
LATE_WORKER = Path(__file__).with_name("late_worker")
SLOW_WRITER = Path(__file__).with_name("slow_writer")


@pytest.fixture(params=ONE_HOST)
def comfy(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Comfy]:
    with Comfy(tmp_path / "comfyui", request.param, plugins=[EXEC_NODES]) as process:
        yield process


def by_term(comfy: Comfy) -> None:
    os.kill(comfy.pid, signal.SIGTERM)
    assert comfy.wait() == -signal.SIGTERM  # as without us
    comfy.start()


def by_ctrl_c(comfy: Comfy) -> None:
    os.kill(comfy.pid, signal.SIGINT)
    assert comfy.wait() == 0
    comfy.start()


def by_closed_terminal(comfy: Comfy) -> None:
    os.kill(comfy.pid, signal.SIGHUP)
    assert comfy.wait() == -signal.SIGHUP
    comfy.start()


def by_exec(comfy: Comfy) -> None:
    """As ComfyUI-Manager restarts it: the process stays, its program begins anew."""
    before = comfy.status()["boot_id"]
    with contextlib.suppress(requests.ConnectionError):  # nobody answers any more
        comfy.call("POST", "/try/exec", json={})
    until(lambda: _boot_of(comfy) not in (None, before), what=comfy.log()[-2000:])


def _boot_of(comfy: Comfy) -> str | None:
    try:
        return str(comfy.status()["boot_id"])
    except OSError:
        return None


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("stop", [by_term, by_ctrl_c, by_closed_terminal, by_exec])
def test_orderly_stops_count_for_nothing(comfy: Comfy, stop: Callable[[Comfy], None]) -> None:
    prompt = comfy.queue(picture("row2", gate="row"), row(2))
    for _ in range(1 if stop is by_exec else 3):  # it starts from nothing, which takes ComfyUI many seconds
        comfy.until_at_gate("row")
        stop(comfy)
        comfy.recovered()
    record = comfy.until_stage(prompt, "running", "failed")
    assert record["metadata"]["stage"] == "running"
    assert record["metadata"]["attempts"] == 1


@pytest.mark.skipif(REAL is None, reason=NO_REAL)
@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_ctrl_c_counts_for_nothing_although_pytorch_takes_the_process_down_with_it(tmp_path: Path) -> None:
    """A thread that computes when Python ends aborts the process (github.com/pytorch/pytorch/issues/38228), with us or
    without."""
    graph = picture("row2")
    last = "1"
    for number in range(10, 200):
        inputs = {"image": [last, 0], "upscale_method": "bicubic", "width": 1500 + number, "height": 700}
        last = str(number)
        graph[last] = {"class_type": "ImageScale", "inputs": {**inputs, "crop": "disabled"}}
    graph["9"]["inputs"]["images"] = [last, 0]
    with Comfy(tmp_path / "comfyui", "real") as comfy:
        prompt = comfy.queue(graph, row(2))
        comfy.until_stage(prompt, "running")
        os.kill(comfy.pid, signal.SIGINT)
        assert comfy.wait() in (-signal.SIGABRT, 0)
        comfy.start()
        comfy.recovered()
        assert comfy.until_stage(prompt, "running", "finished")["metadata"]["attempts"] == 1


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("how", ["exec", "exit", "term"] if EVERYWHERE else ["exit", "term"])
@one_host
def test_a_prompt_that_ends_comfyui_itself_is_not_run_for_ever(host: str | int, how: str, tmp_path: Path) -> None:
    """In whatever good order: it would be rendered, and paid for, once more after each restart."""
    graph = picture("row2")
    graph["2"] = {"class_type": "TryEnd", "inputs": {"image": ["1", 0], "how": how}}
    graph["9"]["inputs"]["images"] = ["2", 0]
    last_attempt = {"WFRECOVERY_MAX_ATTEMPTS": "1"}
    with Comfy(tmp_path / "comfyui", host, plugins=[EXEC_NODES], env=last_attempt) as comfy:
        before = comfy.status()["boot_id"]
        with contextlib.suppress(requests.ConnectionError):  # nobody may be left to answer
            comfy.queue(graph, row(2))
        if how == "exec":
            until(lambda: _boot_of(comfy) not in (None, before), what=comfy.log()[-2000:])
        else:
            if how == "exit":  # a person stops what does not go on
                until(lambda: not comfy.status()["comfyui"]["worker_alive"], what="the end of ComfyUI's worker")
                os.kill(comfy.pid, signal.SIGTERM)
            assert comfy.wait() == -signal.SIGTERM  # as without us
            comfy.start()
        comfy.recovered()
        [record] = comfy.records()
        record = comfy.until_stage(record["comfyui_task_id"], "failed", "finished")
        assert "went down 1 times" in str(record["error_message"]), record


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_row_that_is_cut_off_again_and_again_asks_a_person_at_last(tmp_path: Path) -> None:
    """A service stops ComfyUI in good order for what that row needs, and starts it again: each time it is paid for."""
    with Comfy(tmp_path / "comfyui") as comfy:
        prompt = comfy.queue(picture("row2", gate="row"), row(2))
        comfy.until_at_gate("row")
        os.kill(comfy.pid, signal.SIGTERM)
        comfy.wait()
        record = comfy.record(prompt)
        record["metadata"]["cut_off"] = MOST_CUT_OFF - 1  # so often before
        (comfy.table / "active" / f"{record['task_id']}.json").write_text(json.dumps(record), "utf-8")
        comfy.start()
        comfy.recovered()
        given_up = comfy.until_stage(prompt, "failed", "running")
        assert f"was stopped, or its computer went down, {MOST_CUT_OFF} times" in str(given_up["error_message"])
        comfy.act(record["task_id"], "retry")
        comfy.until_at_gate("row")
        by_term(comfy)
        comfy.recovered()
        comfy.open_gate("row")
        assert comfy.finished(prompt)["metadata"]["cut_off"] == 1, "counted anew"


def test_an_orderly_stop_is_no_start_in_the_story(tmp_path: Path) -> None:
    with Comfy(tmp_path / "comfyui") as comfy:
        prompt = comfy.queue(picture("row2", seconds=600), row(2))
        comfy.until_stage(prompt, "running")
        waiting = comfy.queue(picture("row3"), row(3))
        by_term(comfy)
        comfy.recovered()
        comfy.until_stage(prompt, "running")
        comfy.call("POST", "/interrupt", json={})
        comfy.finished(waiting)
        stories = [[line["what"] for line in comfy.record(one)["metadata"]["story"]] for one in (prompt, waiting)]
    assert stories == [
        ["queued", "started", "lost", "queued_again", "started", "cancelled"],
        ["queued", "lost", "queued_again", "started", "finished"],
    ]


def test_after_an_orderly_stop_a_crash_counts(tmp_path: Path) -> None:
    with Comfy(tmp_path / "comfyui") as comfy:
        prompt = comfy.queue(picture("row2", seconds=600), row(2))
        comfy.until_stage(prompt, "running")
        by_term(comfy)
        comfy.recovered()
        for attempts in (2, 3):
            comfy.until_stage(prompt, "running")
            comfy.crash()
            until(lambda attempts=attempts: comfy.record(prompt)["metadata"]["attempts"] == attempts)
        comfy.until_stage(prompt, "running")
        comfy.crash()
        record = comfy.until_stage(prompt, "failed")
        assert "3 times" in record["error_message"]


def test_forty_rows_behind_one_that_kills_are_not_counted(tmp_path: Path) -> None:
    with Comfy(tmp_path / "comfyui") as comfy:
        killer = comfy.queue(picture("row2", seconds=600), row(2))
        others = [comfy.queue(picture(f"row{number}"), row(number)) for number in range(3, 43)]
        for _ in range(3):
            comfy.until_stage(killer, "running")
            comfy.crash()
        comfy.until_stage(killer, "failed")
        for prompt in others:
            assert comfy.finished(prompt)["metadata"]["attempts"] == 1


@pytest.mark.parametrize("first", [True, False] if EVERYWHERE else [True])
@all_hosts
def test_what_kills_the_moment_it_begins_has_its_attempt_on_disk(host: str | int, first: bool, tmp_path: Path) -> None:
    """Also as the first prompt of a ComfyUI, whose worker waits since before we listened."""
    graph = picture("row2")
    graph["2"] = {"class_type": "TryKill", "inputs": {"image": ["1", 0]}}
    graph["9"]["inputs"]["images"] = ["2", 0]
    with Comfy(tmp_path / "comfyui", host, plugins=[SLOW_WRITER]) as comfy:
        if not first:
            comfy.finished(comfy.queue(picture("row3"), row(3)))
        with contextlib.suppress(requests.ConnectionError):  # nobody may be left to answer
            comfy.queue(graph, row(2))
        assert comfy.wait() == 9
        [record] = [record for record in comfy.records() if record["row_number"] == 2]
        assert (record["metadata"]["stage"], record["metadata"]["attempts"]) == ("running", 1)


@one_host
def test_a_worker_that_comes_late_is_counted_as_well(host: str | int, tmp_path: Path) -> None:
    """After a crash the row that kills ComfyUI is the first one of each life: uncounted, it would be sent for ever."""
    with Comfy(tmp_path / "comfyui", host, plugins=[LATE_WORKER, SLOW_WRITER]) as comfy:
        killer = comfy.queue(picture("row2", seconds=600), row(2))
        for attempts in (1, 2, 3):
            assert comfy.until_stage(killer, "running")["metadata"]["attempts"] == attempts
            comfy.crash()
        record = comfy.until_stage(killer, "failed")
        assert "3 times" in record["error_message"]
        following = comfy.queue(picture("row3"), row(3))
        assert comfy.finished(following)["metadata"]["attempts"] == 1
