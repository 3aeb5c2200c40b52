"""Whose the tasks are: what the command line says of main.py and of several ComfyUIs, and how it takes over."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_support import NOWHERE, ROOT, died, living, wfrecovery
from plugin_support import until

from wfrecovery import bridge
from wfrecovery.bridge.standstill.note import Note, Told
from wfrecovery.bridge.table.values import OwnerKind
from wfrecovery.demo.launch import ComfyProcess


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyProcess]:
    """A ComfyUI without the plugin."""
    with ComfyProcess(tmp_path_factory.mktemp("bare")) as process:
        yield process


@pytest.fixture
def comfy(tmp_path: Path) -> Iterator[ComfyProcess]:
    """One with it, whose output folder is main.py's, too."""
    with ComfyProcess(tmp_path, plugins=[ROOT]) as process:
        yield process


def stages(folder: Path) -> set[str]:
    return {task.stage.value for task in bridge.DatabaseManager(folder / "output").table.active()}


# ---------------------------------------------------------------------- main.py's own table


def test_what_stands_still_is_said_by_the_status(bare: ComfyProcess, tmp_path: Path) -> None:
    boot = died(tmp_path / "output")
    assert "at a stand" not in wfrecovery("status", url=bare.url, folder=tmp_path).stdout, "one look shows nothing"
    note = Note(bridge.WorkflowDatabase(tmp_path / "output"))
    note.claim({f"gone:{boot}": Told(since="2026-11-23T10:00:00+08:00")})
    ended = wfrecovery("status", url=bare.url, folder=tmp_path)
    [line] = [line for line in ended.stdout.splitlines() if "at a stand" in line]
    assert "has ended, and 3 tasks wait for it" in line
    ended = wfrecovery("status", "--lang", "zh", url=bare.url, folder=tmp_path)
    assert "停滞" in ended.stdout
    assert "3 个任务在等它" in ended.stdout
    told = json.loads(wfrecovery("status", "--json", url=bare.url, folder=tmp_path).stdout)["main"]["standstill"]
    assert (told["kind"], told["since"].partition("T")[0]) == ("gone", "2026-11-23")
    assert list(note.read()) == [f"gone:{boot}"], "who only looks changes nothing"


def test_what_stands_still_in_comfyuis_table_needs_attention(comfy: ComfyProcess, tmp_path: Path) -> None:
    assert wfrecovery("status", url=comfy.url, folder=tmp_path).returncode == 0
    boot = died(comfy.output)
    Note(bridge.WorkflowDatabase(comfy.output)).claim({f"gone:{boot}": Told()})
    until(lambda: comfy.get("/wfrecovery/status")["standstill"])
    ended = wfrecovery("status", url=comfy.url, folder=tmp_path)
    assert ended.returncode == 1
    assert ended.stdout.count("has ended, and 3 tasks wait for it") == 1


def test_a_comfyui_that_main_py_waits_for_is_said_while_it_does_not_answer(tmp_path: Path) -> None:
    note = Note(bridge.WorkflowDatabase(tmp_path / "output"))
    db = bridge.DatabaseManager(tmp_path / "output", kind=OwnerKind.COMFYUI)
    task = db.add_workflow_task({"row_number": 2, "product_name": "杯"}, "图片合成")
    db.table.update(task, lambda record: record.entering(bridge.Stage.QUEUED))
    db.owners.close()
    note.claim({f"engine:comfyui:{NOWHERE}": Told()})
    ended = wfrecovery("status", url=NOWHERE, folder=tmp_path)
    assert f"ComfyUI at {NOWHERE} does not answer, and 1 task waits for it" in ended.stdout
    assert ended.returncode == 2


