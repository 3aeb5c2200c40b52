"""How far this computer's clock is from Feishu's: far enough, and signatures are refused."""

from __future__ import annotations

from typing import Final

from ..settings import Settings
from ..wording import Wording
from .checks import Findings

#: A clock that is kept right is never this far off. The group bot's signature ends after an hour.
CLOCK_SECONDS: Final = 60.0
BOT_SECONDS: Final = 3600.0


def examine(found: Findings, settings: Settings, ahead: float | None) -> None:
    """`ahead` in seconds; None where Feishu has answered nothing."""
    if ahead is None:
        return
    seconds = abs(round(ahead))
    much = f"{seconds} s" if seconds < 600 else f"{seconds // 60} min"
    if seconds <= CLOCK_SECONDS:
        found.well("clock", Wording(f"{much} from Feishu's", f"与飞书相差 {much}"))
        return
    detail = Wording(
        f"this computer is {much} {'ahead of' if ahead > 0 else 'behind'} Feishu",
        f"本机比飞书{'快' if ahead > 0 else '慢'} {much}",
    )
    if settings.feishu_webhook_secret and seconds >= BOT_SECONDS:
        detail += Wording(
            "; the group bot's signature is refused from 1 h on", "；相差 1 小时起，群机器人的签名会被拒绝"
        )
    found.wrong(
        "clock",
        detail,
        Wording(
            "let the system set it: Windows: Settings → Time & language → Set time automatically; macOS: System "
            "Settings → General → Date & Time; Linux: timedatectl set-ntp true",
            "让系统自动校时：Windows：设置 → 时间和语言 → 自动设置时间；macOS：系统设置 → 通用 → 日期与时间；"
            "Linux：timedatectl set-ntp true",
        ),
    )
