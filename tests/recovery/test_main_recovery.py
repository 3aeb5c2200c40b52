"""main.py's side: killed after it submitted, it takes everything over at its next start, and submits nothing twice."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import preloaded
import pytest

from wfrecovery import bridge
from wfrecovery.bridge.results.whole import why_not_whole
from wfrecovery.demo.feishu_host.stand_in import FeishuStandIn
from wfrecovery.demo.launch import ComfyProcess

ROOT = Path(__file__).parents[2]
RENDER_NODES = ROOT / "demo" / "render_nodes"
ROWS = range(2, 7)

#: A main.py that submits five rows and is killed before any of them is done.
KILLED_MAIN = """
import asyncio, os, signal, sys
from wfrecovery import bridge

def workflow(row):
    if sys.argv[3] == "core":
        return {
            "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 48, "batch_size": 1, "color": row}},
            "3": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": f"wf/row{row}"}},
        }
    return {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 48, "batch_size": 1, "color": row}},
        "2": {"class_type": "WfrSleep", "inputs": {"image": ["1", 0], "seconds": 0.4}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": f"wf/row{row}"}},
    }

async def main():
    db, comfy = bridge.DatabaseManager(sys.argv[2]), bridge.ComfyUIClient(sys.argv[1])
    recovery = bridge.TaskRecoveryManager(db, comfy)
    for number in range(2, 7):
        row = bridge.RowData(row_number=number, product_name=f"产品{number}", model_name="模特", prompt=f"p{number}")
        await recovery.submit(db.add_workflow_task(row, bridge.WorkflowType.IMAGE_COMPOSITION), workflow(number))
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


@pytest.fixture(params=[True, False], ids=["with the plugin", "without the plugin"])
def comfy(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ComfyProcess]:
    plugins = [ROOT, RENDER_NODES] if request.param else [RENDER_NODES]
    with ComfyProcess(tmp_path / "comfyui", plugins=plugins) as process:
        yield process


def submit_and_die(comfy: ComfyProcess, output: Path, nodes: str = "a pack's") -> None:
    ended = preloaded.run([sys.executable, "-c", KILLED_MAIN, comfy.url, str(output), nodes], env=os.environ)
    assert ended.returncode == -signal.SIGKILL


async def recover(comfy: ComfyProcess, output: Path, *, restart: bool = False) -> list[dict[str, object]]:
    """Written against nothing but the documented names."""
    db = bridge.DatabaseManager(output)
    client = bridge.ComfyUIClient(comfy.url)
    recovery = bridge.TaskRecoveryManager(db, client)
    recovered = await recovery.check_and_recover_tasks()
    if restart:
        await asyncio.to_thread(comfy.kill)
        await asyncio.to_thread(comfy.restart)
    recovered += await recovery.wait_until_done()
    return recovered


def assert_all_there_once(comfy: ComfyProcess, output: Path, recovered: list[dict[str, object]]) -> None:
    assert sorted(task["row_number"] for task in recovered) == list(ROWS)
    assert {task["status"] for task in recovered} == {"已完成"}
    for row in ROWS:
        rendered = [path for path in (comfy.output / "wf").glob(f"row{row}_*.png") if why_not_whole(path) is None]
        assert len(rendered) == 1
        assert len(list((output / "img").glob(f"*/产品{row}_模特_*.png"))) == 1
    assert not list(output.rglob("*.part*"))


def test_the_next_start_fetches_all_five_and_submits_none_again(comfy: ComfyProcess, tmp_path: Path) -> None:
    submit_and_die(comfy, tmp_path / "output")
    recovered = asyncio.run(recover(comfy, tmp_path / "output"))
    assert_all_there_once(comfy, tmp_path / "output", recovered)
    assert asyncio.run(recover(comfy, tmp_path / "output")) == []


