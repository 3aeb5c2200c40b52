"""A sheet, a ComfyUI with the plugin, and a `main.py` in the test's own process: who of them delivers.

What is delivered is told by the stand-in of Feishu alone: how often a picture was written into a row, and which.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from plugin_support import Comfy, picture, until
from publishing_support import PICTURE, STATUS, rows

from wfrecovery import bridge
from wfrecovery.bridge.engines import in_use
from wfrecovery.bridge.recovery import delivering
from wfrecovery.demo.feishu_host.stand_in import FeishuStandIn, Picture

GRAPH_SECONDS = 0.3
OTHER_SHEET = "另一张"
#: What the plugin is set to.
SAME, OTHER, NOTHING = "the same document", "another document", "nothing"


class Clock:
    """For how long somebody was out of reach; moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Office:
    """The parts, and what may happen to them."""

    def __init__(self, base: Path, feishu: FeishuStandIn, *, shared: bool = False, plugin: str = SAME) -> None:
        self.base, self.feishu, self.shared = base, feishu, shared
        if feishu.spreadsheet.by_title(OTHER_SHEET) is None:
            feishu.add_sheet(OTHER_SHEET, rows(3))
        self.comfy = Comfy(base / "comfyui", env=self.environment(plugin))
        self.folder = self.comfy.output if shared else base / "output"
        self.clock = Clock()
        self._patch = pytest.MonkeyPatch()

    def __enter__(self) -> Office:
        self._patch.setattr(in_use, "ASK_SECONDS", 120.0)  # who is there answers, however busy the machine
        self.comfy.__enter__()
        until(lambda: self.comfy.status()["table_id"], what="a table with a name")
        return self

    def __exit__(self, *error: Any) -> None:
        self._patch.undo()
        self.comfy.__exit__(*error)

    def environment(self, plugin: str) -> dict[str, str]:
        """For the plugin."""
        known = self.feishu.environment()
        if plugin == NOTHING:
            return {name: value for name, value in known.items() if not name.startswith("FEISHU_")}
        return {**known, "FEISHU_SHEET_NAME": OTHER_SHEET} if plugin == OTHER else known

    def main_py(self, *, configured: bool = True, comfy: Any = None) -> MainPy:
        """A new run, as after the one before has ended or was killed."""
        return MainPy(self, configured=configured, comfy=comfy)

    # ------------------------------------------------------------------ ComfyUI

    def restart(self, plugin: str = SAME) -> None:
        """Also where it has ended; it may be set to something else by now."""
        self.comfy.env = self.environment(plugin)
        self.comfy.restart()
        self.comfy.recovered()

    def theirs(self, row: int = 2) -> dict[str, Any]:
        """The plugin's record of a row."""
        (record,) = [record for record in self.comfy.records() if record["row_number"] == row]
        return record

    def settled(self, row: int = 2) -> dict[str, Any]:
        """The same, when the plugin has nothing more to do with it."""
        until(lambda: _state(self.theirs(row)) != "pending", what=f"the plugin's end\n{self.comfy.log()[-3000:]}")
        return self.theirs(row)

    # ------------------------------------------------------------------ the sheet

    def writes(self, row: int = 2) -> int:
        """How often a picture was written into a row."""
        product = f"产品{row - 1}"
        return sum(write.row_texts["产品名"] == product for write in self.feishu.sheet.picture_writes)

    def rendered(self, row: int = 2) -> set[str]:
        """What ComfyUI has made for a row, by content."""
        return {hashlib.sha256(path.read_bytes()).hexdigest() for path in self.comfy.whole_pictures(f"row{row}_*.png")}

    def assert_delivered_once(self, row: int = 2) -> None:
        """The row shows its own picture, which was written once; nothing went into the other sheet."""
        (number,) = self.feishu.sheet.find_rows(产品名=f"产品{row - 1}")
        shown = self.feishu.sheet.row(number)
        assert isinstance(shown[PICTURE], Picture), self.comfy.log()[-3000:]
        assert shown[PICTURE].sha256 in self.rendered(row)
        assert shown[STATUS] == "已完成"
        assert self.writes(row) == 1, f"{self.writes(row)} writes"
        other = self.feishu.spreadsheet.by_title(OTHER_SHEET)
        assert other is not None
        assert not other.picture_writes
        assert self.feishu.overlaps == 0


