"""What a person wants to end has ended when the answer to that goes out, whoever asks, and whatever dies then."""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import pytest
import requests
from plugin_support import EVERYWHERE, HOSTS, ONE_HOST, Comfy, picture, row, slow_save, until

from wfrecovery import bridge
from wfrecovery.bridge.table.changes import wished_away
from wfrecovery.bridge.table.manager import DatabaseManager
from wfrecovery.server_routes.recovery.requests import Requests

DEAF_NODES = Path(__file__).with_name("deaf_nodes")
HELD_WORKER = Path(__file__).with_name("held_worker")


@pytest.fixture(params=ONE_HOST)
def comfy(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Comfy]:
    with Comfy(tmp_path / "comfyui", request.param, plugins=[DEAF_NODES]) as process:
        yield process


def deaf(prefix: str) -> dict[str, Any]:
    """A graph with a node that hears no interrupt."""
    graph = picture(prefix)
    graph["2"] = {"class_type": "TryDeaf", "inputs": {"image": ["1", 0], "seconds": 600.0}}
    graph["9"]["inputs"]["images"] = ["2", 0]
    return graph


def by_our_route(comfy: Comfy, prompt: str) -> None:
    assert comfy.act(comfy.record(prompt)["task_id"], "cancel").status_code == 202


def by_our_route_for_many(comfy: Comfy, _: str) -> None:
    answer = comfy.call("POST", "/wfrecovery/tasks/cancel", json={"filter": {"status": "在处理中"}})
    assert not answer.json()["refused"]


def by_the_watch(comfy: Comfy, prompt: str) -> None:
    """Another program has written it down, and this ComfyUI has looked since."""
    table = DatabaseManager(comfy.output).table
    table.update(comfy.record(prompt)["task_id"], wished_away)
    for _ in range(2):  # the first look may have been under way
        other = comfy.queue(picture("other", seconds=600))
        table.update(comfy.record(other)["task_id"], wished_away)
        comfy.until_stage(other, "cancelled")


def by_interrupt(comfy: Comfy, _: str) -> None:
    assert comfy.call("POST", "/interrupt", json={}).status_code == 200


def by_interrupt_of_one(comfy: Comfy, prompt: str) -> None:
    assert comfy.call("POST", "/api/interrupt", json={"prompt_id": prompt}).status_code == 200


def by_a_plugin_with_the_name_taken_before(comfy: Comfy, _: str) -> None:
    assert comfy.call("POST", "/try/interrupt/taken_before").status_code == 200


def by_a_plugin_past_the_nodes(comfy: Comfy, _: str) -> None:
    assert comfy.call("POST", "/try/interrupt/past_nodes").status_code == 200


def by_delete(comfy: Comfy, prompt: str) -> None:
    assert comfy.call("POST", "/queue", json={"delete": [prompt]}).status_code == 200


def by_delete_of_all(comfy: Comfy, _: str) -> None:
    prompts = [record["comfyui_task_id"] for record in comfy.records()]
    assert comfy.call("POST", "/queue", json={"delete": prompts}).status_code == 200


def by_clear(comfy: Comfy, _: str) -> None:
    assert comfy.call("POST", "/api/queue", json={"clear": True}).status_code == 200


def by_jobs(comfy: Comfy, prompt: str) -> None:
    answer = comfy.call("POST", f"/api/jobs/{prompt}/cancel", json={})
    if answer.status_code in (404, 405):
        pytest.skip("this ComfyUI has no jobs")
    assert answer.status_code == 200


def tried(*ways: Callable[[Comfy, str], None]) -> pytest.MarkDecorator:
    """Each of them on one host; jobs are in the newer generation only."""
    cases = [(host, way) for way in ways for host in (HOSTS if way is by_jobs else ONE_HOST)]
    given = [pytest.param(*host.values, way, id=f"{host.id}-{way.__name__}", marks=host.marks) for host, way in cases]
    return pytest.mark.parametrize(("comfy", "cancel"), given, indirect=["comfy"])


