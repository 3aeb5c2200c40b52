"""`doctor`'s questions to Feishu, one after the other. All of them only read."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import requests

from ..feishu.errors import FeishuError
from ..settings import Settings
from ..wording import Wording
from . import feishu_app, feishu_bot, feishu_clock, feishu_spreadsheet, feishu_token, feishu_videos
from .checks import Findings, after
from .comfyui import no_answer
from .feishu_advice import TRY_AGAIN, advice_on, console
from .feishu_asker import Asker
from .feishu_questions import TITLES
from .feishu_token import DOMAINS


def examine(
    found: Findings,
    settings: Settings,
    session: requests.Session,
    *,
    domains: Sequence[str] = DOMAINS,
    now: Callable[[], float] = time.time,
) -> None:
    """All questions about Feishu, as far as the answers allow the next one."""
    if "bot" in found.titles:
        feishu_bot.examine(found, settings)
    if "video_sdk" in found.titles:
        feishu_videos.examine_sdk(found)
    if settings.missing:
        names = ", ".join(settings.missing)
        found.wrong(
            "credentials",
            Wording(f"not set: {names}", f"未设置：{names}"),
            Wording(
                f"set {names} in the environment or in config.toml. App id and secret: {console(settings).en} → "
                "凭证与基础信息; spreadsheet token: the part of the sheet's address after /sheets/; sheet name: its "
                "title. Without them nothing is pushed; everything else works",
                f"在环境变量或 config.toml 里设置 {names}。App ID 和 App Secret：{console(settings).zh} → "
                "凭证与基础信息；表格 token：表格网址里 /sheets/ 后面的那一段；工作表名：工作表的标题。"
                "没有这些就不会写入飞书，其他功能照常",
            ),
            blocks=after("credentials", TITLES),
        )
        return
    found.well("credentials", settings.feishu_app_id)
    asker = Asker(settings, session, now)
    try:
        if feishu_token.examine(found, settings, asker, domains) and feishu_app.examine(found, settings, asker):
            if "video_folder" in found.titles:
                feishu_videos.examine_folder(found, settings, asker)
            feishu_spreadsheet.examine(found, settings, asker, session)
    except requests.RequestException as error:
        _broke_off(found, no_answer(error), TRY_AGAIN)
    except FeishuError as refusal:
        _broke_off(found, refusal.said, advice_on(refusal))
    finally:
        feishu_clock.examine(found, settings, asker.ahead)


def _broke_off(found: Findings, why: Wording, advice: Wording) -> None:
    """The first question without an answer is the one that could not be asked."""
    asked = {check.id for check in found.checks()}
    name = next(name for name in TITLES if name in found.titles and name not in asked and name != "clock")
    found.wrong(name, why, advice, blocks=after(name, TITLES))