def test_who_is_at_work_in_main_pys_table(bare: ComfyProcess, tmp_path: Path) -> None:
    gone = died(tmp_path / "output")
    ended = wfrecovery("status", url=bare.url, folder=tmp_path)
    [line] = [line for line in ended.stdout.splitlines() if gone[:8] in line]
    assert "main.py on " in line
    assert "gone: the next main.py or wfrecovery recover takes over" in line
    assert "3 tasks" in line
    with living(tmp_path / "other" / "output") as boot:
        ended = wfrecovery("status", "--lang", "zh", url=bare.url, folder=tmp_path / "other")
        [line] = [line for line in ended.stdout.splitlines() if boot[:8] in line]
        assert "上的 main.py（进程 " in line
        assert "运行中 · 3 个任务" in line
        told = json.loads(wfrecovery("status", "--json", url=bare.url, folder=tmp_path / "other").stdout)
        [owner] = told["main"]["owners"]
        assert (owner["boot"], owner["kind"], owner["life"], owner["tasks"]) == (boot, "main", "alive", 3)


def test_recover_leaves_a_living_main_py_alone_and_says_so(bare: ComfyProcess, tmp_path: Path) -> None:
    with living(tmp_path / "output") as boot:
        ended = wfrecovery("recover", url=bare.url, folder=tmp_path)
        assert ended.returncode == 0, ended.stderr
        assert "3 tasks are left alone: main.py on " in ended.stdout
        assert f"wfrecovery recover --take-over {boot[:8]}" in ended.stdout
        ended = wfrecovery("recover", "--json", url=bare.url, folder=tmp_path)
        assert ended.returncode == 0, ended.stderr
        told = json.loads(ended.stdout)
        assert [(owner["boot"], owner["tasks"]) for owner in told["left_alone"]] == [(boot, 3)]
        assert told["main"] == []
        assert stages(tmp_path) == {"created"}


def test_a_person_takes_over_from_a_living_main_py(bare: ComfyProcess, tmp_path: Path) -> None:
    with living(tmp_path / "output") as boot:
        ended = wfrecovery("recover", "--take-over", boot[:8], url=bare.url, folder=tmp_path)
        assert ended.returncode == 1, ended.stderr
        assert "3 tasks taken over from main.py on " in ended.stdout
        assert "may be rendered twice" in ended.stdout
        assert ended.stdout.count("lost before it was submitted") == 3
        assert "left alone" not in ended.stdout
        again = wfrecovery("recover", "--take-over", boot, "--json", url=bare.url, folder=tmp_path)
        assert json.loads(again.stdout)["taken_over"] == 0


def test_no_comfyui_is_needed_to_take_over_in_main_pys_table(tmp_path: Path) -> None:
    boot = died(tmp_path / "output")
    ended = wfrecovery("recover", "--take-over", boot[:8], "--json", url=NOWHERE, folder=tmp_path)
    assert json.loads(ended.stdout)["taken_over"] == 3, ended.stderr
    assert ended.returncode == 1, "nothing was recovered: the program that reads this must not believe so"
    assert wfrecovery("recover", url=NOWHERE, folder=tmp_path).returncode == 2


@pytest.mark.parametrize(
    ("owner", "words"),
    [
        ("ffffffff", "no owner is known as 'ffffffff'"),
        ("", "its first 4 characters"),
        ("abc", "its first 4 characters"),
        ("abcd", "'abcd' may mean 2 owners: abcd1111, abcd2222"),
        ("../../etc", "no owner is known"),
    ],
)
def test_whoever_cannot_be_told_is_not_taken_over(tmp_path: Path, owner: str, words: str) -> None:
    with living(tmp_path / "output"):
        for boot in ("abcd1111", "abcd2222"):
            (tmp_path / "output" / "wfrecovery" / "owners" / f"{boot}.json").write_text('{"kind": "main"}')
        ended = wfrecovery("recover", "--take-over", owner, "--json", url=NOWHERE, folder=tmp_path)
        assert ended.returncode == 2
        assert json.loads(ended.stdout)["error"]["type"] == "owner"
        assert words in ended.stderr
        assert stages(tmp_path) == {"created"}


def test_whose_a_task_is_stands_in_the_list(bare: ComfyProcess, tmp_path: Path) -> None:
    with living(tmp_path / "output"):
        titles, first = wfrecovery("tasks", "--local", url=bare.url, folder=tmp_path).stdout.splitlines()[:2]
        assert titles.endswith("OWNER")
        assert "main.py on " in first
    first = wfrecovery("tasks", "--local", url=bare.url, folder=tmp_path).stdout.splitlines()[1]
    assert "(gone) main.py on " in first
    wfrecovery("recover", url=bare.url, folder=tmp_path)
    assert "OWNER" not in wfrecovery("tasks", "--local", url=bare.url, folder=tmp_path).stdout


