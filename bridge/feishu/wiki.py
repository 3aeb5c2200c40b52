"""A spreadsheet that lives in a wiki: its address names a node, and only the node tells the spreadsheet's token."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import quote

from ..wording import Wording
from .codes import ADVICE, SCOPE_MISSING, SET_SPREADSHEET, WIKI_DENIED
from .errors import FeishuError, Reach, Remedy

_IF_WIKI: Final = Wording("if its address has /wiki/ in it, ", "如果网址里有 /wiki/，")
_NEEDS_SCOPE: Final = Wording(
    "the app needs the scope wiki:wiki:readonly as well (开发者后台 → 权限管理)",
    "应用还需要权限 wiki:wiki:readonly（开发者后台 → 权限管理）",
)
_KINDS: Final = {
    "bitable": Wording("a Bitable, which is not supported yet", "多维表格（暂不支持）"),
    "docx": Wording("a document", "文档"),
    "doc": Wording("a document", "文档"),
    "mindnote": Wording("a mind map", "思维笔记"),
    "slides": Wording("slides", "幻灯片"),
    "file": Wording("an uploaded file", "上传的文件"),
}


def spreadsheet_of_node(token: str, refusal: FeishuError, get: Callable[[str], Mapping[str, Any]]) -> str:
    """The token of the spreadsheet behind `token` as a wiki's node, where Feishu's `refusal` of it as a spreadsheet
    may mean that: which code comes for a node is documented nowhere. `get` asks one path, once.

    Raises FeishuError: where that is not it the refusal, with what may be wrong besides.
    """
    if not refusal.code or refusal.remedy is not Remedy.FINAL or refusal.reach is Reach.APP:
        raise refusal  # it says nothing of the token
    if refusal.code not in ADVICE:
        refusal.advised(SET_SPREADSHEET)
    try:
        node = get(f"/open-apis/wiki/v2/spaces/get_node?token={quote(token, safe='')}").get("node") or {}
    except FeishuError as error:
        raise _either(refusal, error) from None
    kind, found = node.get("obj_type"), node.get("obj_token")
    if kind == "sheet" and isinstance(found, str) and found:
        return found
    raise _of_another_kind(_KINDS[kind]) if isinstance(kind, str) and kind in _KINDS else refusal


def _either(refusal: FeishuError, error: FeishuError) -> FeishuError:
    """Which of the two refusals to tell: that of the spreadsheet, or that of the node."""
    if error.code in SCOPE_MISSING:
        return refusal.advised(_IF_WIKI + (error.advice if error.grant_link else _NEEDS_SCOPE))
    if error.code == WIKI_DENIED:
        return refusal.advised(_IF_WIKI + error.advice)
    if not error.needs_person or error.reach is Reach.APP:
        return error  # to be asked again later, or nothing else works either
    return refusal


def _of_another_kind(kind: Wording) -> FeishuError:
    return FeishuError(
        Wording(
            f"the wiki page that FEISHU_SPREADSHEET_TOKEN names holds {kind.en}",
            f"FEISHU_SPREADSHEET_TOKEN 指定的知识库页面是{kind.zh}",
        ),
        remedy=Remedy.FINAL,
        reach=Reach.DOCUMENT,
        advice=Wording(
            "set it to the address of a spreadsheet (…/sheets/…, or …/wiki/… of a page that is one)",
            "请设为电子表格的网址（…/sheets/…，或本身是电子表格的知识库页面 …/wiki/…）",
        ),
    )