def test_comfyui_dies_as_well_while_main_py_follows(comfy: ComfyProcess, tmp_path: Path) -> None:
    submit_and_die(comfy, tmp_path / "output")
    recovered = asyncio.run(recover(comfy, tmp_path / "output", restart=True))
    assert sorted(task["row_number"] for task in recovered) == list(ROWS)
    assert {task["status"] for task in recovered} == {"已完成"}


def test_without_comfyui_nothing_is_lost_and_the_batch_goes_on(tmp_path: Path) -> None:
    with ComfyProcess(tmp_path / "comfyui", plugins=[RENDER_NODES]) as comfy:
        submit_and_die(comfy, tmp_path / "output")
        comfy.kill()
        assert asyncio.run(recover(comfy, tmp_path / "output")) == []
        assert len(bridge.DatabaseManager(tmp_path / "output").get_incomplete_tasks()) == len(ROWS)


def test_a_task_that_never_left_is_failed_and_its_row_is_free(tmp_path: Path) -> None:
    db = bridge.DatabaseManager(tmp_path / "output")
    row = bridge.RowData(row_number=3, product_name="产品", model_name="模特")
    task_id = db.add_workflow_task(row, "图片合成")
    recovery = bridge.TaskRecoveryManager(db, bridge.ComfyUIClient("http://127.0.0.1:9"))
    recovered = asyncio.run(recovery.check_and_recover_tasks())
    assert [(task["task_id"], task["status"]) for task in recovered] == [(task_id, "失败")]
    assert "lost before it was submitted" in recovered[0]["error_message"]
    assert recovery.rows_to_do([row], "图片合成") == [row]
    assert db.add_workflow_task(row, "图片合成") != task_id


def test_one_task_can_be_recovered_by_itself(comfy: ComfyProcess, tmp_path: Path) -> None:
    submit_and_die(comfy, tmp_path / "output")
    db = bridge.DatabaseManager(tmp_path / "output")
    recovery = bridge.TaskRecoveryManager(db, bridge.ComfyUIClient(comfy.url))
    task = db.get_incomplete_tasks_by_type(bridge.WorkflowType.IMAGE_COMPOSITION)[0]
    assert asyncio.run(recovery.recover_image_composition_task(task)) is True
    with pytest.raises(ValueError, match="图片合成, not 图生视频"):
        asyncio.run(recovery.recover_image_to_video_task(task))


def test_a_row_at_work_is_skipped(tmp_path: Path) -> None:
    db = bridge.DatabaseManager(tmp_path)
    busy = bridge.RowData(row_number=3, product_name="产品", model_name="模特", prompt="a")
    free = bridge.RowData(row_number=4, product_name="产品", model_name="模特", prompt="b")
    db.add_workflow_task(busy, "图片合成")
    recovery = bridge.TaskRecoveryManager(db, bridge.ComfyUIClient("http://127.0.0.1:9"))
    assert recovery.rows_to_do([busy, free], "图片合成") == [free]
    assert recovery.rows_to_do([busy, free], "图生视频") == [busy, free]


def test_a_refused_graph_fails_its_task_with_comfyui_s_reason(comfy: ComfyProcess, tmp_path: Path) -> None:
    db = bridge.DatabaseManager(tmp_path / "output")
    recovery = bridge.TaskRecoveryManager(db, bridge.ComfyUIClient(comfy.url))
    task_id = db.add_workflow_task({"row_number": 2, "product_name": "产品", "model_name": "模特"}, "图片合成")
    assert asyncio.run(recovery.submit(task_id, {"1": {"class_type": "NoSuchNode", "inputs": {}}})) is None
    assert db.get_task(task_id)["status"] == "失败"
    assert "NoSuchNode" in db.get_task(task_id)["error_message"]