class MainPy:
    """One run of a `main.py`."""

    def __init__(self, office: Office, *, configured: bool = True, comfy: Any = None, **settings: Any) -> None:
        self.office = office
        environ = office.feishu.environment() if configured else {}
        self.settings = replace(bridge.load_settings(environ=environ), **settings)
        self.db = bridge.DatabaseManager(office.folder)
        self.comfy = comfy or bridge.ComfyUIClient(office.comfy.url, poll_seconds=0.2)
        feishu = bridge.FeishuClient(self.settings) if configured else None
        self.recovery = bridge.TaskRecoveryManager(self.db, self.comfy, feishu, settings=self.settings)
        self.recovery._delivery._clock = office.clock

    def does(self, *steps: Coroutine[Any, Any, Any]) -> list[Any]:
        """One loop, one step after the other."""

        async def all_of_them() -> list[Any]:
            return [await step for step in steps]

        return asyncio.run(all_of_them())

    async def enters(
        self,
        row: int = 2,
        *,
        seconds: float = GRAPH_SECONDS,
        gate: str | None = None,
        read: bool = True,
        feishu_leaves: bool = False,
    ) -> str:
        """Enter a row of the sheet and submit it. `gate`: it is rendered when the test opens that. `read`: as it was
        read, not as somebody has typed it in. `feishu_leaves`: before it is rendered, so that nobody can have
        delivered it."""
        found: Any = next(found for found in self._rows() if found.row_number == row)
        if not read:
            found = {name: getattr(found, name) for name in ("row_number", "product_name", "model_name", "prompt")}
        task_id = self.db.add_workflow_task(found, "图片合成")
        if feishu_leaves:
            self.office.feishu.stop()
        await self.recovery.submit(task_id, picture(f"row{row}", seconds=seconds, gate=gate, color=row))
        return task_id

    def _rows(self) -> list[bridge.RowData]:
        client = bridge.FeishuClient(bridge.load_settings(environ=self.office.feishu.environment()))
        return client.read_rows()

    async def renders(self, row: int = 2, **options: Any) -> dict[str, Any]:
        """The whole way of a row."""
        return await self.recovery.finish(await self.enters(row, **options))

    async def recovers(self) -> list[dict[str, Any]]:
        """As each run begins and ends; nobody waits for minutes."""
        ended = await self.recovery.check_and_recover_tasks()
        return ended + await self.recovery.wait_until_done()

    async def time_goes_by(self, seconds: float = delivering.OUT_OF_REACH_SECONDS) -> None:
        """Between two looks at what waits."""
        await self.recovery.publish()
        self.office.clock.now += seconds
        await self.recovery.publish()

    def record(self, row: int = 2) -> bridge.TaskRecord:
        """Its record of a row."""
        (found,) = [task for task in map(self.db.table.get, self.db.table.ids()) if task.row_number == row]
        return found

    def until_pushed(self, row: int = 2) -> None:
        """Publish until it is in the sheet."""

        async def publish() -> None:
            end = time.monotonic() + 120
            while self.record(row).feishu_state.value != "pushed":
                assert time.monotonic() < end, self.record(row).outbox
                await self.recovery.publish()
                await asyncio.sleep(0.2)

        self.does(publish())


class DyingClient(bridge.ComfyUIClient):
    """Its ComfyUI is killed at a moment of the download."""

    def __init__(self, office: Office, before: bool) -> None:
        super().__init__(office.comfy.url, poll_seconds=0.2)
        self._office, self._before = office, before

    async def download(self, file: Any, target: Path) -> None:
        if self._before:
            self._office.comfy.kill()
        await super().download(file, target)
        self._office.comfy.kill()


def _state(record: dict[str, Any]) -> str:
    state: str = record["metadata"]["feishu"]["state"]
    return state


def in_the_sheet(office: Office, row: int = 2) -> Callable[[], bool]:
    """Whether a picture was written into a row."""
    return lambda: office.writes(row) > 0
