"""ComfyUI ends and comes back while a `main.py` follows what it had: in one table with the plugin, or without it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from main_processes import PATIENCE, Main, pictures, records, until
from plugin_support import ONE_HOST, Comfy

from wfrecovery import bridge
from wfrecovery.bridge.recovery import manager
from wfrecovery.bridge.table.records import Stage, TaskRecord

LATE_SAVER = Path(__file__).with_name("stalls_after_saving")


def looks_in_vain(comfy: Comfy, times: int = 4) -> None:
    """Nobody is there, which `main.py` has found out so often."""
    with socket.create_server(("127.0.0.1", urlsplit(comfy.url).port or 0)) as listener:
        listener.settimeout(PATIENCE)
        for _ in range(times):
            listener.accept()[0].close()


def rows_in(comfy: Comfy, output: Path) -> list[int | None]:
    """The rows in ComfyUI's queue, in their order."""
    rows = {task.comfyui_task_id: number for number, task in records(output).items()}
    return [rows.get(prompt_id) for prompt_id in comfy.pending()]


def the_row(output: Path) -> TaskRecord | None:
    return next(iter(records(output).values()), None)


# ------------------------------------------------------------------ a file that nobody has told of


@pytest.mark.parametrize("host", ONE_HOST)
@pytest.mark.parametrize("plugin", [True, False], ids=["with the plugin", "without the plugin"])
def test_a_whole_file_is_used_although_comfyui_was_killed_before_it_said_so(
    plugin: bool, host: str | int, tmp_path: Path
) -> None:
    stalls = tmp_path / "stalls"
    stalls.touch()
    with Comfy(tmp_path / "comfyui", host, plugins=[LATE_SAVER], env={"STALLS": str(stalls)}) as comfy:
        if not plugin:
            without_plugin(comfy)
        with Main(comfy.url, comfy.output, range(2, 4)) as main:
            for number in (2, 3):
                main.hears(f"submitted {number}")
            until(lambda: pictures(comfy, 2) + pictures(comfy, 3) == 1)
            comfy.kill()
            looks_in_vain(comfy)
            stalls.unlink()
            comfy.start()
            assert main.ends() == [2, 3]
        assert {number: pictures(comfy, number) for number in (2, 3)} == {2: 1, 3: 1}
        tasks = records(comfy.output).values()
        assert {task.stage for task in tasks} == {Stage.FINISHED}
        assert sorted(task.adopted for task in tasks) == [False, True]


def without_plugin(comfy: Comfy) -> None:
    comfy.kill()
    comfy.plugins = comfy.plugins[1:]  # ours is the first
    for link in (comfy.base / "custom_nodes").iterdir():
        if link.resolve() not in comfy.plugins:
            link.unlink()
    comfy.start()


# ------------------------------------------------------------------ ends in good order


def by_term(comfy: Comfy) -> None:
    os.kill(comfy.pid, signal.SIGTERM)
    comfy.wait()


def by_ctrl_c(comfy: Comfy) -> None:
    os.kill(comfy.pid, signal.SIGINT)
    comfy.wait()


def runs_in(comfy: Comfy, output: Path) -> bool:
    """Whether the one row runs in the ComfyUI that is there now."""
    task = the_row(output)
    here = task is not None and task.queue is not None and task.queue.started_by == comfy.status()["owner"]
    return here and task is not None and task.stage is Stage.RUNNING


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("host", ONE_HOST)
@pytest.mark.parametrize("stop", [by_term, by_ctrl_c])
def test_orderly_restarts_count_for_nothing_while_main_py_follows(
    stop: Callable[[Comfy], None], host: str | int, tmp_path: Path
) -> None:
    with Comfy(tmp_path / "comfyui", host) as comfy, Main(comfy.url, comfy.output, range(2, 3), seconds=600) as main:
        for _ in range(3):
            until(lambda: runs_in(comfy, comfy.output) or ended(comfy))
            stop(comfy)
            looks_in_vain(comfy)
            comfy.start()
        until(lambda: runs_in(comfy, comfy.output) or ended(comfy))
        task = the_row(comfy.output)
        assert task is not None
        assert (task.stage, task.attempts) == (Stage.RUNNING, 1)
        comfy.call("POST", "/interrupt", json={})
        assert main.ends() == [2]


