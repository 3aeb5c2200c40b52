"""Several ComfyUIs on one output folder: each works on its own, and takes over, once, what nobody is at work on."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import preloaded
import pytest
from engine_support import Engine, hurry, main_py
from plugin_support import ONE_HOST, ROOT, Comfy, picture, row, until

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the folders are shared by links")


@pytest.fixture(params=ONE_HOST)
def two(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], tuple[Comfy, Comfy]]]:
    """Two ComfyUIs with one output folder; the second is not started yet."""
    with ExitStack() as ends:
        first, second = (Comfy(tmp_path / name, request.param) for name in ("a", "b"))
        (tmp_path / "b").mkdir(parents=True, exist_ok=True)
        (tmp_path / "a" / "output").mkdir(parents=True)
        (tmp_path / "b" / "output").symlink_to(tmp_path / "a" / "output")
        ends.enter_context(first)
        ends.callback(second.kill)
        yield lambda: (first, second)


def pictures(comfy: Comfy, pattern: str) -> list[str]:
    return [path.name for path in comfy.whole_pictures(pattern)]


def start_again(comfy: Comfy) -> None:
    """As by a second click: it finds its port taken, and ends."""
    command = comfy._command(int(comfy.url.rpartition(":")[2]))
    ended = subprocess.run(
        command, env=comfy._environment(), capture_output=True, check=False, cwd=comfy.real or comfy.base
    )
    assert ended.returncode != 0
    assert b"bind" in ended.stdout + ended.stderr


def all_once(comfy: Comfy, rows: range) -> None:
    """Every row has one picture, and its record says so."""
    for number in rows:
        assert pictures(comfy, f"row{number}_*.png") == [f"row{number}_00001_.png"]
    ended = {record["row_number"]: record["status"] for record in comfy.records()}
    assert ended == dict.fromkeys(rows, "已完成")


def test_who_asks_a_comfyui_that_has_just_begun_is_told_which_table_it_works_in(tmp_path: Path) -> None:
    """Else main.py and the command line take the folder that they share with it for their own alone."""
    comfy = Comfy(tmp_path)
    comfy.table.mkdir(parents=True)
    with ThreadPoolExecutor() as pool, ExitStack() as until_then:
        until_then.enter_context(comfy.table_locked())
        with comfy:
            status = pool.submit(comfy.status)
            assert not wait([status], timeout=0.5).done, "it has no id yet"
            until_then.close()
            assert status.result()["table_id"] == (comfy.table / "table_id").read_text()


def test_the_second_leaves_the_first_ones_rows_alone_and_takes_them_over_when_it_dies(
    two: Callable[[], tuple[Comfy, Comfy]],
) -> None:
    first, second = two()
    for number in range(2, 6):
        first.queue(picture(f"row{number}", seconds=1.0, gate="last" if number > 3 else None), row(number))
    second.start()
    assert second.recovered()["total"] == 0
    owners = {owner["life"]: owner for owner in second.status()["owners"]}
    assert owners["alive"]["boot"] == first.status()["owner"]
    assert owners["alive"]["name"] == f"ComfyUI {first.url.removeprefix('http://')}"
    until(lambda: len(pictures(first, "row3_*.png")) == 1)
    first.kill()
    second.open_gate("last")
    until(lambda: len(second.records()) == 4 and {r["status"] for r in second.records()} == {"已完成"})
    all_once(second, range(2, 6))
    assert first.get  # the second alone has answered


def test_one_that_comes_back_has_nothing_to_do(two: Callable[[], tuple[Comfy, Comfy]]) -> None:
    first, second = two()
    second.start()
    second.recovered()
    for number in range(2, 5):
        first.queue(picture(f"row{number}", gate="row"), row(number))
    first.restart()  # faster than the second looks, or not: each row is somebody's
    for comfy in (first, second):
        comfy.open_gate("row")
    until(lambda: [r["status"] for r in second.records()] == ["已完成"] * 3)
    all_once(second, range(2, 5))


def test_a_stopped_one_keeps_its_rows(two: Callable[[], tuple[Comfy, Comfy]]) -> None:
    first, second = two()
    prompts = [first.queue(picture(f"row{number}", gate="row"), row(number)) for number in (2, 3)]
    first.until_stage(prompts[0], "running")
    with first.table_locked():  # which it would keep
        os.kill(first.pid, signal.SIGSTOP)
    try:
        second.start()
        second.recovered()
        done = second.queue(picture("row4"), row(4))
        second.finished(done)
        assert second.recovered()["total"] == 0
        assert not second.pending()
    finally:
        os.kill(first.pid, signal.SIGCONT)
    first.open_gate("row")
    for prompt in prompts:
        first.finished(prompt)
    all_once(first, range(2, 5))


def test_a_person_takes_over_from_one_that_lives(two: Callable[[], tuple[Comfy, Comfy]]) -> None:
    first, second = two()
    second.start()
    second.recovered()
    first.until_stage(first.queue(picture("row2", gate="row2"), row(2)), "running")
    waiting = first.queue(picture("row3"), row(3))
    refused = second.call("POST", "/wfrecovery/recover", json={"take_over": "no such owner"})
    assert refused.status_code == 409
    answer = second.call("POST", "/wfrecovery/recover", json={"take_over": first.status()["owner"][:8]})
    assert (answer.status_code, answer.json()["taken_over"]) == (202, 2)
    second.open_gate("row2")
    second.finished(waiting)
    first.open_gate("row2")
    until(lambda: not first.pending() and not second.pending())
    # What ran in the first one went on there, for a person has said so; what waited there did not start.
    assert pictures(second, "row3_*.png") == ["row3_00001_.png"]
    assert second.record(waiting)["metadata"]["attempts"] == 1
    assert first.get("/history")[waiting]["status"]["status_str"] == "error"


def test_one_started_a_second_time_by_mistake_changes_nothing(tmp_path: Path) -> None:
    with Comfy(tmp_path / "a") as first:
        first.recovered()
        prompts = [first.queue(picture(f"row{number}", gate="row"), row(number)) for number in (2, 3)]
        before = first.status()
        start_again(first)
        first.open_gate("row")
        for prompt in prompts:
            first.finished(prompt)
        after = first.status()
    assert [after[name] for name in ("boot_id", "owner", "table_id")] == [
        before[name] for name in ("boot_id", "owner", "table_id")
    ]
    assert [owner["boot"] for owner in after["owners"]] == [before["owner"]]
    all_once(first, range(2, 4))


def test_the_command_line_finds_the_table_again_after_a_second_start_by_mistake(tmp_path: Path) -> None:
    with Comfy(tmp_path / "a") as comfy:
        start_again(comfy)
        environment = {**os.environ, "COMFYUI_URL": comfy.url, "WFRECOVERY_OUTPUT": str(comfy.output)}
        ended = preloaded.run(
            [sys.executable, "-m", "wfrecovery.bridge.cli", "doctor", "--lang", "en"], env=environment
        )
    assert "they share this table" in ended.stdout, ended.stdout


def decided(record: dict[str, Any]) -> bool:
    """Whether a ComfyUI that lacks its nodes has found that."""
    return record["status"] == "失败" or "refused_by" in record["metadata"]


def test_a_graph_whose_nodes_are_missing_waits_for_one_that_is_being_restarted(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "a" / "output").mkdir(parents=True)
    (tmp_path / "b" / "output").symlink_to(tmp_path / "a" / "output")
    second = Comfy(tmp_path / "b")
    second.plugins = second.plugins[:1]  # ours alone
    with Comfy(tmp_path / "a") as first, second:
        prompts = [first.queue(picture(f"row{number}", gate="row"), row(number)) for number in (2, 3)]
        first.until_stage(prompts[0], "running")
        refused = [second.status()["owner"]]
        first.stop()
        until(lambda: all(map(decided, map(second.record, prompts))))
        assert [second.record(prompt)["metadata"].get("refused_by") for prompt in prompts] == [refused] * 2
        second.call("POST", "/wfrecovery/recover", json={})
        second.recovered()
        first.start()
        first.open_gate("row")
        for prompt in prompts:
            first.finished(prompt)
    all_once(first, range(2, 4))


def test_a_graph_whose_nodes_are_missing_waits_for_one_that_has_them(tmp_path: Path) -> None:
    """The second ComfyUI has not all nodes: what it cannot run waits while the other one lives, and fails after it."""
    (tmp_path / "b").mkdir()
    (tmp_path / "a" / "output").mkdir(parents=True)
    (tmp_path / "b" / "output").symlink_to(tmp_path / "a" / "output")
    first, second = Comfy(tmp_path / "a"), Comfy(tmp_path / "b")
    second.plugins = second.plugins[:1]  # ours alone
    third = Comfy(tmp_path / "c")
    (tmp_path / "c" / "output").symlink_to(tmp_path / "a" / "output")
    try:
        first.start()
        second.start()
        second.recovered()
        third.start()
        third.recovered()
        stuck = first.queue(picture("row2", seconds=600), row(2))  # no file of it is there
        first.until_stage(stuck, "running")
        with third.table_locked():  # else it could be stopped with the table's lock in its hands
            os.kill(third.pid, signal.SIGSTOP)  # alive, and takes nothing
        first.kill()
        until(lambda: second.record(stuck)["metadata"].get("refused_by") == [second.status()["owner"]])
        assert second.stage(stuck) in ("queued", "running")
        third.kill()
        record = second.until_stage(stuck, "failed")
        assert "WfrSleep" in record["error_message"]
        assert record["metadata"]["attempts"] == 1
    finally:
        for comfy in (first, second, third):
            comfy.kill()


def test_what_a_main_py_has_sent_to_another_comfyui_is_not_begun_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That renders it on when `main.py` is killed, and the ComfyUI that had it before is back."""
    hurry(monkeypatch)
    elsewhere = Engine("comfyui:http://elsewhere:8188")
    with Comfy(tmp_path / "a") as comfy:
        prompt = comfy.queue(picture("row2", gate="row"), row(2))
        comfy.until_stage(prompt, "running")
        comfy.kill()
        db, recovery = main_py(comfy.output, elsewhere)
        assert asyncio.run(recovery.check_and_recover_tasks()) == []
        assert elsewhere.sent == [prompt]
        db.owners.close()
        comfy.start()
        assert comfy.recovered()["total"] == 0
        db, recovery = main_py(comfy.output, elsewhere)
        elsewhere.end_all()
        [ended] = asyncio.run(recovery.check_and_recover_tasks())
        assert ended["status"] == "已完成"
        assert not comfy.pending()
        assert comfy.times(prompt, "started") == 1


def test_a_second_copy_of_the_pack_in_one_comfyui_does_nothing(tmp_path: Path) -> None:
    """As left by an update: each would take the other for another ComfyUI, whose prompts must not run here."""
    (tmp_path / "wfrecovery-main").symlink_to(ROOT, target_is_directory=True)
    with Comfy(tmp_path / "a", plugins=[tmp_path / "wfrecovery-main"]) as comfy:
        prompts = [comfy.queue(picture(f"row{number}"), row(number)) for number in range(2, 12)]
        for prompt in prompts:
            comfy.finished(prompt)
        assert len(comfy.status()["owners"]) == 1
        assert comfy.log().count("there is another copy in custom_nodes") == 1
    all_once(comfy, range(2, 12))
