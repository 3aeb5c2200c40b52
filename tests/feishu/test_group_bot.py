"""The bot of the team's group: what arrives, signed and once, and what a refusal says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from wfrecovery.bridge.feishu.errors import FeishuError, Remedy
from wfrecovery.bridge.feishu.group_bot import send_text, signature
from wfrecovery.bridge.settings import Settings
from wfrecovery.demo.feishu_host.stand_in import Fault, FeishuStandIn


@pytest.fixture
def feishu() -> Iterator[FeishuStandIn]:
    with FeishuStandIn(webhook_secret="demo") as standin:
        yield standin


def settings(feishu: FeishuStandIn, **changes: Any) -> Settings:
    given = Settings(feishu_webhook_url=feishu.webhook_url, feishu_webhook_secret="demo")
    return replace(given, **changes)


def test_the_signature_of_the_documentation() -> None:
    assert signature("1599360473", "demo") == "l1N0gAcBjdwBvGm1xMjOF0XSyaLRpR7tuO5dHfhAYc8="


def test_it_arrives_signed_and_once(feishu: FeishuStandIn) -> None:
    assert send_text(settings(feishu), "wfrecovery：完成 3 个") is True
    (message,) = feishu.messages
    assert message["content"]["text"] == "wfrecovery：完成 3 个"
    assert message["sign"] == signature(message["timestamp"], "demo")


def test_a_name_calls_nobody(feishu: FeishuStandIn) -> None:
    assert send_text(settings(feishu), 'wfrecovery: <at user_id="all">')
    assert "<at" not in feishu.messages[0]["content"]["text"]


def test_without_a_bot_nothing_is_sent(feishu: FeishuStandIn) -> None:
    assert send_text(settings(feishu, feishu_webhook_url=""), "wfrecovery") is False
    assert feishu.calls == []


def _refuse(feishu: FeishuStandIn, code: int) -> Settings:
    given = settings(feishu)
    match code:
        case 19001:
            return replace(given, feishu_webhook_url=given.feishu_webhook_url + "x")
        case 19021:
            feishu.switches.date_shift = 7200
        case 19022:
            feishu.switches.bot_ip_allowed = False
        case 19024:
            feishu.switches.bot_keyword = "日报"
        case 11232:
            feishu.faults.add(Fault.BOT_LIMITED_11232)
    return given


@pytest.mark.parametrize(
    ("code", "en", "zh"),
    [
        (19001, "FEISHU_WEBHOOK_URL", "重新复制"),
        (19021, "clock", "签名校验"),
        (19022, "IP 白名单", "白名单"),
        (19024, "keyword", "关键词"),
        (11232, "half hours", "稍后"),
    ],
)
def test_what_the_bot_refuses_in_plain_words(feishu: FeishuStandIn, code: int, en: str, zh: str) -> None:
    given = _refuse(feishu, code)
    with pytest.raises(FeishuError) as caught:
        send_text(given, "wfrecovery")
    error = caught.value
    assert (error.code, en in error.wording.en, zh in error.wording.zh) == (code, True, True)
    assert error.remedy is (Remedy.RETRY if code == 11232 else Remedy.FINAL)
    assert not error.outcome_unknown
    assert feishu.messages == []
    hook = given.feishu_webhook_url.rpartition("/")[2]
    assert hook not in str(error) + error.wording.zh


def test_the_keyword_that_is_advised_lets_it_pass(feishu: FeishuStandIn) -> None:
    feishu.switches.bot_keyword = "wfrecovery"
    assert send_text(settings(feishu), "wfrecovery")


@pytest.mark.parametrize(
    ("kind", "unknown"), [(Fault.RESET_AFTER, True), (Fault.HTML_502, True), (Fault.HALF_BODY, True)]
)
def test_after_a_lost_answer_nobody_knows(feishu: FeishuStandIn, kind: Fault, unknown: bool) -> None:
    feishu.faults.add(kind)
    with pytest.raises(FeishuError) as caught:
        send_text(settings(feishu), "wfrecovery")
    assert caught.value.outcome_unknown is unknown


def test_what_was_never_connected_was_not_sent(feishu: FeishuStandIn) -> None:
    feishu.stop()
    with pytest.raises(FeishuError) as caught:
        send_text(settings(feishu), "wfrecovery")
    assert (caught.value.outcome_unknown, caught.value.remedy) == (False, Remedy.RETRY)
    assert feishu.webhook_url.rpartition("/")[2] not in str(caught.value)


@pytest.mark.parametrize("url", ["hook", "http://", "ftp://x/y"])
def test_an_address_that_is_none(feishu: FeishuStandIn, url: str) -> None:
    with pytest.raises(FeishuError, match="FEISHU_WEBHOOK_URL") as caught:
        send_text(settings(feishu, feishu_webhook_url=url), "wfrecovery")
    assert caught.value.remedy is Remedy.FINAL


def test_chinese_goes_as_it_is(feishu: FeishuStandIn) -> None:
    send_text(settings(feishu), "wfrecovery：内存不足")
    sent = json.dumps(feishu.messages[0], ensure_ascii=False)
    assert "内存不足" in sent
    assert feishu.calls[0].body_bytes < len(json.dumps(feishu.messages[0]))
