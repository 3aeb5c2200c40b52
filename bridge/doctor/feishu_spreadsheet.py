"""Whether the app finds the spreadsheet, and is let into it.

Its right to edit is asked for, not tried, with `drive/v1/permissions/:token/members/auth`.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import requests

from ..feishu.codes import ADD_APP, NO_PERMISSION, SCOPE_MISSING
from ..feishu.errors import FeishuError
from ..feishu.wiki import spreadsheet_of_node
from ..settings import Settings
from ..wording import Wording
from . import feishu_sheet
from .checks import Findings, after
from .feishu_advice import SHEET_SCOPE, grant_scope
from .feishu_asker import Asker
from .feishu_questions import TITLES


def examine(found: Findings, settings: Settings, asker: Asker, session: requests.Session) -> None:
    """Whether it is found, opens, and may be edited; then the sheet in it."""
    try:
        token, sheets = _opened(asker, settings.feishu_spreadsheet_token)
    except FeishuError as refusal:
        if refusal.code in SCOPE_MISSING:
            advice = grant_scope(settings, refusal, SHEET_SCOPE)
            found.wrong("scope_read", refusal.said, advice, blocks=after("scope_drive", TITLES))
        elif refusal.code in NO_PERMISSION:
            found.well("spreadsheet", Wording("it is there, but closed to the app", "存在，但应用打不开"))
            found.wrong("document", refusal.said, refusal.advice, blocks=after("document", TITLES))
        elif refusal.needs_person:
            found.wrong("spreadsheet", refusal.said, refusal.advice, blocks=after("spreadsheet", TITLES))
        else:
            raise
        return
    if not found.answer("scope_read"):
        found.well("scope_read", Wording("Feishu lets the app read", "飞书允许应用读取"))
    found.well("spreadsheet", Wording("found", "已找到"))
    found.well("document", Wording("yes", "是"))
    _edit(found, asker, quote(token, safe=""))
    feishu_sheet.examine(found, settings, sheets, session)


def _opened(asker: Asker, token: str) -> tuple[str, list[dict[str, Any]]]:
    """The spreadsheet's token, by its wiki node where it lives in a wiki, and its sheets. Raises FeishuError."""
    path = "/open-apis/sheets/v3/spreadsheets/{}/sheets/query"
    try:
        return token, asker.get(path.format(quote(token, safe=""))).get("sheets") or []
    except FeishuError as refusal:
        token = spreadsheet_of_node(token, refusal, asker.get)
    return token, asker.get(path.format(quote(token, safe=""))).get("sheets") or []


def _edit(found: Findings, asker: Asker, token: str) -> None:
    how = Wording(
        "yes (asked with members/auth; nothing was written)", "是（通过 members/auth 查询，没有写入任何内容）"
    )
    try:
        data = asker.get(f"/open-apis/drive/v1/permissions/{token}/members/auth", type="sheet", action="edit")
    except FeishuError as refusal:
        if refusal.code in SCOPE_MISSING and found.answer("scope_write") is False:
            found.because_of("scope_write", "edit")
        elif refusal.code in NO_PERMISSION:
            found.wrong("edit", refusal.said, refusal.advice)
        elif refusal.concerns_all and refusal.code not in SCOPE_MISSING:
            raise
        else:
            found.unknown("edit", refusal.said, refusal.advice)
        return
    if data.get("auth_result") is True:
        found.well("edit", how)
    else:
        found.wrong("edit", Wording("it may only read", "只有阅读权限"), ADD_APP)
