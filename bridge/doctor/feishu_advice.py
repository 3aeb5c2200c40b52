"""What to click at Feishu, where more than one question may end with that advice."""

from __future__ import annotations

from typing import Final

from ..feishu.errors import FeishuError
from ..settings import Settings
from ..wording import Wording

TRY_AGAIN: Final = Wording(
    "Feishu could not answer just now: try again in a minute", "飞书暂时没能回答：请过一分钟再试"
)
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


def grant_scope(settings: Settings, refusal: FeishuError, scope: str) -> Wording:
    """What gives the app the scope that a call was refused for: by the page that Feishu names, else by ours."""
    return refusal.advice if refusal.grant_link else add_scope(settings, scope)


def advice_on(error: FeishuError) -> Wording:
    """What a person does about it; nothing, where waiting helps."""
    return error.advice if error.needs_person and error.advice else TRY_AGAIN
