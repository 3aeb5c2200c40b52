"""What to click at Feishu, where more than one question may end with that advice."""

from __future__ import annotations

from typing import Final

from ..feishu.errors import ADVICE, FeishuError
from ..settings import Settings
from ..wording import Wording
from .feishu_asker import Refusal

#: the one that does for all of the sheet
SHEET_SCOPE: Final = "sheets:spreadsheet"


def console(settings: Settings) -> Wording:
    """Where the app is set up."""
    place = f"{settings.feishu_domain}/app"
    return Wording(f"{place} → the app", f"{place} → 该应用")


def add_scope(settings: Settings, scope: str) -> Wording:
    """The page that grants a scope to the app, and what follows it."""
    link = f"{settings.feishu_domain}/app/{settings.feishu_app_id}/auth?q={scope}&token_type=tenant"
    return Wording(
        f"open {link} (权限管理 → 开通权限) and add {scope}; then 版本管理与发布 → 创建版本, and let the "
        "administrator agree",
        f"打开 {link}（权限管理 → 开通权限），开通 {scope}；然后 版本管理与发布 → 创建版本，并请管理员批准",
    )


def advice_on(error: Refusal | FeishuError) -> Wording:
    """By the code; one that nobody has met yet can be looked up."""
    known = ADVICE.get(error.code)
    return known or Wording(
        f"look up {error.code} at open.feishu.cn/search, and try again",
        f"在 open.feishu.cn/search 查询 {error.code}，然后再试",
    )