def test_a_result_that_lies_in_a_shared_output_folder_is_taken_over(tmp_path: Path) -> None:
    """ComfyUI without the plugin forgets everything when it restarts; the finished files tell whose they are."""
    with ComfyProcess(tmp_path / "comfyui", plugins=[RENDER_NODES]) as comfy:
        submit_and_die(comfy, comfy.output, "core")
        render_all_and_restart(comfy)
        recovered = asyncio.run(recover(comfy, comfy.output))
        assert sorted(task["output_files"] for task in recovered) == [[f"wf/row{row}_00001_.png"] for row in ROWS]
        assert len(list((comfy.output / "wf").iterdir())) == len(ROWS)


def test_a_result_of_nodes_that_nobody_knows_is_rendered_again(tmp_path: Path) -> None:
    """Without the plugin nobody has heard that the saver had ended: one picture may be the first of three."""
    with ComfyProcess(tmp_path / "comfyui", plugins=[RENDER_NODES]) as comfy:
        submit_and_die(comfy, comfy.output)
        render_all_and_restart(comfy)
        recovered = asyncio.run(recover(comfy, comfy.output))
        assert sorted(task["output_files"] for task in recovered) == [[f"wf/row{row}_00002_.png"] for row in ROWS]


def render_all_and_restart(comfy: ComfyProcess) -> None:
    client = bridge.ComfyUIClient(comfy.url)
    prompts = [task["comfyui_task_id"] for task in bridge.DatabaseManager(comfy.output).get_incomplete_tasks()]
    asyncio.run(client.wait_for_completion(prompts[-1]))
    comfy.kill()
    comfy.restart()


def test_what_the_plugin_delivers_is_not_pushed_by_main_py_while_comfyui_is_down(tmp_path: Path) -> None:
    with FeishuStandIn(
        rows=[{"产品名": f"产品{row}", "模特名": "模特", "提示词": f"p{row}"} for row in ROWS]
    ) as feishu:
        settings = bridge.load_settings(environ=feishu.environment())
        with ComfyProcess(tmp_path / "c", plugins=[ROOT, RENDER_NODES], env=feishu.environment()) as comfy:
            submit_and_die(comfy, tmp_path / "output")
            db = bridge.DatabaseManager(tmp_path / "output")
            recovery = bridge.TaskRecoveryManager(
                db, bridge.ComfyUIClient(comfy.url), bridge.FeishuClient.from_settings(settings)
            )

            async def story() -> None:
                await recovery.check_and_recover_tasks()
                await recovery.wait_until_done()
                comfy.kill()
                await recovery.publish()

            asyncio.run(story())
            writes = feishu.count("values_image")
            comfy.restart()
            asyncio.run(recovery.check_and_recover_tasks())
        assert writes <= len(ROWS)
        pushed = [write.row_texts["产品名"] for write in feishu.sheet.picture_writes]
        assert len(pushed) == len(set(pushed))


@pytest.mark.parametrize("state", ["pushed", "blocked", "off"])
def test_how_the_plugin_of_another_machine_delivered_is_taken_over(tmp_path: Path, state: str) -> None:
    """Also that a newer result of the row took its place: else it would wait here for ever, and its row with it."""
    entry = {"state": state, "last_error": "gone", "last_error_zh": "没有了", "superseded_by": "img_20261123_002"}

    class Elsewhere(bridge.ComfyUIClient):
        async def plugin_status(self) -> dict[str, Any]:
            return {"boot_id": "another", "feishu": {"configured": True}}

        async def plugin_task(self, prompt_id: str) -> dict[str, Any]:
            return {"row_number": 3, "metadata": {"feishu": entry}}

    db = bridge.DatabaseManager(tmp_path)
    row = bridge.RowData(3, product_name="产品3", model_name="模特")
    task_id = db.add_workflow_task(row, "图片合成", "0a4e6c3e-5a0b-4d4c-9a60-000000000001")
    db.complete_task(task_id, ["a.png"])
    recovery = bridge.TaskRecoveryManager(db, Elsewhere("http://127.0.0.1:9"))
    asyncio.run(recovery.publish())
    assert not db.unpushed()
    delivery = db.table.get(task_id).outbox
    assert (delivery.state.value, delivery.last_error_zh) == (state, "没有了")


