"""Results of one batch share their way into the sheet, whoever delivers; none waits for one that takes long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from plugin_support import picture, until
from publishing_office import NOTHING, SAME, MainPy, Office, in_the_sheet
from publishing_support import rows

from wfrecovery.demo.feishu_host.stand_in import FeishuStandIn

WHO = pytest.mark.parametrize("plugin", [SAME, NOTHING], ids=["the plugin delivers", "main.py delivers"])
LONG = 600.0


@pytest.fixture
def feishu() -> Iterator[FeishuStandIn]:
    with FeishuStandIn(rows(3)) as stand_in:
        stand_in.limits.sheet_calls_per_second = None
        yield stand_in


@asynccontextmanager
async def none_begins(office: Office) -> AsyncIterator[None]:
    """What is sent meanwhile waits in the queue."""
    await asyncio.to_thread(office.comfy.queue, picture("before", seconds=LONG))
    yield
    await asyncio.to_thread(office.comfy.call, "POST", "/interrupt", json={})


class HastyOffice(Office):
    """Nobody in it waits for more than a second."""

    def environment(self, plugin: str) -> dict[str, str]:
        return {**super().environment(plugin), "WFRECOVERY_GATHER_SECONDS": "1"}


@WHO
def test_the_first_waits_for_the_second_and_one_look_serves_both(
    feishu: FeishuStandIn, tmp_path: Path, plugin: str
) -> None:
    with Office(tmp_path, feishu, plugin=plugin) as office:
        main = MainPy(office, gather_seconds=120)

        async def batch() -> None:
            async with none_begins(office):
                tasks = [await main.enters(2), await main.enters(3, seconds=2.0)]
            await asyncio.gather(*map(main.recovery.finish, tasks))
            await main.recovery.wait_until_done()

        main.does(batch())
        until(lambda: all(office.writes(row) for row in (2, 3)))
        for row in (2, 3):
            main.until_pushed(row)
            office.assert_delivered_once(row)
        calls = [call.operation for call in feishu.calls]
        assert calls.count("values_batch_update") == 1, "the statuses of both"


@WHO
def test_one_that_takes_long_is_not_waited_for(feishu: FeishuStandIn, tmp_path: Path, plugin: str) -> None:
    with HastyOffice(tmp_path, feishu, plugin=plugin) as office:
        main = MainPy(office, gather_seconds=1)

        async def batch() -> None:
            async with none_begins(office):
                tasks = [await main.enters(2), await main.enters(3, seconds=LONG)]
            following = asyncio.create_task(main.recovery.finish(tasks[1]))
            await main.recovery.finish(tasks[0])
            await asyncio.to_thread(until, in_the_sheet(office))
            following.cancel()

        main.does(batch())
        main.until_pushed()
        office.assert_delivered_once()


def test_a_main_py_that_sends_one_row_after_the_other_waits_for_nobody(feishu: FeishuStandIn, tmp_path: Path) -> None:
    """What another run has sent is none of its batch."""
    with Office(tmp_path, feishu, plugin=NOTHING) as office:
        other, main = MainPy(office), MainPy(office, gather_seconds=120)

        async def rows_one_by_one() -> None:
            async with none_begins(office):
                task_id = await main.enters(2)
                await other.enters(4, seconds=LONG)
            await main.recovery.finish(task_id)
            while not office.writes(2):  # the other one may be looking into the sheet just then
                await main.recovery._delivery.publish_in_company()
                assert main.recovery._delivery._later._handle is None, "nothing is to be done later"

        main.does(rows_one_by_one())
        office.assert_delivered_once()


def test_unless_it_is_set_the_result_is_in_the_sheet_when_finish_returns(feishu: FeishuStandIn, tmp_path: Path) -> None:
    """A program may go on with what it reads there."""
    with Office(tmp_path, feishu, plugin=NOTHING) as office:
        main = MainPy(office)

        async def image_then_video() -> None:
            async with none_begins(office):
                task_id = await main.enters(2)
                await main.enters(3, seconds=LONG)
            await main.recovery.finish(task_id)
            assert office.writes(2) == 1

        main.does(image_then_video())
        office.assert_delivered_once()
