"""The numbers of a batch come into the sheet while it is at work: from ComfyUI's plugin, or from main.py."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from plugin_support import Comfy, Start, picture, row, until
from publishing_office import NOTHING, SAME, Office
from publishing_support import rows

from wfrecovery.bridge.recovery import numbering
from wfrecovery.demo.feishu_host.stand_in import DEFAULT_HEADER, Fault, FeishuStandIn

NUMBER = "任务号"
COUNT = 8


@pytest.fixture
def feishu() -> Iterator[FeishuStandIn]:
    with FeishuStandIn(rows(COUNT), header=(*DEFAULT_HEADER, NUMBER)) as stand_in:
        stand_in.limits.sheet_calls_per_second = None
        yield stand_in


def numbers(feishu: FeishuStandIn) -> dict[str, str]:
    """Product → what stands in its column."""
    texts = [feishu.sheet.row_texts(number) for number in range(2, feishu.sheet.last_row + 1)]
    return {row["产品名"]: row[NUMBER] for row in texts if row[NUMBER]}


def entered(comfy: Comfy, number: int, seconds: float = 0.0) -> str:
    tag = {**row(number), "product_name": f"产品{number - 1}", "model_name": f"模特{number - 1}"}
    return comfy.queue(picture(f"row{number}", color=number, seconds=seconds), tag)


def test_the_plugin_numbers_the_rows_of_a_batch_in_one_call_before_they_are_rendered(
    start: Start, feishu: FeishuStandIn
) -> None:
    all_are_entered = threading.Event()
    feishu._gate.pause = lambda _: all_are_entered.wait(120)  # type: ignore[method-assign, assignment, return-value]
    feishu.faults.add(Fault.SLOW_BEFORE, "sheets_query", times=None)  # else a slow batch is numbered bit by bit
    comfy = start(env=feishu.environment())
    prompts = [entered(comfy, number, seconds=600) for number in range(2, COUNT + 2)]
    all_are_entered.set()
    until(lambda: len(numbers(feishu)) == COUNT)
    assert list(numbers(feishu).values()) == [comfy.record(prompt)["task_id"] for prompt in prompts]
    assert feishu.count("values_batch_update") <= 2


def test_main_py_numbers_the_rows_of_a_batch_in_one_call_beside_its_work(
    tmp_path: Path, feishu: FeishuStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(numbering, "GATHER_SECONDS", 3.0)  # a busy machine needs longer for a row
    with Office(tmp_path, feishu, plugin=NOTHING) as office:
        run = office.main_py()

        async def all_rows() -> list[str]:
            entered = [run.enters(number, seconds=600) for number in range(2, COUNT + 2)]
            task_ids = list(await asyncio.gather(*entered))
            while len(numbers(feishu)) < COUNT:  # noqa: ASYNC110 - another process writes there
                await asyncio.sleep(0.05)
            return task_ids

        (task_ids,) = run.does(asyncio.wait_for(all_rows(), 120))
        assert sorted(numbers(feishu).values()) == sorted(task_ids)
        assert feishu.count("values_batch_update") <= 2
        assert not any(run.record(number).stage.final for number in range(2, COUNT + 2))


def test_where_the_plugin_delivers_the_number_is_its_own_and_written_once(
    tmp_path: Path, feishu: FeishuStandIn
) -> None:
    with Office(tmp_path, feishu, plugin=SAME) as office:
        entered(office.comfy, 9)  # so that the two tables do not count alike
        office.main_py().does(office.main_py().enters(2, seconds=600))
        until(lambda: "产品1" in numbers(feishu))
        assert numbers(feishu)["产品1"] == office.theirs(2)["task_id"]


@pytest.mark.parametrize("fault", [Fault.SLOW_BEFORE, Fault.RESET_BEFORE])
def test_a_number_that_cannot_be_written_delays_no_task(start: Start, feishu: FeishuStandIn, fault: Fault) -> None:
    feishu.faults.add(fault, "values_batch_update", times=1, seconds=8)
    comfy = start(env=feishu.environment())
    prompt = entered(comfy, 2, seconds=2)
    assert comfy.finished(prompt)["status"] == "已完成"
    until(lambda: comfy.record(prompt)["metadata"]["feishu"]["state"] == "pushed")
    assert feishu.sheet.row_texts(2)["图片是否已处理"] == "已完成"
