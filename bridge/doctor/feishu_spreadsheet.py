"""Whether the app finds the spreadsheet, and is let into it.

Its right to edit is asked for, not tried, with `drive/v1/permissions/:token/members/auth`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

import requests

from ..feishu.errors import NO_SPREADSHEET
from ..settings import Settings
from ..wording import Wording
from . import feishu_sheet
from .checks import Findings, after
from .feishu_advice import SHEET_SCOPE, add_scope
from .feishu_asker import SCOPE_MISSING, Asker, Refusal
from .feishu_questions import TITLES

_NO_PERMISSION: Final = frozenset({90213, 1310213, 91403, 1063002, 1061004})
_ADD_APP: Final = Wording(
    "open the sheet in Feishu: … (top right) → 更多 → 添加文档应用, choose the app, 可编辑",
    "在飞书里打开表格：右上角 … → 更多 → 添加文档应用，选择该应用，权限选 可编辑",
)


def examine(found: Findings, settings: Settings, asker: Asker, session: requests.Session) -> None:
    """Whether it is found, opens, and may be edited; then the sheet in it."""
    try:
        token, sheets = _opened(asker, settings.feishu_spreadsheet_token)
    except Refusal as refusal:
        if refusal.code in SCOPE_MISSING:
            advice = add_scope(settings, SHEET_SCOPE)
            found.wrong("scope_read", refusal.wording, advice, blocks=after("scope_drive", TITLES))
            return
        if refusal.code in _NO_PERMISSION:
            found.well("spreadsheet", Wording("it is there, but closed to the app", "存在，但应用打不开"))
            found.wrong("document", refusal.wording, _ADD_APP, blocks=after("document", TITLES))
            return
        if refusal.code in NO_SPREADSHEET or refusal.status == 404:
            found.wrong(
                "spreadsheet",
                refusal.wording,
                Wording(
                    "set FEISHU_SPREADSHEET_TOKEN to the part of the sheet's address after /sheets/ and before ? "
                    "(or after /wiki/, which needs the scope wiki:wiki:readonly; what stands after /base/ is something "
                    "else), and see that the sheet was not deleted",
                    "把 FEISHU_SPREADSHEET_TOKEN 设为表格网址里 /sheets/ 之后、? 之前的那一段"
                    "（也可以是 /wiki/ 之后的，但需要权限 wiki:wiki:readonly；/base/ 后面的不是），"
                    "并确认表格没有被删除",
                ),
                blocks=after("spreadsheet", TITLES),
            )
            return
        raise
    if not found.answer("scope_read"):
        found.well("scope_read", Wording("Feishu lets the app read", "飞书允许应用读取"))
    found.well("spreadsheet", Wording("found", "已找到"))
    found.well("document", Wording("yes", "是"))
    _edit(found, asker, quote(token, safe=""))
    feishu_sheet.examine(found, settings, [item for item in sheets or () if isinstance(item, dict)], session)


def _opened(asker: Asker, token: str) -> tuple[str, Any]:
    """The spreadsheet's token, by its wiki node where it lives in a wiki, and its sheets. Raises Refusal."""
    path = "/open-apis/sheets/v3/spreadsheets/{}/sheets/query"
    try:
        return token, asker.get(path.format(quote(token, safe=""))).get("sheets")
    except Refusal as refusal:
        if refusal.code not in NO_SPREADSHEET:
            raise
        node: Mapping[str, Any] = {}
        with contextlib.suppress(Refusal):
            node = asker.get("/open-apis/wiki/v2/spaces/get_node", token=token).get("node") or {}
        if node.get("obj_type") != "sheet":
            raise
    token = str(node.get("obj_token") or "")
    return token, asker.get(path.format(quote(token, safe=""))).get("sheets")


def _edit(found: Findings, asker: Asker, token: str) -> None:
    how = Wording(
        "yes (asked with members/auth; nothing was written)", "是（通过 members/auth 查询，没有写入任何内容）"
    )
    try:
        data = asker.get(f"/open-apis/drive/v1/permissions/{token}/members/auth", type="sheet", action="edit")
    except Refusal as refusal:
        if refusal.code in SCOPE_MISSING and found.answer("scope_write") is False:
            found.because_of("scope_write", "edit")
        elif refusal.code in _NO_PERMISSION:
            found.wrong("edit", refusal.wording, _ADD_APP)
        else:
            found.unknown("edit", refusal.wording)
        return
    if data.get("auth_result") is True:
        found.well("edit", how)
    else:
        found.wrong("edit", Wording("it may only read", "只有阅读权限"), _ADD_APP)
