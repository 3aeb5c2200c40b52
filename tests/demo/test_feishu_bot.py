"""The stand-in Feishu: the custom bot of a group. A fact, a test; real HTTP, no sleeps."""

from __future__ import annotations

from typing import Any

import pytest
import requests
from feishu_caller import Client, Clock

from wfrecovery.demo.feishu_host.stand_in import Fault, FeishuStandIn

#: computed for this timestamp and the secret `demo`
SIGNED = {"timestamp": "1599360473", "sign": "l1N0gAcBjdwBvGm1xMjOF0XSyaLRpR7tuO5dHfhAYc8="}
TEXT = {"msg_type": "text", "content": {"text": "好了"}}


def test_the_bot_checks_the_signature(clock: Clock) -> None:
    clock.now = 1599360473.0
    with FeishuStandIn(webhook_secret="demo", clock=clock) as feishu, requests.Session() as session:
        session.trust_env = False

        def send(**body: Any) -> dict[str, Any]:
            return session.post(feishu.webhook_url, json=body, timeout=120).json()

        good = {"code": 0, "msg": "success", "data": {}, "Extra": None, "StatusCode": 0, "StatusMessage": "success"}
        assert send(**TEXT, **SIGNED) == good
        assert send(**TEXT)["code"] == 19021
        assert send(**TEXT, **{**SIGNED, "sign": "x"})["code"] == 19021
        clock.now += 3601
        assert send(**TEXT, **SIGNED)["code"] == 19021
        assert [message["content"]["text"] for message in feishu.messages] == ["好了"]


def test_the_bot_takes_five_a_second_and_100_a_minute(client: Client, feishu: FeishuStandIn, clock: Clock) -> None:
    def send() -> int:
        return client.session.post(feishu.webhook_url, json=TEXT, timeout=120).json()["code"]

    assert [send() for _ in range(6)] == [0] * 5 + [11232]
    for _ in range(19):
        clock.now += 1
        assert [send() for _ in range(5)] == [0] * 5
    clock.now += 1
    assert send() == 11232


def test_the_bots_own_safety(client: Client, feishu: FeishuStandIn) -> None:
    def send(url: str = feishu.webhook_url) -> tuple[int, int, str]:
        answer = client.session.post(url, json=TEXT, timeout=120)
        return answer.status_code, answer.json()["code"], answer.json()["msg"]

    assert send(feishu.webhook_url + "x")[:2] == (200, 19001)
    feishu.switches.bot_keyword = "完成"
    assert send() == (200, 19024, "Key Words Not Found")
    feishu.switches.bot_keyword = "好"
    feishu.switches.bot_ip_allowed = False
    assert send() == (200, 19022, "Ip Not Allowed")
    feishu.switches.bot_ip_allowed = True
    feishu.faults.add(Fault.BOT_LIMITED_11232)
    assert [send()[1] for _ in range(2)] == [11232, 0]


@pytest.mark.parametrize("body", [{}, {"msg_type": "text"}, {"msg_type": "text", "content": "x" * 20_480}])
def test_a_bad_message(client: Client, feishu: FeishuStandIn, body: dict[str, Any]) -> None:
    answer = client.session.post(feishu.webhook_url, json=body, timeout=120).json()
    assert answer == {"code": 9499, "msg": "Bad Request", "data": {}}


def test_the_bot_of_years_ago_answers_without_a_code(client: Client, feishu: FeishuStandIn) -> None:
    feishu.switches.bot_old_answer = True
    answer = client.session.post(feishu.webhook_url, json=TEXT, timeout=120)
    assert (answer.status_code, answer.json()) == (200, {"StatusCode": 0, "StatusMessage": "success"})
    refused = client.session.post(feishu.webhook_url, json={}, timeout=120).json()
    assert refused["code"] == 9499
