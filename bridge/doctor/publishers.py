"""`doctor`'s question who brings results into the sheet: `main.py`, or the plugin."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from ..feishu.client import FeishuClient
from ..feishu.errors import FeishuError
from ..settings import Settings
from ..table.database import WorkflowDatabase
from ..table.records import TaskError, TaskRecord
from ..table.values import FeishuState
from ..wording import Wording
from .checks import NOTHING, Findings

TITLES: Final = {"publisher": Wording("who pushes", "由谁写入表格")}


def examine(found: Findings, settings: Settings, folder: Path, status: Mapping[str, Any] | None) -> None:
    """`status` is the plugin's where it is known, `folder` main.py's. Feishu is asked which spreadsheet is
    meant, where the two name it otherwise, and no more."""
    if status is None:
        found.unknown("publisher", Wording("not checked: the plugin does not answer", "未检查：插件没有响应"))
        return
    lost = list(_lost(WorkflowDatabase(folder), status.get("table_id"))) if found.answer("table") else []
    if lost:
        names = ", ".join(task.task_id for task in lost[:3]) + (" …" if len(lost) > 3 else "")
        found.wrong(
            "publisher",
            Wording(
                f"{len(lost)} results wait for a ComfyUI that does not answer here: {names}",
                f"{len(lost)} 个结果在等一个这里没有响应的 ComfyUI：{names}",
            ),
            Wording(
                "start that one again (COMFYUI_URL says which is asked); main.py delivers them when it has not "
                "answered for 3 minutes, and wfrecovery push --local TASK does so at once",
                "重新启动它（COMFYUI_URL 决定询问哪一个）；它 3 分钟没有响应后由 main.py 写入，"
                "也可以用 wfrecovery push --local 任务号 立即写入",
            ),
        )
        return
    feishu = status.get("feishu") or {}
    if feishu.get("document") not in (None, settings.document):  # one sheet may have two addresses
        with contextlib.suppress(FeishuError):
            FeishuClient(settings).find_document()
    detail, hint = _who(settings.document, feishu)
    found.well("publisher", detail, hint)


def _who(ours: str | None, feishu: Mapping[str, Any]) -> tuple[Wording, Wording]:
    theirs, older = feishu.get("document"), "document" not in feishu
    if not feishu.get("configured"):
        if ours is None:
            return Wording("nobody: Feishu is not set up", "没有：飞书未设置"), NOTHING
        return Wording("main.py: the plugin has no Feishu settings", "main.py：插件没有飞书设置"), NOTHING
    if older:
        return Wording("the plugin, an older version: all that it records", "插件（较旧的版本）：它记录的全部"), NOTHING
    if ours in (None, theirs):
        return Wording("the plugin", "插件"), NOTHING
    return (
        Wording(
            "main.py what it submits, the plugin the rest: they are set to different documents",
            "main.py 写入它提交的，其余由插件写入：两者设置的表格不同",
        ),
        Wording(
            "if one sheet is meant, write FEISHU_DOMAIN, FEISHU_SPREADSHEET_TOKEN and FEISHU_SHEET_NAME alike for both",
            "如果是同一个表格，请让两边的 FEISHU_DOMAIN、FEISHU_SPREADSHEET_TOKEN、FEISHU_SHEET_NAME 写得一样",
        ),
    )


def _lost(table: WorkflowDatabase, theirs: str | None) -> Iterator[TaskRecord]:
    """What waits to be pushed by a table that is neither this one nor the plugin's; what cannot be read is told
    elsewhere."""
    here = (None, table.table_id, theirs)
    for task_id in table.files.ids_in(table.files.active):
        with contextlib.suppress(TaskError, OSError):
            task = table.get(task_id)
            if task.stage.final and task.feishu_state is FeishuState.PENDING and task.publisher not in here:
                yield task