def ended(comfy: Comfy) -> bool:
    task = the_row(comfy.output)
    return task is not None and task.stage.final


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_ctrl_c_of_both_counts_for_nothing(tmp_path: Path) -> None:
    """ComfyUI's first, then main.py's; the next ones know nothing of that but what stands in the table."""
    with Comfy(tmp_path / "comfyui") as comfy:
        for _ in range(3):
            with Main(comfy.url, comfy.output, range(2, 3), seconds=600) as main:
                until(lambda: runs_in(comfy, comfy.output) or ended(comfy))
                by_ctrl_c(comfy)
                looks_in_vain(comfy)
                main.process.send_signal(signal.SIGINT)
                main.hears("menu")
            comfy.start()
        until(lambda: runs_in(comfy, comfy.output) or ended(comfy))
        task = the_row(comfy.output)
        assert task is not None
        assert (task.stage, task.attempts) == (Stage.RUNNING, 1)


# ------------------------------------------------------------------ the queue, and what people want of it


@pytest.mark.parametrize("host", ONE_HOST)
def test_the_queue_comes_back_in_its_order_and_is_cleared_for_good(host: str | int, tmp_path: Path) -> None:
    """More rows than are followed at the same time."""
    rows = range(2, 14)
    with Comfy(tmp_path / "comfyui", host) as comfy, Main(comfy.url, comfy.output, rows, seconds=600) as main:
        until(lambda: all_are_put(comfy.output, len(rows)))
        before = rows_in(comfy, comfy.output)
        comfy.kill()
        looks_in_vain(comfy)
        comfy.start()
        until(lambda: len(comfy.pending()) == len(rows))
        assert rows_in(comfy, comfy.output) == before
        comfy.idle()
        assert main.ends() == list(rows)
        assert comfy.pending() == []
        assert {task.stage for task in records(comfy.output).values()} == {Stage.CANCELLED}


@pytest.mark.parametrize("host", ONE_HOST)
@pytest.mark.parametrize("own", [True, False], ids=["a table of its own", "beside the results"])
@pytest.mark.parametrize("all_of_them", [True, False], ids=["clear", "delete"])
def test_what_a_person_takes_out_of_a_queue_without_plugin_is_cancelled(
    all_of_them: bool, own: bool, host: str | int, tmp_path: Path
) -> None:
    with Comfy(tmp_path / "comfyui", host) as comfy:
        without_plugin(comfy)
        output, rows = tmp_path / "output" if own else comfy.output, range(2, 7)
        with Main(comfy.url, output, rows, seconds=600):
            until(lambda: all_are_put(output, len(rows)))
            before = comfy.pending()
            gone = before[1:] if all_of_them else [before[2], before[-1]]
            comfy.call("POST", "/queue", json={"clear": True} if all_of_them else {"delete": gone})
            until(lambda: stages(output, gone) == {Stage.CANCELLED})
            rest = [prompt_id for prompt_id in before if prompt_id not in gone]
            assert comfy.pending() == rest
            assert stages(output, rest) <= {Stage.QUEUED, Stage.RUNNING}


@pytest.mark.parametrize("own", [True, False], ids=["a table of its own", "beside the results"])
def test_what_is_cleared_with_the_one_that_runs_stays_away(own: bool, tmp_path: Path) -> None:
    """Cleared and interrupted, as the page's two buttons do: nothing of the batch is left in the queue."""
    with Comfy(tmp_path / "comfyui") as comfy:
        without_plugin(comfy)
        output, rows = tmp_path / "output" if own else comfy.output, range(2, 7)
        with Main(comfy.url, output, rows, seconds=600) as main:
            until(lambda: all_are_put(output, len(rows)))
            comfy.interrupt()
            until(lambda: any(task.stage.final for task in records(output).values()))
            comfy.idle()
            assert main.ends() == list(rows)
        assert {task.stage for task in records(output).values()} == {Stage.CANCELLED}
        assert comfy.pending() == []


