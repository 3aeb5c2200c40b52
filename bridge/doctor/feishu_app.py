"""What the app may do: whether it is enabled, may call from this address, and with which scopes.

What it may write is asked for, not tried: `application/v6/scopes` lists what is granted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ..feishu.codes import ADDRESS_DENIED, APP_DISABLED, SCOPE_MISSING
from ..feishu.errors import FeishuError
from ..settings import Settings
from ..wording import Wording
from .checks import Findings, after
from .feishu_advice import SHEET_SCOPE, add_scope, console
from .feishu_asker import Asker
from .feishu_questions import TITLES

#: any one of them will do (from each call's page)
READ_SCOPES: Final = frozenset(
    {
        "sheets:spreadsheet",
        "drive:drive",
        "sheets:spreadsheet:readonly",
        "sheets:spreadsheet:read",
        "drive:drive:readonly",
    }
)
WRITE_SCOPES: Final = frozenset({"sheets:spreadsheet", "drive:drive", "sheets:spreadsheet:write_only"})
UPLOAD_SCOPES: Final = frozenset({"drive:drive", "drive:file", "drive:file:upload"})


def examine(found: Findings, settings: Settings, asker: Asker) -> bool:
    """Whether the app may call at all, and with which scopes."""
    try:
        data = asker.get("/open-apis/application/v6/scopes")
    except FeishuError as refusal:
        if refusal.code in APP_DISABLED:
            disabled(found, settings, refusal)
            return False
        if refusal.code == ADDRESS_DENIED:
            found.well("app")
            place = console(settings) + " → 安全设置 → IP 白名单"
            found.wrong(
                "address",
                refusal.said,
                Wording(
                    f"{place.en}: add the public address that Feishu names, or take the list away",
                    f"{place.zh}：加入飞书提示的公网 IP，或清空白名单",
                ),
                blocks=after("address", TITLES),
            )
            return False
        if refusal.concerns_all and refusal.code not in SCOPE_MISSING:
            raise
        unsaid = Wording("Feishu does not tell: ", "飞书没有说明：") + refusal.said
        for name in found.titles.keys() & {"scope_read", "scope_write", "scope_drive"}:
            found.unknown(name, unsaid)
    else:
        _scopes(found, settings, data)
    found.well("app", Wording("yes", "是"))
    found.well("address", Wording("this computer is let in", "允许本机访问"))
    return True


def disabled(found: Findings, settings: Settings, refusal: FeishuError) -> None:
    """Nobody has published or enabled it; the token call may say so, too."""
    place = console(settings) + " → 版本管理与发布"
    found.wrong(
        "app",
        refusal.said,
        Wording(
            f"{place.en}: publish a version, and let the administrator enable the app "
            "(飞书管理后台 → 工作台 → 应用管理 → 启用)",
            f"{place.zh}：发布版本，并请管理员启用应用（飞书管理后台 → 工作台 → 应用管理 → 启用）",
        ),
        blocks=after("app", TITLES),
    )


def _scopes(found: Findings, settings: Settings, data: Mapping[str, Any]) -> None:
    """By the list of what is granted. There are finer scopes than we know: that reading is allowed, reading shows."""
    listed = data.get("scopes")
    granted = {
        str(item.get("scope_name"))
        for item in (listed if isinstance(listed, list) else ())
        if isinstance(item, dict) and item.get("grant_status") == 1 and item.get("scope_type") in (None, "tenant")
    }
    writing = {name for name in granted if name.startswith("sheets:spreadsheet") and "write" in name}
    for name, enough, wanted in (
        ("scope_read", READ_SCOPES, SHEET_SCOPE),
        ("scope_write", WRITE_SCOPES | writing, SHEET_SCOPE),
        ("scope_drive", UPLOAD_SCOPES, "drive:file:upload"),
    ):
        if name not in found.titles:
            continue
        unsaid = Wording(f"{wanted} is not granted", f"没有开通 {wanted}")
        if granted & enough:
            found.well(name, ", ".join(sorted(granted & enough)))
        elif name == "scope_read":
            found.unknown(name, unsaid)
        else:
            found.wrong(name, unsaid, add_scope(settings, wanted))