@tried(
    by_our_route,
    by_our_route_for_many,
    by_interrupt,
    by_interrupt_of_one,
    by_a_plugin_with_the_name_taken_before,
    *([by_a_plugin_past_the_nodes] if EVERYWHERE else []),
    by_jobs,
)
def test_a_node_that_hears_nothing_and_then_a_kill(comfy: Comfy, cancel: Callable[[Comfy, str], None]) -> None:
    prompt = comfy.queue(deaf("row2"), row(2))
    comfy.until_stage(prompt, "running")
    cancel(comfy, prompt)
    comfy.kill()  # the answer is there: what is on disk now must be enough
    comfy.start()
    comfy.recovered()
    assert comfy.stage(prompt) == "cancelled"
    assert not comfy.pending()
    assert not comfy.pictures()


@tried(by_our_route, by_our_route_for_many, by_delete, by_clear, by_jobs)
def test_what_waits_and_then_a_kill(comfy: Comfy, cancel: Callable[[Comfy, str], None]) -> None:
    running = comfy.queue(picture("row2", seconds=600), row(2))
    comfy.until_stage(running, "running")
    prompt = comfy.queue(picture("row3", seconds=600), row(3))
    cancel(comfy, prompt)
    comfy.kill()
    comfy.start()
    comfy.recovered()
    assert comfy.stage(prompt) == "cancelled"
    assert prompt not in comfy.pending()
    assert len(comfy.records()) == 2


@pytest.mark.parametrize("by", ["filter", "task_ids"])
def test_many_that_end_at_once_do_not_start_one_another(comfy: Comfy, by: str) -> None:
    """What runs ends last: else each end would let the next one begin, which may be whole before it is its turn."""
    running = comfy.queue(picture("row2", seconds=600), row(2))
    comfy.until_stage(running, "running")
    waiting = [comfy.queue(picture(f"row{number}"), row(number), front=number == 9) for number in range(3, 10)]
    ids = [comfy.record(prompt)["task_id"] for prompt in (running, *waiting)]
    body = {"filter": {"status": "在处理中"}} if by == "filter" else {"task_ids": ids}
    answer = comfy.call("POST", "/wfrecovery/tasks/cancel", json=body).json()
    assert (sorted(answer["done"]), answer["refused"]) == (sorted(ids), {})
    until(lambda: not comfy.pending())
    for prompt in (running, *waiting):
        comfy.until_stage(prompt, "cancelled", "finished")
    assert {comfy.stage(prompt) for prompt in (running, *waiting)} == {"cancelled"}
    assert [comfy.times(prompt, "started") for prompt in waiting] == [0] * len(waiting)
    assert not comfy.pictures()


@pytest.fixture
def held(tmp_path: Path, host: Any) -> Comfy:
    """A ComfyUI, not started, whose worker is held where the file `hold` in `tmp_path` says."""
    env = {"TRY_HELD_WORKER": str(tmp_path)}
    return Comfy(tmp_path / "comfyui", host, plugins=[HELD_WORKER], env=env)


@pytest.mark.parametrize("cancel", [by_our_route, by_our_route_for_many, by_interrupt, by_interrupt_of_one])
@pytest.mark.parametrize("where", ["taken", "begins", "begins, the first of all"])
@pytest.mark.parametrize("host", ONE_HOST)
def test_what_the_worker_has_taken_and_not_begun(
    tmp_path: Path, held: Comfy, where: str, cancel: Callable[[Comfy, str], None]
) -> None:
    """ComfyUI's executor forgets, as it begins, that somebody has interrupted. The prompt would end before anybody
    looked again."""
    where, _, first = where.partition(", ")
    with held as comfy:
        if not first:
            comfy.finished(comfy.queue(picture("row2"), row(2)))
        (tmp_path / "hold").write_text(where)
        prompt = comfy.queue(picture("row3"), row(3))
        until((tmp_path / "held").exists)
        cancel(comfy, prompt)
        assert comfy.record(prompt)["metadata"]["cancel_requested"]
        (tmp_path / "hold").unlink()
        comfy.until_stage(prompt, "cancelled", "finished")
        assert comfy.stage(prompt) == "cancelled"
        until(lambda: not comfy.pending())
        comfy.finished(comfy.queue(picture("row4"), row(4)))  # nobody else is meant
        assert len(comfy.pictures("row3_*")) == 0
        assert len(comfy.get("/history")[prompt]["prompt"]) == 5
        assert comfy.call("GET", "/api/jobs").status_code in (200, 404, 405)


