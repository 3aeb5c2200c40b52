"""Whether the credentials give a token; what refuses them may be the wrong domain, the app, or the way there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import requests

from ..feishu.codes import APP_DISABLED, CREDENTIALS, NOT_AUTHORISED, meant
from ..feishu.errors import FeishuError
from ..settings import Settings
from ..wording import Wording
from .checks import Findings, after
from .comfyui import no_answer
from .feishu_advice import advice_on, console
from .feishu_app import disabled
from .feishu_asker import Asker
from .feishu_questions import TITLES

#: Where apps are made; an app of one is unknown at the other.
DOMAINS: Final = ("https://open.feishu.cn", "https://open.larksuite.com")

_WRONG_DOMAIN: Final = 1000040351


def examine(found: Findings, settings: Settings, asker: Asker, domains: Sequence[str]) -> bool:
    """Whether the credentials give a token."""
    domain = settings.feishu_domain
    later = after("domain", TITLES)
    try:
        asker.fetch_token()
    except requests.RequestException as error:
        why = no_answer(error)
        found.wrong(
            "feishu",
            Wording(f"{domain}: {why.en}", f"{domain}：{why.zh}"),
            Wording(
                f"see whether a browser on this computer opens {domain}; behind a proxy set HTTPS_PROXY; and "
                f"FEISHU_DOMAIN is {' or '.join(DOMAINS)}",
                f"看看本机浏览器能否打开 {domain}；需要代理时设置 HTTPS_PROXY；"
                f"FEISHU_DOMAIN 应为 {' 或 '.join(DOMAINS)}",
            ),
            blocks=after("feishu", TITLES),
        )
        return False
    except FeishuError as refusal:
        found.well("feishu", domain)
        if refusal.status >= 500 or refusal.status == 429:
            if refusal.code:
                found.well("domain", domain)
            raise  # it has no time, or no calls left for this app
        if not refusal.code or refusal.code == _WRONG_DOMAIN:
            _wrong_domain(found, refusal.said, DOMAINS, later)
            return False
        elsewhere = _elsewhere(settings, asker, domains, refusal)
        if elsewhere:
            known = Wording(f"this app belongs to {elsewhere}", f"这个应用属于 {elsewhere}")
            _wrong_domain(found, known, (elsewhere,), later)
            return False
        found.well("domain", domain)
        _refused_token(found, settings, refusal)
        return False
    for name in ("feishu", "domain"):
        found.well(name, domain)
    found.well("token", Wording("accepted", "有效"))
    return True


def _wrong_domain(found: Findings, detail: Wording, right: Sequence[str], blocks: Iterable[str]) -> None:
    found.wrong(
        "domain",
        detail,
        Wording(
            f"set FEISHU_DOMAIN to {' or '.join(right)} (Feishu 飞书: open.feishu.cn; Lark: open.larksuite.com)",
            f"把 FEISHU_DOMAIN 设为 {' 或 '.join(right)}（飞书：open.feishu.cn；Lark：open.larksuite.com）",
        ),
        blocks=blocks,
    )


def _elsewhere(settings: Settings, asker: Asker, domains: Sequence[str], refusal: FeishuError) -> str:
    """The domain that knows this app, where ours does not. It is asked without the secret."""
    if "not exist" not in refusal.message or settings.feishu_domain not in domains:
        return ""
    for other in domains:
        if other != settings.feishu_domain:
            try:
                asker.post_token(other, {"app_id": settings.feishu_app_id, "app_secret": "unknown"})
            except FeishuError as answer:
                if answer.code in CREDENTIALS and "secret" in answer.message:
                    return other
            except requests.RequestException:
                continue
    return ""


def _refused_token(found: Findings, settings: Settings, refusal: FeishuError) -> None:
    later = after("token", TITLES)
    place = console(settings) + " → 凭证与基础信息"
    code = meant(refusal.code, refusal.message)
    if code in (*APP_DISABLED, NOT_AUTHORISED) or "unauthorized" in refusal.message:
        found.well("token")
        disabled(found, settings, refusal)
    elif refusal.code in CREDENTIALS:
        which = "FEISHU_APP_ID" if "not exist" in refusal.message else "FEISHU_APP_SECRET"
        found.wrong(
            "token",
            refusal.said,
            Wording(
                f"copy App ID and App Secret anew from {place.en}, and look at {which}: no blanks, nothing cut off",
                f"从 {place.zh} 重新复制 App ID 和 App Secret，尤其检查 {which}：不要有空格，不要缺字符",
            ),
            blocks=later,
        )
    else:
        found.wrong("token", refusal.said, advice_on(refusal), blocks=later)
