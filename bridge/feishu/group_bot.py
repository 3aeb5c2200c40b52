"""The bot of the team's group: how a message gets there, and what it says where it refuses one."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import requests
from requests import exceptions
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

from ..redact import redact
from ..settings import Settings
from ..wording import Wording
from .errors import FeishuError, Remedy, answered

TIMEOUT: Final = (10.0, 30.0)

_BOT_ADVICE: Final[Mapping[int, Wording]] = {
    9499: Wording("the bot does not take this message", "机器人不接受这条消息"),
    19001: Wording(
        "FEISHU_WEBHOOK_URL names no bot (any more): in the group 设置 → 群机器人, copy the webhook address anew",
        "FEISHU_WEBHOOK_URL 没有对应的机器人（可能已删除）：请在群里 设置 → 群机器人，重新复制 webhook 地址",
    ),
    19021: Wording(
        "FEISHU_WEBHOOK_SECRET is not the bot's (群机器人 → 签名校验), or this computer's clock is off by over an hour",
        "FEISHU_WEBHOOK_SECRET 与机器人的 签名校验 不一致，或者本机时间相差超过一小时",
    ),
    19022: Wording(
        "the bot's IP 白名单 does not have this computer's address: add it, or switch the list off",
        "机器人的 IP 白名单 里没有本机地址：请加上，或关闭白名单",
    ),
    19024: Wording(
        "the bot wants a keyword (自定义关键词): make it wfrecovery, which stands in each message, or take it away",
        "机器人设置了 自定义关键词：请改成 wfrecovery（每条消息里都有），或去掉关键词",
    ),
    11232: Wording(
        "the bot has too much to do, as at full and half hours: it is sent later",
        "机器人太忙（整点和半点常见）：稍后再发",
    ),
}


def send_text(settings: Settings, text: str, *, clock: Callable[[], float] = time.time) -> bool:
    """Send it to the group's bot, once; False where no bot is set. Feishu takes 20 KB.

    Raises FeishuError: with `Remedy.RETRY` it was not sent and may be sent later; with `outcome_unknown` it may have
    arrived, and sending it again may tell the group twice.
    """
    if not settings.feishu_webhook_url:
        return False
    # A name or an error must not call people: <at user_id="all"> would.
    body: dict[str, Any] = {"msg_type": "text", "content": {"text": text.replace("<at", "< at")}}
    if settings.feishu_webhook_secret:
        timestamp = str(int(clock()))
        body = {"timestamp": timestamp, "sign": signature(timestamp, settings.feishu_webhook_secret), **body}
    try:
        _post(settings.feishu_webhook_url, body)
    except FeishuError as error:
        hidden = (*settings.secrets, settings.feishu_webhook_url.rpartition("/")[2])
        raise error.reworded(lambda said: redact(said, hidden)) from error.__cause__
    return True


def signature(timestamp: str, secret: str) -> str:
    """The bot's 签名校验: time and secret are the key, and the message is empty."""
    digest = hmac.new(f"{timestamp}\n{secret}".encode(), b"", hashlib.sha256).digest()
    return base64.b64encode(digest).decode()


def cut(text: str, length: int) -> str:
    """One line, printable, at most `length` characters."""
    text = "".join(filter(str.isprintable, " ".join(text.split())))
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _post(url: str, body: Mapping[str, Any]) -> None:
    headers = {"Content-Type": "application/json; charset=utf-8"}
    try:
        data = json.dumps(body, ensure_ascii=False).encode()
        answer = requests.post(url, data=data, headers=headers, timeout=TIMEOUT)
    except (exceptions.InvalidURL, exceptions.MissingSchema, exceptions.InvalidSchema) as error:
        what = Wording("FEISHU_WEBHOOK_URL is no address", "FEISHU_WEBHOOK_URL 不是网址")
        raise FeishuError(what, remedy=Remedy.FINAL) from error
    except requests.RequestException as error:
        what = Wording(f"no answer from Feishu: {error}", f"飞书没有回应：{error}")
        raise FeishuError(what, outcome_unknown=not _never_connected(error)) from error
    answered(answer.status_code, answer.headers, answer.content, _BOT_ADVICE)


def _never_connected(error: requests.RequestException) -> bool:
    reason = getattr(error.args[0], "reason", None) if error.args else None
    return isinstance(reason, (NewConnectionError, ConnectTimeoutError))