@pytest.mark.parametrize(
    ("where", "cancel"),
    [
        ("ended", by_our_route),
        ("read", by_the_watch),
        *([("ended", by_the_watch), ("read", by_our_route)] if EVERYWHERE else []),
    ],
)
@pytest.mark.parametrize("host", ONE_HOST)
def test_what_has_ended_and_is_not_recorded_yet(
    tmp_path: Path, held: Comfy, where: str, cancel: Callable[[Comfy, str], None]
) -> None:
    """Its picture is whole: a wish that comes while that is found out comes too late."""
    with held as comfy:
        comfy.recovered()
        (tmp_path / "hold").write_text(where)
        prompt = comfy.queue(picture("row3"), row(3))
        until((tmp_path / "held").exists)
        cancel(comfy, prompt)
        (tmp_path / "hold").unlink()
        assert comfy.finished(prompt)["metadata"]["results"]
        assert len(comfy.whole_pictures("row3_*")) == 1
        comfy.queue(picture("row4", seconds=600), row(4))  # who comes later is not taken for it
        comfy.idle()


@pytest.mark.parametrize("host", ONE_HOST)
def test_what_the_worker_has_taken_and_not_begun_without_plugin(tmp_path: Path, held: Comfy) -> None:
    held.plugins = held.plugins[1:]  # ours is the first
    with held as comfy:
        (tmp_path / "hold").write_text("begins")
        prompt = comfy.queue(picture("row3", seconds=600))
        until((tmp_path / "held").exists)
        with ThreadPoolExecutor() as main_py:
            cancelling = main_py.submit(asyncio.run, bridge.ComfyUIClient(comfy.url).cancel(prompt))
            until(lambda: f"Interrupting prompt {prompt}" in comfy.log())
            (tmp_path / "hold").unlink()
            cancelling.result()
        until(lambda: not comfy.pending())
        assert not comfy.pictures()


@pytest.mark.parametrize("first", [True, False])
def test_what_is_cancelled_is_sent_again_all_the_same(comfy: Comfy, first: bool) -> None:
    """By a program that has not heard of it; also as the first prompt that this ComfyUI takes."""
    running = comfy.queue(picture("row2", seconds=600), row(2))
    prompt = comfy.queue(picture("row3"), row(3))
    by_our_route_for_many(comfy, prompt)
    assert comfy.stage(prompt) == "cancelled"
    until(lambda: comfy.stage(running) == "cancelled")
    comfy.crash()
    if not first:
        comfy.finished(comfy.queue(picture("row4"), row(4)))
    tag = row(3, task_id=comfy.record(prompt)["task_id"])
    comfy.queue(picture("row3", seconds=600), tag, prompt_id=prompt, extra_data={"api_key_comfy_org": "a secret"})
    until(lambda: not comfy.pending())
    assert comfy.stage(prompt) == "cancelled"
    assert not comfy.pictures("row3_*")
    assert "a secret" not in comfy.call("GET", "/history").text


def test_a_wish_is_found_when_the_disk_answers_again(comfy: Comfy) -> None:
    """The prompt has started meanwhile, and could not be looked up."""
    running = comfy.queue(picture("row2", seconds=600), row(2))
    comfy.until_stage(running, "running")
    prompt = comfy.queue(picture("row3", seconds=600), row(3))
    task_id = comfy.record(prompt)["task_id"]
    db = DatabaseManager(comfy.output)
    with db.table.locked():
        comfy.call("POST", "/interrupt", json={})
        until(lambda: comfy.pending() == [prompt] and "starts, and is counted later" in comfy.log())
        db.table.update(task_id, wished_away)
    comfy.until_stage(prompt, "cancelled")
    until(lambda: not comfy.pending())
    assert not comfy.pictures("row3_*")


def test_what_is_cleared_while_the_recovery_decides_asks_nobody(comfy: Comfy) -> None:
    """Prompts without a row wait for a person after a crash; not those that he has cleared."""
    for number in range(40):
        comfy.queue(picture(f"p{number}", seconds=600))
    comfy.kill()
    comfy.start()
    until(lambda: comfy.status()["recovery"]["done"] >= 3)
    by_clear(comfy, "")
    comfy.recovered()
    unheard = lambda: [r["task_id"] for r in comfy.records() if _is_open(r) and r["metadata"].get("cancel_requested")]  # noqa: E731
    until(lambda: not unheard(), what="the wishes to be obeyed")