# ---------------------------------------------------------------------- ComfyUI's table


def test_what_main_py_is_at_work_on_in_comfyuis_table(comfy: ComfyProcess, tmp_path: Path) -> None:
    with living(tmp_path / "output") as boot:
        ended = wfrecovery("status", url=comfy.url, folder=tmp_path)
        assert ended.returncode == 0, ended.stdout
        assert "this ComfyUI" in ended.stdout
        [line] = [line for line in ended.stdout.splitlines() if boot[:8] in line]
        assert "running · 3 tasks" in line
        assert "main.py's table is the same" in ended.stdout
        titles, first = wfrecovery("tasks", url=comfy.url, folder=tmp_path).stdout.splitlines()[:2]
        assert titles.endswith("OWNER")
        assert "main.py on " in first
        ended = wfrecovery("recover", url=comfy.url, folder=tmp_path)
        assert ended.returncode == 0, ended.stderr
        assert "3 tasks are left alone" in ended.stdout
        ours = comfy.get("/wfrecovery/status")["owner"]
        refused = wfrecovery("recover", "--take-over", ours[:8], "--lang", "zh", url=comfy.url, folder=tmp_path)
        assert refused.returncode == 2
        assert "就是要接管的程序本身" in refused.stderr
        ended = wfrecovery("recover", "--take-over", boot[:8], "--json", url=comfy.url, folder=tmp_path)
        assert json.loads(ended.stdout)["taken_over"] == 3
        assert json.loads(ended.stdout)["left_alone"] == []


def test_rows_taken_over_before_they_were_sent_are_the_next_main_pys(comfy: ComfyProcess, tmp_path: Path) -> None:
    with living(tmp_path / "output") as boot:
        wfrecovery("recover", "--take-over", boot[:8], url=comfy.url, folder=tmp_path)
    before = {task.task_id for task in bridge.DatabaseManager(tmp_path / "output").table.active()}
    with living(tmp_path / "output") as boot:
        tasks = list(bridge.DatabaseManager(tmp_path / "output").table.active())
        assert {task.task_id for task in tasks} == before
        assert {task.owner.boot for task in tasks if task.owner is not None} == {boot}


def test_what_comfyui_was_to_render_under_a_former_address_is_taken_over_by_that(
    bare: ComfyProcess, tmp_path: Path
) -> None:
    """It was started on another port, and main.py's rows wait for an address at which nobody answers any more."""
    former = f"comfyui:{NOWHERE}"
    db = bridge.DatabaseManager(tmp_path / "output")
    task_id = db.add_workflow_task({"row_number": 2, "product_name": "杯"}, "图片合成")
    graph = {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 255}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "row2"}},
    }
    prompt_id = bridge.new_prompt_id()
    db.table.write_graph(task_id, {"prompt_id": prompt_id, "prompt": graph})
    sent = {"engine": former, "comfyui_task_id": prompt_id, "owner": None}
    db.table.update(task_id, lambda task: dataclasses.replace(task.entering(bridge.Stage.QUEUED), **sent))
    db.owners.close()
    left = wfrecovery("recover", url=bare.url, folder=tmp_path)
    assert left.returncode == 1
    assert f"wfrecovery recover --take-over {former}" in left.stdout
    assert stages(tmp_path) == {"queued"}
    ended = wfrecovery("recover", "--take-over", former, "--json", url=bare.url, folder=tmp_path)
    assert (ended.returncode, json.loads(ended.stdout)["taken_over"]) == (0, 1), ended.stderr
    task = bridge.DatabaseManager(tmp_path / "output").table.get(task_id)
    assert (task.stage, task.attempts) == (bridge.Stage.FINISHED, 0)
    again = wfrecovery("recover", "--take-over", former, url=bare.url, folder=tmp_path)
    assert f"0 tasks of {former} taken over" in again.stdout
