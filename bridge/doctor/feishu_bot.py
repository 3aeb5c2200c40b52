"""The group bot, by its address alone: trying it would send a message into the group."""

from __future__ import annotations

from urllib.parse import urlsplit

from ..settings import Settings
from ..wording import Wording
from .checks import Findings


def examine(found: Findings, settings: Settings) -> None:
    """Whether that is the address of a bot at this Feishu."""
    hook, ours = urlsplit(settings.feishu_webhook_url), urlsplit(settings.feishu_domain)
    if hook.netloc == ours.netloc and hook.path.startswith("/open-apis/bot/v2/hook/"):
        found.unknown(
            "bot",
            Wording(
                "its address looks right; it was not tried, because that would send a message into the group",
                "地址格式正确；没有试发，因为那样会往群里发消息",
            ),
        )
        return
    found.wrong(
        "bot",
        Wording(
            f"FEISHU_WEBHOOK_URL is no bot's address at {settings.feishu_domain}",
            f"FEISHU_WEBHOOK_URL 不是 {settings.feishu_domain} 上的机器人地址",
        ),
        Wording(
            "in the group: 设置 → 群机器人 → 添加机器人 → 自定义机器人, and copy its whole webhook address "
            f"({settings.feishu_domain}/open-apis/bot/v2/hook/…)",
            "在群里：设置 → 群机器人 → 添加机器人 → 自定义机器人，复制完整的 webhook 地址"
            f"（{settings.feishu_domain}/open-apis/bot/v2/hook/…）",
        ),
    )