def _is_open(record: dict[str, Any]) -> bool:
    return record["metadata"]["stage"] not in ("finished", "failed", "cancelled")


def test_a_wish_for_what_was_whole_already(comfy: Comfy) -> None:
    prompt = comfy.queue(slow_save("row2"), row(2))
    until(comfy.whole_pictures)
    by_interrupt(comfy, prompt)
    comfy.kill()
    comfy.start()
    comfy.recovered()
    if comfy.stage(prompt) != "cancelled":  # it heard the interrupt before the kill, or it did not
        record = comfy.finished(prompt)
        assert record["output_files"] == ["row2_00001_.png"]
    assert len(comfy.pictures()) == 1


def test_all_are_cancelled_while_the_recovery_queues_them_again(tmp_path: Path) -> None:
    with Comfy(tmp_path / "comfyui") as comfy:
        for number in range(2, 62):
            comfy.queue(picture(f"row{number}", seconds=600), row(number))
        ids = sorted(record["task_id"] for record in comfy.records())
        comfy.restart()
        done: list[str] = []

        def cancel_all() -> None:
            answer = comfy.call("POST", "/wfrecovery/tasks/cancel", json={"filter": {"status": "在处理中"}}).json()
            assert all("is cancelled already" in why for why in answer["refused"].values()), "the other was first"
            done.extend(answer["done"])

        people = [threading.Thread(target=cancel_all) for _ in range(2)]
        for person in people:
            person.start()
        for person in people:
            person.join()
        comfy.recovered()
        until(lambda: not comfy.pending())
        assert sorted(set(done)) == ids
        assert [record["task_id"] for record in comfy.records()] == ids  # none came back under another id
        # what ran has left the queue before its end is recorded
        until(lambda: {record["metadata"]["stage"] for record in comfy.records()} == {"cancelled"})
        assert not comfy.pictures()


@pytest.mark.parametrize("cancel", [by_clear, by_delete_of_all])
@pytest.mark.parametrize("host", ONE_HOST)
def test_the_queue_is_cleared_while_the_recovery_fills_it(
    tmp_path: Path, host: Any, cancel: Callable[[Comfy, str], None]
) -> None:
    """What it has not queued again yet stood in the queue for whoever clears it: nothing comes after that."""
    with Comfy(tmp_path / "comfyui", host) as comfy:
        for number in range(2, 82):
            comfy.queue(picture(f"row{number}", seconds=600), row(number))
        comfy.kill()
        comfy.start()
        until(lambda: comfy.status()["recovery"]["done"] >= 3)
        with comfy.table_locked():  # so long it stands still
            assert comfy.status()["recovery"]["state"] == "running", "it was over before: more rows are needed"
            clearing, filled = threading.Thread(target=cancel, args=[comfy, ""]), len(comfy.pending())
            clearing.start()
            until(lambda: len(comfy.pending()) < filled)
        clearing.join()
        comfy.recovered()
        assert len(comfy.pending()) <= 1  # what ran, runs
        assert len(comfy.records()) == 80
        stages = sorted(record["metadata"]["stage"] for record in comfy.records())
        assert stages == ["cancelled"] * 79 + ["running"]


@pytest.mark.parametrize("cancel", [by_clear, by_delete_of_all])
@pytest.mark.parametrize("host", ONE_HOST)
def test_the_queue_is_cleared_before_the_recovery_knows_what_it_has_lost(
    tmp_path: Path, host: Any, cancel: Callable[[Comfy, str], None]
) -> None:
    """Whoever clears it first thing means what stood in it. What is queued after that stays."""
    new = str(uuid.uuid4())
    with Comfy(tmp_path / "comfyui", host) as comfy:
        for number in range(2, 8):
            comfy.queue(picture(f"row{number}", seconds=600), row(number))
        comfy.kill()
        with comfy.table_locked():  # so long it cannot look
            comfy.start()
            cancel(comfy, "")
            body = {"prompt": picture("row8", seconds=600), "prompt_id": new, "extra_data": {"wfrecovery": row(8)}}
            address, sent = f"{comfy.url}/prompt", {"json": body}
            posting = threading.Thread(target=requests.post, args=[address], kwargs=sent, daemon=True)
            posting.start()
            until(lambda: new in comfy.pending())
            posting.join(1.0)
            assert posting.is_alive()  # until it is recorded
        posting.join()
        comfy.recovered()
        comfy.until_stage(new, "running")
        stages = {record["row_number"]: record["metadata"]["stage"] for record in comfy.records()}
        assert stages == {**dict.fromkeys(range(2, 8), "cancelled"), 8: "running"}
        assert comfy.pending() == [new]