def all_are_put(output: Path, number: int) -> bool:
    """And `main.py` has heard of it."""
    there = [task.stage in (Stage.QUEUED, Stage.RUNNING) and not task.sending for task in records(output).values()]
    return there == [True] * number


def stages(output: Path, prompts: list[str]) -> set[Stage]:
    return {task.stage for task in records(output).values() if task.comfyui_task_id in prompts}


@pytest.mark.parametrize("times", [1, 2])
def test_what_went_down_without_plugin_was_not_taken_out_by_anybody(times: int, tmp_path: Path) -> None:
    """Some are in the queue again before the others are looked at."""
    rows = range(2, 10)  # as many as are followed at the same time
    with Comfy(tmp_path / "comfyui") as comfy:
        without_plugin(comfy)
        with Main(comfy.url, comfy.output, rows, seconds=600):
            for _ in range(times):
                until(lambda: all_are_put(comfy.output, len(rows)) and len(comfy.pending()) == len(rows))
                comfy.restart()
            until(lambda: len(comfy.pending()) == len(rows))
            assert Stage.CANCELLED not in {task.stage for task in records(comfy.output).values()}


# ------------------------------------------------------------------ it does not come back, or not as it was


def test_while_comfyui_does_not_answer_what_its_plugin_had_stays_as_it_is(tmp_path: Path) -> None:
    """A run of `main.py` that begins then ends, and the next one goes on."""
    with Comfy(tmp_path / "comfyui") as comfy:
        with Main(comfy.url, comfy.output, range(2, 5), seconds=3) as main:
            until(lambda: all_are_put(comfy.output, 3))
            main.kill()
        comfy.kill()
        before = tables_of(comfy)
        assert run_of_main(comfy) == []
        assert tables_of(comfy) == before
        comfy.start()
        assert sorted(task["row_number"] for task in run_of_main(comfy)) == [2, 3, 4]
    assert {number: pictures(comfy, number) for number in (2, 3, 4)} == {2: 1, 3: 1, 4: 1}


def tables_of(comfy: Comfy) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (comfy.table / "active").iterdir()}


def run_of_main(comfy: Comfy) -> list[dict[str, Any]]:
    recovery = bridge.TaskRecoveryManager(bridge.DatabaseManager(comfy.output), bridge.ComfyUIClient(comfy.url))

    async def run() -> list[dict[str, Any]]:
        return [*await recovery.check_and_recover_tasks(), *await recovery.wait_until_done()]

    return asyncio.run(run())


class GoesDown(bridge.ComfyUIClient):
    """Its ComfyUI is killed when it is asked about the first prompt; `answers`: when it has answered that."""

    def __init__(self, comfy: Comfy, *, answers: bool = True) -> None:
        super().__init__(comfy.url)
        self._comfy, self._answers, self._kills, self.in_vain = comfy, answers, True, 0

    async def look_up(self, prompt_id: str) -> Any:
        if self._kills and not self._answers:
            await self._kill()
        self.in_vain += not self._comfy.running
        seen = await super().look_up(prompt_id)
        if self._kills:
            await self._kill()
        return seen

    async def plugin_status(self) -> Any:
        self.in_vain += not self._comfy.running
        return await super().plugin_status()

    async def _kill(self) -> None:
        self._kills = False
        await asyncio.to_thread(self._comfy.kill)


