"""`doctor`: is everything there that recovery and publishing need, and if not, what is to be clicked or set.

Nothing is changed anywhere: Feishu is only asked, and what lies in the output folder is only read.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

import requests

from ..settings import Settings
from ..wording import Wording, wording_of
from . import comfyui as doctor_comfyui
from . import feishu as doctor_feishu
from . import feishu_questions, privacy, publishers
from . import folder as doctor_folder
from .checks import Check, Findings, Report
from .engine import ChosenEngine
from .feishu_token import DOMAINS

__all__ = ["Check", "Report", "report"]

_CONFIG: Final = {"config": Wording("settings", "设置")}


def report(
    settings: Settings,
    output_dir: str | Path,
    *,
    comfyui_url: str | None = None,
    inside: Mapping[str, Any] | None = None,
    settings_error: Wording | str | None = None,
    config: Path | None = None,
    session: requests.Session | None = None,
    domains: Sequence[str] = DOMAINS,
    now: Callable[[], float] = time.time,
    on_progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Make all checks; blocks for as long as ComfyUI (or the cloud in its place) and Feishu take to answer.

    `inside` is the plugin's own status, for a call from inside ComfyUI: then ComfyUI is not asked over HTTP. `config`
    is the file that the settings came from. `settings_error` says why `settings` are not the user's: then Feishu is
    not asked. `session` is for Feishu alone. No secret is in the report.
    """
    engine = ChosenEngine(settings, readable=not settings_error and inside is None)
    url = comfyui_url or engine.comfyui_url
    in_cloud = inside is None and url is None
    titles = {
        **_CONFIG,
        **doctor_folder.PACKAGE_TITLES,
        **(engine.titles if inside is None else {}),
        **({} if in_cloud else doctor_comfyui.TITLES),
        **doctor_folder.TITLES,
        **privacy.TITLES,
        **({} if in_cloud else publishers.TITLES),
        **feishu_questions.titles(settings),
    }
    found = Findings(titles, _secrets(settings), on_progress)
    if settings_error:
        found.wrong(
            "config",
            wording_of(settings_error),
            Wording(
                "mend that line of config.toml or that environment variable; what this computer takes instead are the "
                "defaults, and nothing is pushed",
                "改正 config.toml 里的那一行或那个环境变量；在此之前使用默认值，不会写入飞书",
            ),
            blocks=(*engine.titles, *feishu_questions.titles(settings)),
        )
    else:
        found.well("config", Wording("readable", "可以读取"))
    privacy.examine_config(found, config)
    doctor_folder.examine_packages(found)
    status: Mapping[str, Any] | None = inside
    if inside is not None:
        doctor_comfyui.examine_inside(found, inside)
    else:
        engine.examine(found)
        status = None if url is None else doctor_comfyui.examine(found, url.rstrip("/"))
    folder = Path(output_dir).absolute()
    if inside is None and not settings.output_dir and not folder.exists():
        doctor_folder.examine_none(found, folder, status)
    else:
        doctor_folder.examine(found, folder, status, alone=inside is not None or in_cloud)
    if not settings_error and not in_cloud:
        publishers.examine(found, settings, folder, status)
    if not settings_error:
        with contextlib.ExitStack() as stack:
            session = session or stack.enter_context(requests.Session())
            doctor_feishu.examine(found, settings, session, domains=domains, now=now)
    return Report(found.checks())


def _secrets(settings: Settings) -> tuple[str, ...]:
    """What must not be shown, also as a part of an address."""
    token = settings.feishu_spreadsheet_token
    hook = urlsplit(settings.feishu_webhook_url).path.rpartition("/")[2]
    return tuple(filter(None, (*settings.secrets, token, quote(token, safe=""), settings.video_folder_token, hook)))