@pytest.mark.parametrize("cancel", [by_clear, by_delete_of_all])
def test_the_queue_is_cleared_while_many_are_queued_again(comfy: Comfy, cancel: Callable[[Comfy, str], None]) -> None:
    """A person has asked for them all, and then wants none: what is not in the queue by then does not come into it."""
    running = comfy.queue(picture("row2", seconds=600), row(2))
    prompts = [comfy.queue(picture(f"row{number}"), row(number)) for number in range(3, 9)]
    comfy.call("POST", "/queue", json={"delete": prompts})
    ids = [comfy.record(prompt)["task_id"] for prompt in prompts]
    with ThreadPoolExecutor() as pool:
        with comfy.table_locked():  # so long none is queued
            address, many = f"{comfy.url}/wfrecovery/tasks/retry", {"task_ids": ids}
            retried = pool.submit(requests.post, address, json=many)
            assert not wait([retried], timeout=0.5).done
            cancel(comfy, "")
            assert not retried.done()
        answer = retried.result().json()
    assert comfy.pending() in ([], [running]), answer
    assert (answer["done"], sorted(answer["refused"])) == ([], ids), (answer, comfy.records())
    assert [comfy.stage(prompt) for prompt in prompts] == ["cancelled"] * 6
    assert [comfy.times(prompt, "started") for prompt in prompts] == [0] * 6


def test_two_who_queue_the_same_again_take_nothing_out_for_each_other(tmp_path: Path) -> None:
    """Two pages, or a second click: who is done first has not cleared the queue."""
    db = DatabaseManager(tmp_path)
    task = db.table.get(db.add_workflow_task({"row_number": 2, "product_name": "杯"}, "图片合成"))
    nobody: Any = None
    asked = Requests(nobody, db, nobody, nobody, may_be_whole=lambda _: False, on_change=lambda _: None)
    with asked.coming([task]) as is_taken_out:
        with asked.coming([task]) as by_the_other:
            assert not by_the_other(task.task_id)
        assert not is_taken_out(task.task_id)
        asked.unwanted(lambda _: True)
        assert is_taken_out(task.task_id)


def test_a_cancelled_task_runs_again_when_a_person_wants_that(tmp_path: Path) -> None:
    with Comfy(tmp_path / "comfyui") as comfy:
        running = comfy.queue(picture("row2", seconds=600), row(2))
        comfy.until_stage(running, "running")
        by_our_route(comfy, running)
        until(lambda: comfy.stage(running) == "cancelled")
        prompt = comfy.queue(picture("row3"), row(3))
        comfy.finished(prompt)
        held = comfy.queue(picture("row4", seconds=600), row(4))
        waiting = comfy.queue(picture("row5"), row(5))
        by_delete(comfy, waiting)
        assert comfy.stage(waiting) == "cancelled"
        by_interrupt(comfy, held)
        assert comfy.act(comfy.record(waiting)["task_id"], "retry").status_code == 202
        comfy.finished(waiting)


@pytest.mark.parametrize("path", ["/queue", "/api/queue"])
def test_the_answer_to_a_wish_does_not_wait_for_a_disk_that_hangs(tmp_path: Path, path: str) -> None:
    with Comfy(tmp_path / "comfyui") as comfy:
        running = comfy.queue(picture("row2", seconds=600), row(2))
        comfy.until_stage(running, "running")
        prompt = comfy.queue(picture("row3"), row(3))
        with comfy.table_locked():
            assert comfy.call("POST", path, json={"delete": [prompt]}).status_code == 200
            assert comfy.stage(prompt) == "queued"  # it cannot be written yet, and is obeyed all the same
            assert prompt not in comfy.pending()
        until(lambda: comfy.stage(prompt) == "cancelled")
