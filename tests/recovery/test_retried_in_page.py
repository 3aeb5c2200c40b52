"""A row that main.py has given up, and a person has had rendered again in ComfyUI's page: it is paid for once more, not
twice."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from publishing_office import OTHER, SAME, MainPy, Office
from publishing_support import rows

from wfrecovery.demo.feishu_host.stand_in import FeishuStandIn


@pytest.fixture
def feishu() -> Iterator[FeishuStandIn]:
    with FeishuStandIn(rows(3)) as stand_in:
        stand_in.limits.sheet_calls_per_second = None
        yield stand_in


async def cancelled(run: MainPy, office: Office) -> tuple[str, str]:
    """A row that a person has cancelled in the page while it was rendered: its prompt, and the plugin's task."""
    task_id = await run.enters(2, gate="retried")
    prompt = str(run.record().comfyui_task_id)
    theirs = str(office.comfy.record(prompt)["task_id"])
    await asyncio.to_thread(office.comfy.until_stage, prompt, "running")
    await asyncio.to_thread(office.comfy.act, theirs, "cancel")
    ended = await run.recovery.finish(task_id)
    assert (ended["status"], ended["metadata"]["stage"]) == ("失败", "cancelled")
    return prompt, theirs


@pytest.mark.parametrize("plugin", [OTHER, SAME], ids=["main.py delivers", "the plugin delivers"])
@pytest.mark.parametrize("when", ["rendered", "restarted", "under way"])
def test_what_was_retried_in_the_page_goes_on_in_the_next_run(
    feishu: FeishuStandIn, tmp_path: Path, plugin: str, when: str
) -> None:
    with Office(tmp_path, feishu, plugin=plugin) as office:
        run = office.main_py()
        ((prompt, theirs),) = run.does(cancelled(run, office))
        assert office.comfy.act(theirs, "retry").status_code == 202
        if when != "under way":
            office.comfy.open_gate("retried")
            office.comfy.finished(prompt)
        if when == "restarted":
            office.restart(plugin)
        again = office.main_py()

        async def next_run() -> list[int]:
            await again.recovery.check_and_recover_tasks()
            open_rows = [row for row in again._rows() if row.status == "否"]
            to_do = [row.row_number for row in again.recovery.rows_to_do(open_rows, "图片合成")]
            office.comfy.open_gate("retried")
            await again.recovery.wait_until_done()
            return to_do

        (to_do,) = again.does(next_run())
        assert to_do == [3, 4]
        again.until_pushed()
        assert again.record().stage.value == "finished"
        office.assert_delivered_once()
        assert len(office.rendered()) == 1
        revision = again.record().revision
        last = office.main_py()
        last.does(last.recovery.check_and_recover_tasks())
        assert last.record().revision == revision


def test_what_nobody_has_retried_stays_as_it_ended(feishu: FeishuStandIn, tmp_path: Path) -> None:
    with Office(tmp_path, feishu, plugin=OTHER) as office:
        run = office.main_py()
        run.does(cancelled(run, office))
        before = run.record()
        again = office.main_py()
        again.does(again.recovers())
        assert again.record() == before
        assert 2 in [row.row_number for row in again.recovery.rows_to_do(again._rows(), "图片合成")]
