"""What a `main.py` renders when its sheet is another one than last month's, by its title or by what has that title now:
each row of it once, and none of the former one's again. However it reads the rows."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from engine_support import GRAPH, Engine, hurry
from publishing_support import PICTURE, STATUS, rows

from wfrecovery import bridge
from wfrecovery.bridge.feishu.client import FeishuClient
from wfrecovery.demo.feishu_host.sheet import Sheet
from wfrecovery.demo.feishu_host.stand_in import Fault, FeishuStandIn, Picture

NOVEMBER, DECEMBER, KIND = "11月", "12月", "图片合成"
#: Who reads the rows: the client that the recovery has; another one; or a program's own code.
READERS = pytest.mark.parametrize("reader", ["its client", "another client", "no client of ours"])


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


@pytest.fixture
def feishu() -> Iterator[FeishuStandIn]:
    with FeishuStandIn(rows(2), sheet_title=NOVEMBER) as stand_in:
        stand_in.limits.sheet_calls_per_second = None
        yield stand_in


class Run:
    """One run of a `main.py` that takes each row that says 否, and asks nobody which."""

    def __init__(self, feishu: FeishuStandIn, folder: Path, title: str, reader: str) -> None:
        self.settings = dataclasses.replace(bridge.load_settings(environ=feishu.environment()), feishu_sheet_name=title)
        self.sheet, self.reader = feishu.spreadsheet.by_title(title), reader
        self.db, self.engine = bridge.DatabaseManager(folder), Engine()
        self.client = FeishuClient(self.settings)
        self.recovery = bridge.TaskRecoveryManager(self.db, self.engine, self.client, settings=self.settings)
        self.entered: list[str] = []

    def read(self) -> Sequence[Any]:
        if self.reader == "no client of ours":
            assert self.sheet is not None
            texts = [(number, self.sheet.row_texts(number)) for number in (2, 3)]
            fields = {"product_name": "产品名", "model_name": "模特名", "prompt": "提示词", "status": STATUS}
            return [{"row_number": n, **{name: row[title] for name, title in fields.items()}} for n, row in texts]
        client = self.client if self.reader == "its client" else FeishuClient(self.settings)
        return [vars(row) for row in client.read_rows()]

    def goes(self, spoil: Sheet | None = None) -> list[str]:
        """All of it; returns what it has sent. `spoil`: whose row 3 somebody has changed when it is delivered."""

        async def run() -> None:
            await self.recovery.check_and_recover_tasks()
            for row in self.read():
                if row["status"] == "否":
                    self.entered.append(self.db.add_workflow_task(row, KIND))
                    await self.recovery.submit(self.entered[-1], GRAPH)
            if spoil is not None:
                spoil.set("E3", "改过的提示")
            self.engine.end_all()
            for task_id in self.entered:
                await self.recovery.finish(task_id)
            await self.recovery.wait_until_done()

        asyncio.run(run())
        return self.engine.sent


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in another process, which has asked Feishu nothing yet."""
    monkeypatch.setattr("wfrecovery.bridge.documents._SHEETS", {})
    monkeypatch.setattr("wfrecovery.bridge.documents._FOUND", {})


@READERS
@pytest.mark.parametrize("by_title", [True, False], ids=["another title is set", "the title is another sheet's"])
def test_each_row_of_the_new_sheet_is_rendered(
    feishu: FeishuStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reader: str, by_title: bool
) -> None:
    old = feishu.sheet
    former = Run(feishu, tmp_path, NOVEMBER, reader)
    assert len(former.goes(spoil=old)) == 2
    assert old.row(3)[STATUS] == "否", "its result is blocked"
    old.set("E3", "提示2")
    old.title = NOVEMBER if by_title else "存档"
    title = DECEMBER if by_title else NOVEMBER
    new = feishu.add_sheet(title, rows(2))
    forget(monkeypatch)
    december = Run(feishu, tmp_path, title, reader)
    assert len(december.goes()) == 2
    assert not set(december.entered) & set(former.entered)
    for number in (2, 3):
        assert isinstance(new.row(number)[PICTURE], Picture)
        assert new.row(number)[STATUS] == "已完成"
    assert (len(new.picture_writes), len(old.picture_writes)) == (2, 1)


@READERS
def test_a_sheet_that_was_renamed_is_not_rendered_again(
    feishu: FeishuStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reader: str
) -> None:
    former = Run(feishu, tmp_path, NOVEMBER, reader)
    former.goes(spoil=feishu.sheet)
    feishu.sheet.set("E3", "提示2")
    feishu.sheet.title = "存档"
    forget(monkeypatch)
    again = Run(feishu, tmp_path, "存档", reader)
    assert not again.goes()
    assert feishu.sheet.row(3)[STATUS] == "已完成"


@pytest.mark.parametrize("renamed", [True, False], ids=["it was renamed", "its title is another sheet's"])
def test_a_program_that_enters_rows_before_it_recovers(
    feishu: FeishuStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, renamed: bool
) -> None:
    """Nobody has asked Feishu yet which sheet it is."""
    former = Run(feishu, tmp_path, NOVEMBER, "no client of ours")
    former.goes(spoil=feishu.sheet)
    feishu.sheet.set("E3", "提示2")
    feishu.sheet.title = "存档"
    if not renamed:
        feishu.add_sheet(NOVEMBER, rows(2))
    forget(monkeypatch)
    again = Run(feishu, tmp_path, "存档" if renamed else NOVEMBER, "no client of ours")
    row = next(row for row in again.read() if row["row_number"] == 3)
    assert (again.db.add_workflow_task(row, KIND) in former.entered) is renamed


def test_where_it_cannot_be_told_another_title_is_another_sheet(
    feishu: FeishuStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its row gets a task of its own, not the former one with its result."""
    former = Run(feishu, tmp_path, NOVEMBER, "no client of ours")
    former.goes(spoil=feishu.sheet)
    feishu.add_sheet(DECEMBER, rows(2))
    forget(monkeypatch)
    feishu.faults.add(Fault.HTTP_500_JSON, "sheets_query", times=None)
    december = Run(feishu, tmp_path, DECEMBER, "no client of ours")
    entered = [december.db.add_workflow_task(row, KIND) for row in december.read()]
    assert not set(entered) & set(former.entered)