def test_a_task_in_a_shared_table_whose_request_never_arrived_is_sent(tmp_path: Path) -> None:
    """Entered with its graph, then everything died before the request left; the plugin shares the table."""
    with ComfyProcess(tmp_path / "comfyui", plugins=[ROOT, RENDER_NODES]) as comfy:
        comfy.kill()
        submit_and_die(comfy, comfy.output)
        comfy.restart()
        recovered = asyncio.run(recover(comfy, comfy.output))
        assert sorted(task["row_number"] for task in recovered) == list(ROWS)
        assert {task["status"] for task in recovered} == {"已完成"}
        assert len(list((comfy.output / "wf").iterdir())) == len(ROWS)


def test_a_task_is_submitted_once_however_often_that_is_asked_for(comfy: ComfyProcess, tmp_path: Path) -> None:
    db = bridge.DatabaseManager(tmp_path / "output")
    recovery = bridge.TaskRecoveryManager(db, bridge.ComfyUIClient(comfy.url))
    task_id = db.add_workflow_task({"row_number": 2, "product_name": "产品", "model_name": "模特"}, "图片合成")
    graph = {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "once"}},
    }

    async def story() -> None:
        first = await recovery.submit(task_id, graph)
        assert await recovery.submit(task_id, graph) == first
        assert (await recovery.finish(task_id))["status"] == "已完成"
        assert await recovery.submit(task_id, graph) == first

    asyncio.run(story())
    assert len(list(comfy.output.glob("once_*.png"))) == 1


def test_killed_between_graph_and_prompt_id_the_task_is_sent_all_the_same(comfy: ComfyProcess, tmp_path: Path) -> None:
    db = bridge.DatabaseManager(tmp_path / "output")
    task_id = db.add_workflow_task({"row_number": 2, "product_name": "产品", "model_name": "模特"}, "图片合成")
    graph = {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "between"}},
    }
    prompt_id = bridge.new_prompt_id()
    db.table.write_graph(task_id, {"prompt_id": prompt_id, "prompt": graph})
    recovered = asyncio.run(recover(comfy, tmp_path / "output"))
    assert [(task["status"], task["comfyui_task_id"]) for task in recovered] == [("已完成", prompt_id)]
    assert len(list(comfy.output.glob("between_*.png"))) == 1


def test_a_prompt_that_is_gone_and_has_no_graph_leaves_its_row_s_cell_alone(
    comfy: ComfyProcess, tmp_path: Path
) -> None:
    db = bridge.DatabaseManager(tmp_path / "output")
    row = {"row_number": 2, "product_name": "产品", "model_name": "模特"}
    db.add_workflow_task(row, "图片合成", bridge.new_prompt_id())
    (task,) = asyncio.run(recover(comfy, tmp_path / "output"))
    assert (task["status"], task["metadata"]["feishu"]["state"]) == ("失败", "off")


def test_a_second_table_object_leaves_alone_what_the_first_one_is_about_to_submit(
    comfy: ComfyProcess, tmp_path: Path
) -> None:
    """Also in one and the same asyncio task: what it has entered into the one it may go on with."""
    graph = {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "second"}},
    }

    async def story() -> None:
        first, second = (bridge.DatabaseManager(tmp_path / "output") for _ in range(2))
        client = bridge.ComfyUIClient(comfy.url)
        at_work = bridge.TaskRecoveryManager(first, client)
        task_id = first.add_workflow_task({"row_number": 2, "product_name": "产品", "model_name": "模特"}, "图片合成")
        assert await bridge.TaskRecoveryManager(second, client).check_and_recover_tasks() == []
        assert await at_work.submit(task_id, graph)
        assert (await at_work.finish(task_id))["status"] == "已完成"

    asyncio.run(story())
