"""Whether the sheet is there, and its columns are as the publisher needs them."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import requests

from ..feishu.client import FeishuClient
from ..feishu.errors import FeishuError
from ..feishu.sheet import OPTIONAL, SheetLayoutError, SheetTable, column_letters
from ..settings import Settings
from ..wording import Wording
from .checks import NOTHING, Findings, after
from .feishu_advice import advice_on
from .feishu_questions import TITLES

_TITLES_ADVICE: Final = Wording(
    "write the titles into the sheet's header row, or name yours in config.toml under [columns] "
    "(that of the video links: WFRECOVERY_VIDEO_LINK_COLUMN)",
    "在表头行写上这些列名，或在 config.toml 的 [columns] 里写明你的列名（视频链接列：WFRECOVERY_VIDEO_LINK_COLUMN）",
)


def examine(
    found: Findings, settings: Settings, sheets: Sequence[Mapping[str, Any]], session: requests.Session
) -> None:
    """`sheets` are those of the spreadsheet."""
    if _sheet(found, settings, sheets):
        _columns(found, settings, session)


def _sheet(found: Findings, settings: Settings, sheets: Sequence[Mapping[str, Any]]) -> bool:
    wanted = settings.feishu_sheet_name
    sheet = next((item for name in ("title", "sheet_id") for item in sheets if item.get(name) == wanted), None)
    names = ", ".join(str(item.get("title")) for item in sheets)
    advice = Wording(
        f"set FEISHU_SHEET_NAME to one of: {names or 'none'}", f"把 FEISHU_SHEET_NAME 设为其中之一：{names or '无'}"
    )
    kind = sheet.get("resource_type") if sheet else None
    if sheet is None:
        wrong = Wording(f"there is no {wanted!r}; there are: {names}", f"没有“{wanted}”；现有：{names}")
    elif kind not in (None, "sheet"):
        wrong = Wording(f"{wanted!r} is no sheet but a {kind}", f"“{wanted}”不是工作表，而是 {kind}")
    else:
        found.well("sheet", wanted)
        return True
    found.wrong("sheet", wrong, advice, blocks=after("sheet", TITLES))
    return False


def _columns(found: Findings, settings: Settings, session: requests.Session) -> None:
    """Read as the publisher does."""
    try:
        table = FeishuClient(settings, session=session).read_sheet()
    except SheetLayoutError as error:
        found.wrong("columns", error.wording, _TITLES_ADVICE, blocks=after("columns", TITLES))
        return
    except FeishuError as error:
        found.wrong("columns", error.said, advice_on(error), blocks=after("columns", TITLES))
        return
    there = list(table.titles)
    _twice(found, table, there)
    missing = [
        title
        for field, title in dataclasses.asdict(table.columns).items()
        if title and field not in (*OPTIONAL, *table.places) and there.count(title) < 2
    ]
    names = ", ".join(filter(None, there))
    if missing:
        found.wrong(
            "columns",
            Wording(
                f"missing: {', '.join(missing)}; row {table.header + 1} has: {names}",
                f"缺少：{'、'.join(missing)}；第 {table.header + 1} 行有：{names}",
            ),
            _TITLES_ADVICE,
        )
    else:
        found.well("columns", names, NOTHING if "task_id" in table.places else _number_column(table))


def _number_column(table: SheetTable) -> Wording:
    """A hint: the sheet does without, and with it a row is known for sure."""
    title = table.columns.task_id
    if not title or title in table.titles:
        return NOTHING
    used = [index for index, name in enumerate(table.titles) if name]
    cell = f"{column_letters(used[-1] + 1)}{table.header + 1}"
    return Wording(
        f"recommended: one more column with the title {title} (in the sheet: click the cell after the last title, "
        f"{cell}, and type {title}; nothing else). Each task's number is written there when it is entered, so that its "
        "row is found for sure, also where rows are alike or a name was corrected",
        f"建议：增加一列“{title}”（在表格中点击最后一个列名后面的单元格 {cell}，"
        f"输入 {title} 即可）。任务登记时会写入它的任务号，即使几行内容相同或名称后来改过，也能准确找到那一行",
    )


def _twice(found: Findings, table: SheetTable, there: Sequence[str]) -> None:
    counted = Counter(there)
    ours = [title for title in dataclasses.asdict(table.columns).values() if title and counted[title] > 1]
    if not ours:
        found.well("titles", Wording("none", "没有"))
        return
    places = "; ".join(
        f"{title}: {', '.join(column_letters(index) for index, name in enumerate(there) if name == title)}"
        for title in ours
    )
    found.wrong(
        "titles",
        Wording(f"in several columns: {places}", f"有好几列重名：{places}"),
        Wording("rename all but one of them in the header row", "在表头行只保留一个，其余改名"),
    )
