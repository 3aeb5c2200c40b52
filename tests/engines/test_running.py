"""`bridge.run`: one loop for a program that is not asynchronous."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import preloaded
import pytest
from cloud_support import WORKFLOW

from wfrecovery import bridge
from wfrecovery.bridge import running
from wfrecovery.demo.runninghub_host.stand_in import RunningHubStandIn, Workflow, shows

ROWS = 4


def test_its_result_and_its_error_come_back() -> None:
    async def one() -> int:
        await asyncio.sleep(0)
        return 1

    async def fails() -> None:
        raise KeyError("x")

    assert bridge.run(one()) == 1
    with pytest.raises(KeyError):
        bridge.run(fails())


def test_what_was_begun_goes_on_between_two_calls() -> None:
    ended = threading.Event()

    async def later() -> None:
        await asyncio.sleep(0.01)
        ended.set()

    async def begin() -> asyncio.Task[None]:
        return asyncio.create_task(later())

    task = bridge.run(begin())
    assert ended.wait(60)
    assert bridge.run(_result(task)) is None


async def _result(task: asyncio.Task[None]) -> None:
    return await task


def test_context_variables_are_the_caller_s_before_and_after() -> None:
    variable: ContextVar[str] = ContextVar("variable")

    async def see_and_set(value: str) -> str:
        await asyncio.sleep(0)
        seen = variable.get()
        variable.set(value)
        return seen

    def thread(name: str) -> tuple[str, str]:
        variable.set(f"before {name}")
        return bridge.run(see_and_set(f"after {name}")), variable.get()

    with ThreadPoolExecutor(8) as pool:
        for name, told in zip("abcdefgh", pool.map(thread, "abcdefgh"), strict=True):
            assert told == (f"before {name}", f"after {name}")
    assert variable.get("never here") == "never here"


def test_inside_a_running_loop_it_says_so() -> None:
    async def wrong() -> None:
        bridge.run(asyncio.sleep(0))

    with pytest.raises(RuntimeError, match="await"):
        asyncio.run(wrong())


def test_a_forked_child_has_a_loop_of_its_own() -> None:
    bridge.run(asyncio.sleep(0))
    pid = os.fork()
    if pid == 0:
        bridge.run(asyncio.sleep(0))
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7


def program(text: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", f"import asyncio\nfrom wfrecovery import bridge\n{text}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_ctrl_c_cancels_what_is_awaited_and_the_program_lives_on() -> None:
    with program(
        """
async def long():
    print("begun", flush=True)
    try:
        await asyncio.sleep(600)
    finally:
        print("put away", flush=True)
try:
    bridge.run(long())
except KeyboardInterrupt:
    print("heard", flush=True)
print(bridge.run(asyncio.sleep(0, "menu")), flush=True)
"""
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "begun\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
        assert (out, err, process.returncode) == ("put away\nheard\nmenu\n", "", 0)


@pytest.mark.parametrize("has_begun", [True, False])
def test_ctrl_c_in_the_moment_in_which_it_begins(has_begun: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    begins, put_away = threading.Event(), threading.Event()
    begin = running._Background.begin

    async def long() -> None:
        begins.set()
        try:
            await asyncio.sleep(600)
        finally:
            put_away.set()

    def interrupted(*arguments: Any) -> None:
        if has_begun:
            begin(*arguments)
            assert begins.wait(60)
        raise KeyboardInterrupt

    monkeypatch.setattr(running._Background, "begin", interrupted)
    awaited = long()
    with pytest.raises(KeyboardInterrupt):
        bridge.run(awaited)
    assert (begins.is_set(), put_away.is_set()) == (has_begun, has_begun)
    awaited.close()
    monkeypatch.undo()
    assert bridge.run(asyncio.sleep(0, "menu")) == "menu"


def test_what_ends_the_program_ends_it_and_nobody_waits_for_ever() -> None:
    """A client of theirs calls `sys.exit`, which asyncio lets out of its loop; a program that catches that lives on."""
    with program(
        """
import sys
async def ends():
    sys.exit(3)
async def long():
    await asyncio.sleep(0.01)
    return "lives on"
async def begin():
    global task
    task = asyncio.create_task(long())
bridge.run(begin())
try:
    bridge.run(ends())
except SystemExit:
    print(bridge.run(asyncio.wait_for(task, 60)), flush=True)
bridge.run(ends())
"""
    ) as process:
        out, err = process.communicate(timeout=120)
        assert (out, err, process.returncode) == ("lives on\n", "", 3)


def test_at_the_program_s_end_what_runs_is_put_away() -> None:
    with program(
        """
async def long():
    try:
        await asyncio.sleep(600)
    finally:
        print("put away", flush=True)
async def begin():
    global task
    task = asyncio.create_task(long())
    await asyncio.sleep(0.01)
bridge.run(begin())
"""
    ) as process:
        out, err = process.communicate(timeout=120)
        assert (out, err, process.returncode) == ("put away\n", "", 0)


@pytest.mark.parametrize("kill", ["2 entered", "3 submitted", "4 entered", "recovered"])
def test_a_plain_program_with_threads_killed_and_started_again(kill: str, tmp_path: Path) -> None:
    here = Path(__file__).parent
    with RunningHubStandIn({WORKFLOW: Workflow(nodes={"6": ("text",)}, seconds=0.1)}) as cloud:

        def runs(kill: str) -> int:
            command = [sys.executable, str(here / "plain_program.py"), cloud.url, cloud.api_key]
            environment = {**os.environ, "PYTHONPATH": str(here), "WFRECOVERY_OUTPUT": str(tmp_path)}
            given = [str(tmp_path), str(ROWS), kill]
            return preloaded.run([*command, *given], env=environment, timeout=300).returncode

        assert runs(kill) == -signal.SIGKILL
        codes = [runs(""), runs("")]
        assert codes[-1] == 0
        db = bridge.DatabaseManager(tmp_path)
        tasks = [task for task in map(db.table.get, db.table.ids()) if task.stage is not bridge.Stage.FAILED]
        assert sorted(task.row_number or 0 for task in tasks) == list(range(2, 2 + ROWS))
        for task in tasks:
            paid = cloud.paid(f"row {task.row_number}")
            if task.stage is bridge.Stage.ASKING:  # another thread was inside the create call
                assert paid <= 1
            else:
                assert (task.stage, paid) == (bridge.Stage.FINISHED, 1)
                assert shows((tmp_path / task.output_files[0]).read_bytes(), f"row {task.row_number}")
