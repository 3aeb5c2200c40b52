"""The stand-in Feishu: tokens, scopes, and permission on the document. A fact, a test; real HTTP, no sleeps."""

from __future__ import annotations

import pytest
from feishu_caller import Client, Clock

from wfrecovery.demo.feishu_host.stand_in import Fault, FeishuStandIn


def test_the_token_stands_at_the_top_level(client: Client, feishu: FeishuStandIn) -> None:
    answer = client.login()
    assert answer == {"code": 0, "msg": "ok", "tenant_access_token": client.token, "expire": 7200}


def test_the_token_stays_while_half_an_hour_is_left(client: Client, feishu: FeishuStandIn, clock: Clock) -> None:
    first = client.token
    clock.now += 5400
    answer = client.login()
    assert (answer["tenant_access_token"], answer["expire"]) == (first, 1800)


def test_under_half_an_hour_both_tokens_are_valid(client: Client, feishu: FeishuStandIn, clock: Clock) -> None:
    first = client.token
    clock.now += 5401
    client.login()
    assert client.token != first
    assert feishu.tokens.fetches == 2
    client.token = first
    assert client.v2("GET", "values/sid001")["code"] == 0


def test_an_expired_token_is_invalid(client: Client, clock: Clock) -> None:
    clock.now += 7200
    answer = client.raw_v2("GET", "values/sid001")
    assert (answer.status_code, answer.json()["code"]) == (400, 99991663)


def test_a_wrong_secret(client: Client, feishu: FeishuStandIn) -> None:
    path = "/open-apis/auth/v3/tenant_access_token/internal"
    asked = {"app_id": feishu.app_id, "app_secret": "wrong"}
    assert client.send("POST", path, json=asked).json()["code"] == 10015
    feishu.switches.wrong_secret_code = 10014
    assert client.send("POST", path, json=asked).json()["code"] == 10014


def test_a_missing_token_and_a_wrong_prefix(client: Client) -> None:
    assert client.v2("GET", "values/sid001", headers={"Authorization": ""})["code"] == 99991661
    assert client.v2("GET", "values/sid001", headers={"Authorization": "Basic x"})["code"] == 99991671


@pytest.mark.parametrize(("kind", "status"), [(Fault.TOKEN_REVOKED_400, 400), (Fault.TOKEN_REVOKED_200, 200)])
def test_a_revoked_token_stays_revoked(client: Client, feishu: FeishuStandIn, kind: Fault, status: int) -> None:
    feishu.faults.add(kind, "values_get")
    revoked = client.token
    answer = client.raw_v2("GET", "values/sid001")
    assert (answer.status_code, answer.json()["code"]) == (status, 99991663)
    assert client.v2("GET", "values/sid001")["code"] == 99991663
    client.login()
    assert client.token != revoked
    assert client.v2("GET", "values/sid001")["code"] == 0


def test_a_missing_scope_is_named(client: Client, feishu: FeishuStandIn) -> None:
    feishu.switches.scopes = frozenset({"sheets:spreadsheet:readonly"})
    assert client.v2("GET", "values/sid001")["code"] == 0
    answer = client.put("sid001!A2:A2", [["x"]])
    assert answer["code"] == 99991672
    wanted = {"type": "action_scope_required", "subject": "sheets:spreadsheet"}
    assert wanted in answer["error"]["permission_violations"]


def test_permission_on_the_document_is_apart_from_the_scope(client: Client, feishu: FeishuStandIn) -> None:
    feishu.switches.document_access = "view"
    assert client.v2("GET", "values/sid001")["code"] == 0
    assert client.put("sid001!A2:A2", [["x"]])["code"] == 90213
    feishu.switches.document_access = "none"
    assert client.v2("GET", "values/sid001")["code"] == 90213


def test_wrong_spreadsheet_and_wrong_sheet(client: Client) -> None:
    answer = client.send("GET", "/open-apis/sheets/v2/spreadsheets/other/values/sid001").json()
    assert answer["code"] == 90214
    assert client.v2("GET", "values/nosuch!A1:B2")["code"] == 90215
