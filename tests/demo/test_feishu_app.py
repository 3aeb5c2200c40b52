"""The stand-in Feishu: what an app is told about itself, and what it meets when it is switched off. Real HTTP."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
import requests

from wfrecovery.demo.feishu_host.stand_in import FeishuStandIn


def _asked(feishu: FeishuStandIn, path: str) -> dict[str, Any]:
    body = {"app_id": feishu.app_id, "app_secret": feishu.app_secret}
    url = f"{feishu.url}/open-apis/auth/v3/tenant_access_token/internal"
    with requests.Session() as session:
        session.trust_env = False
        token = session.post(url, json=body, timeout=120).json()["tenant_access_token"]
        return session.get(feishu.url + path, headers={"Authorization": f"Bearer {token}"}, timeout=120).json()


def test_an_app_is_told_which_scopes_it_has() -> None:
    with FeishuStandIn() as feishu:
        feishu.switches.scopes = frozenset({"sheets:spreadsheet:readonly"})
        scopes = _asked(feishu, "/open-apis/application/v6/scopes")["data"]["scopes"]
        granted = {item["scope_name"] for item in scopes if item["grant_status"] == 1}
        assert granted == {"sheets:spreadsheet:readonly"}
        assert {item["grant_status"] for item in scopes} == {1, 2}


@pytest.mark.parametrize(
    ("access", "view", "edit"), [("edit", True, True), ("view", True, False), ("none", False, False)]
)
def test_an_app_is_told_what_it_may_do_with_the_document(access: Any, view: bool, edit: bool) -> None:
    with FeishuStandIn() as feishu:
        feishu.switches.document_access = access
        for action, expected in (("view", view), ("edit", edit)):
            path = f"/open-apis/drive/v1/permissions/{feishu.spreadsheet_token}/members/auth?type=sheet&action={action}"
            assert _asked(feishu, path)["data"]["auth_result"] is expected


def test_a_disabled_app_and_a_denied_address_get_tokens_but_no_answers() -> None:
    path = "/open-apis/application/v6/scopes"
    with FeishuStandIn() as feishu:
        feishu.switches.denied_ip = "203.0.113.7"
        assert "203.0.113.7" in _asked(feishu, path)["msg"]
        feishu.switches.app_enabled = False
        assert _asked(feishu, path)["code"] == 99991662


def test_the_services_clock_can_be_ahead() -> None:
    with FeishuStandIn() as feishu:
        feishu.switches.date_shift = 7200
        with requests.Session() as session:
            session.trust_env = False
            date = session.get(f"{feishu.url}/open-apis/x", timeout=120).headers["Date"]
        assert parsedate_to_datetime(date).timestamp() - time.time() == pytest.approx(7200, abs=60)


def test_an_unknown_app_is_told_apart_from_a_wrong_secret() -> None:
    with FeishuStandIn() as feishu, requests.Session() as session:
        session.trust_env = False
        url = f"{feishu.url}/open-apis/auth/v3/tenant_access_token/internal"
        for body, code, message in (
            ({"app_id": "cli_of_nobody", "app_secret": feishu.app_secret}, 10014, "app id not exists"),
            ({"app_id": feishu.app_id, "app_secret": "wrong"}, 10015, "app secret invalid"),
        ):
            answer = session.post(url, json=body, timeout=120).json()
            assert (answer["code"], answer["msg"]) == (code, message)