@pytest.mark.parametrize(("plugin", "answers"), [(True, True), (False, True), (True, False)])
def test_comfyui_that_goes_down_in_a_recovery_is_waited_for(plugin: bool, answers: bool, tmp_path: Path) -> None:
    """What was then undecided ended with the run; nobody followed it, and `main.py` said that all was well."""
    with Comfy(tmp_path / "comfyui") as comfy:
        if not plugin:
            without_plugin(comfy)
        output, rows = tmp_path / "output", range(2, 5)
        left_behind(comfy, output, rows)
        client = GoesDown(comfy, answers=answers)
        recovery = bridge.TaskRecoveryManager(bridge.DatabaseManager(output), client)

        async def run() -> list[dict[str, Any]]:
            assert await recovery.check_and_recover_tasks() == []
            known = client.in_vain
            waiting = asyncio.create_task(recovery.wait_until_done())
            await asyncio.to_thread(until, lambda: client.in_vain > known)
            await asyncio.to_thread(comfy.start)
            return await waiting

        assert sorted(task["row_number"] for task in asyncio.run(run())) == list(rows)
        assert {number: pictures(comfy, number) for number in rows} == dict.fromkeys(rows, 1)


def test_comfyui_that_goes_down_for_good_is_not_waited_for_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manager, "BACK_SECONDS", 3.0)
    with Comfy(tmp_path / "comfyui") as comfy:
        output, rows = tmp_path / "output", range(2, 4)
        left_behind(comfy, output, rows)
        db, client = bridge.DatabaseManager(output), GoesDown(comfy, answers=False)
        recovery = bridge.TaskRecoveryManager(db, client)

        async def run() -> list[dict[str, Any]]:
            assert await recovery.check_and_recover_tasks() == []
            known = client.in_vain
            ended = await recovery.wait_until_done()
            assert client.in_vain > known + 1, "it was waited for"
            return ended

        assert asyncio.run(run()) == []
        assert len(db.get_incomplete_tasks()) == len(rows)


def test_what_comfyui_did_not_answer_for_is_asked_about_again_at_each_call(tmp_path: Path) -> None:
    """A batch that reads the sheet until no row is open calls it again and again."""
    with Comfy(tmp_path / "comfyui") as comfy:
        output, rows = tmp_path / "output", range(2, 5)
        left_behind(comfy, output, rows)
        recovery = bridge.TaskRecoveryManager(bridge.DatabaseManager(output), bridge.ComfyUIClient(comfy.url))

        async def run() -> list[dict[str, Any]]:
            await asyncio.to_thread(comfy.kill)
            assert await recovery.check_and_recover_tasks() == []
            assert await recovery.wait_until_done() == []
            assert await recovery.wait_until_done() == []
            await asyncio.to_thread(comfy.start)
            for _ in range(int(PATIENCE)):
                if ended := await recovery.wait_until_done():
                    return ended
                await asyncio.sleep(1)
            return []

        assert sorted(task["row_number"] for task in asyncio.run(run())) == list(rows)
        assert {number: pictures(comfy, number) for number in rows} == dict.fromkeys(rows, 1)


def left_behind(comfy: Comfy, output: Path, rows: range) -> None:
    """By a `main.py` that was killed when it had sent all of them; it has a table of its own."""
    with Main(comfy.url, output, rows, seconds=3) as main:
        until(lambda: all_are_put(output, len(rows)))
        main.kill()


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("host", ONE_HOST)
def test_comfyui_comes_back_without_the_plugin(host: str | int, tmp_path: Path) -> None:
    """Who follows its rows renders them then; what ended in good order still counts for nothing."""
    with Comfy(tmp_path / "comfyui", host) as comfy, Main(comfy.url, comfy.output, range(2, 6), seconds=600) as main:
        until(lambda: all_are_put(comfy.output, 4))
        until(lambda: Stage.RUNNING in {task.stage for task in records(comfy.output).values()})
        by_term(comfy)
        looks_in_vain(comfy)
        without_plugin(comfy)
        until(lambda: len(comfy.pending()) == 4)
        until(lambda: Stage.RUNNING in {task.stage for task in records(comfy.output).values() if not task.queue.boot})
        assert sorted(task.attempts for task in records(comfy.output).values()) == [0, 0, 0, 1]
        main.kill()
