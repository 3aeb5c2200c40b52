"""`doctor` and Feishu's codes, over real HTTP: the same table as a push, and the page that Feishu itself names."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import preloaded
import pytest
import requests
from front_door import FrontDoor, front_door

from wfrecovery.bridge.doctor.checks import Check, Findings
from wfrecovery.bridge.doctor.feishu import examine
from wfrecovery.bridge.doctor.feishu_questions import titles
from wfrecovery.bridge.settings import Settings, load_settings
from wfrecovery.demo.feishu_host.stand_in import FeishuStandIn

LINK = "https://open.feishu.cn/app/cli_of_feishu/auth?q=sheets:spreadsheet&op_from=openapi&token_type=tenant"


@pytest.fixture
def door(feishu: FeishuStandIn) -> Iterator[FrontDoor]:
    with front_door(feishu.url) as opened:
        yield opened


@pytest.fixture
def settings(feishu: FeishuStandIn, door: FrontDoor) -> Settings:
    return load_settings(environ={**feishu.environment(), "FEISHU_DOMAIN": door.url})


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits, not waited."""
    waited: list[float] = []
    monkeypatch.setattr("wfrecovery.bridge.doctor.feishu_asker.time.sleep", waited.append)
    return waited


def refusal(code: int, message: str = "said by Feishu", **more: Any) -> dict[str, Any]:
    return {"code": code, "msg": message, **more}


def missing(link: Any, *scopes: str) -> dict[str, Any]:
    return {"permission_violations": [{"subject": scope} for scope in scopes], "helps": [{"url": link}]}


def asked(settings: Settings) -> dict[str, Check]:
    found = Findings(titles(settings), (settings.feishu_spreadsheet_token, settings.feishu_app_secret))
    with requests.Session() as session:
        examine(found, settings, session)
    return {check.id: check for check in found.checks()}


def only_wrong(settings: Settings, name: str) -> Check:
    checks = asked(settings)
    assert [check.id for check in checks.values() if check.ok is False] == [name]
    return checks[name]


# ------------------------------------------------------------------ the month's calls


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("tenant_access_token", "token"),
        ("application/v6/scopes", "app"),
        ("sheets/query", "spreadsheet"),
        ("members/auth", "edit"),
        ("/values/", "columns"),
    ],
)
def test_a_month_s_calls_that_are_used_up_are_said_in_plain_words(
    settings: Settings, door: FrontDoor, waits: list[float], path: str, name: str
) -> None:
    door.answer(path, refusal(99991403), 429, times=None)
    check = only_wrong(settings, name)
    assert "99991403" in check.detail.zh
    assert "used up this month's calls" in check.advice.en
    assert "飞书管理后台" in check.advice.zh
    assert "再试" not in check.advice.zh
    assert (door.count(path), waits) == (1, []), "waiting helps nobody, and each call costs one"


def test_the_folder_for_videos_does_not_hide_it(settings: Settings, door: FrontDoor, feishu: FeishuStandIn) -> None:
    door.answer("/drive/v1/files", refusal(99991403), 429, times=None)
    videos = replace(settings, video_link_column="视频链接", video_folder_token=feishu.folder_token)
    assert "本企业这个月" in only_wrong(videos, "spreadsheet").advice.zh


# ------------------------------------------------------------------ credentials


@pytest.mark.parametrize(
    ("code", "message", "name", "en"),
    [
        (10015, "wrong app secret", "token", "look at FEISHU_APP_SECRET"),
        (10014, "app secret invalid", "token", "look at FEISHU_APP_SECRET"),
        (10014, "app id not exists", "token", "look at FEISHU_APP_ID"),
        (10014, "app unauthorized", "app", "publish a version"),
        (10014, "said otherwise one day", "app", "publish a version"),
        (10005, "app id unauthorized", "app", "publish a version"),
        (99991662, "app not in use", "app", "publish a version"),
    ],
)
def test_credentials_that_are_refused(
    settings: Settings, door: FrontDoor, code: int, message: str, name: str, en: str
) -> None:
    door.answer("tenant_access_token", refusal(code, message), 400, times=None)
    assert en in only_wrong(settings, name).advice.en


@pytest.mark.parametrize(
    ("body", "status", "name"),
    [(b"<html>502</html>", 502, "domain"), (refusal(99991400), 429, "token"), (refusal(5000), 500, "token")],
)
def test_a_feishu_that_is_down_is_not_the_wrong_domain(
    settings: Settings, door: FrontDoor, waits: list[float], body: Any, status: int, name: str
) -> None:
    door.answer("tenant_access_token", body, status, times=None)
    assert "请过一分钟再试" in only_wrong(settings, name).advice.zh
    assert len(waits) == 2


# ------------------------------------------------------------------ missing scopes


def test_the_page_that_feishu_names_wins_over_ours(settings: Settings, door: FrontDoor) -> None:
    door.answer("sheets/query", refusal(99991672, error=missing(LINK, "drive:drive", "sheets:spreadsheet")), 400)
    check = only_wrong(settings, "scope_read")
    for text in (check.advice.en, check.advice.zh):
        assert LINK in text
        assert f"{door.url}/app/" not in text
    assert "开通 sheets:spreadsheet；" in check.advice.zh, "the one that does for writing as well"
    assert "drive:drive, sheets:spreadsheet" in check.detail.zh


@pytest.mark.parametrize("link", [None, "javascript:alert(1)"])
def test_where_feishu_names_none_ours_is_told(settings: Settings, door: FrontDoor, link: Any) -> None:
    door.answer("sheets/query", refusal(99991672, error=missing(link, "sheets:spreadsheet")), 400)
    advice = only_wrong(settings, "scope_read").advice.zh
    assert f"{door.url}/app/{settings.feishu_app_id}/auth?q=sheets:spreadsheet" in advice
    assert "javascript" not in advice


def test_a_scope_that_only_the_reading_misses_is_told_with_its_page(settings: Settings, door: FrontDoor) -> None:
    door.answer("/values/", refusal(99991672, error=missing(LINK, "sheets:spreadsheet")), 400)
    check = only_wrong(settings, "columns")
    assert LINK in check.advice.zh
    assert " → " not in check.detail.en, "what is to be done stands in the advice alone"


def test_what_asking_for_the_right_to_edit_needs_is_a_hint(settings: Settings, door: FrontDoor) -> None:
    door.answer("members/auth", refusal(99991672, error=missing(LINK, "docs:permission.member:auth")), 400)
    checks = asked(settings)
    assert all(check.ok is not False for check in checks.values())
    assert (checks["edit"].ok, LINK in checks["edit"].advice.zh) == (None, True)


def test_no_secret_is_in_a_page_that_feishu_names(settings: Settings, door: FrontDoor) -> None:
    link = f"{LINK}&a={settings.feishu_app_secret}&b={settings.feishu_spreadsheet_token}"
    door.answer("sheets/query", refusal(99991672, error=missing(link)), 400)
    check = only_wrong(settings, "scope_read")
    assert settings.feishu_app_secret not in check.advice.en
    assert settings.feishu_spreadsheet_token not in check.advice.en


# ------------------------------------------------------------------ the document


def test_a_token_that_does_not_fit_its_kind_is_told_with_advice(settings: Settings, door: FrontDoor) -> None:
    door.answer("members/auth", refusal(1063001, "Invalid parameter"), 400)
    checks = asked(settings)
    assert checks["edit"].ok is None, "reading works, so nothing is known to be wrong"
    assert "do not fit" in checks["edit"].advice.en
    assert "文档类型不匹配" in checks["edit"].advice.zh


@pytest.mark.parametrize("code", [1066002, 1063006, 96001])
def test_a_busy_question_for_the_right_to_edit_is_asked_again(settings: Settings, door: FrontDoor, code: int) -> None:
    door.answer("members/auth", refusal(code), 400)
    assert asked(settings)["edit"].ok is True


@pytest.mark.parametrize("code", [1310214, 1310213, 1310251, 91402, 4_242_424])
def test_a_wiki_is_found_whatever_the_first_refusal(
    feishu: FeishuStandIn, settings: Settings, door: FrontDoor, code: int
) -> None:
    door.answer(f"{feishu.wiki_token}/sheets/query", refusal(code), 400, times=None)
    checks = asked(replace(settings, feishu_spreadsheet_token=feishu.wiki_token))
    assert all(check.ok is True for check in checks.values())
    assert door.count("get_node") == 2, "once by each of the two who read"


@pytest.mark.parametrize(("code", "name"), [(1310213, "document"), (1310214, "spreadsheet"), (1310251, "spreadsheet")])
def test_a_wiki_that_the_app_may_not_ask_is_told_with_the_page_that_grants_it(
    settings: Settings, door: FrontDoor, code: int, name: str
) -> None:
    door.answer("sheets/query", refusal(code), 400)
    door.answer("get_node", refusal(99991672, error=missing(LINK, "wiki:wiki:readonly")), 400)
    check = only_wrong(settings, name)
    assert str(code) in check.detail.en
    assert f"如果网址里有 /wiki/，打开 {LINK}" in check.advice.zh
    assert ("添加文档应用" if name == "document" else "/sheets/ 之后") in check.advice.zh


def test_a_wiki_page_that_is_a_bitable_is_told_so(settings: Settings, door: FrontDoor) -> None:
    door.answer("sheets/query", refusal(1310214), 400)
    door.answer("get_node", {"code": 0, "data": {"node": {"obj_type": "bitable", "obj_token": "b"}}})
    assert "多维表格" in only_wrong(settings, "spreadsheet").detail.zh


@pytest.mark.parametrize("code", [99991672, 99991403])
def test_the_wiki_is_not_asked_where_that_cannot_help(settings: Settings, door: FrontDoor, code: int) -> None:
    door.answer("sheets/query", refusal(code), 400, times=None)
    asked(settings)
    assert door.count("get_node") == 0


def test_a_final_code_that_nobody_knows_is_not_asked_again(settings: Settings, door: FrontDoor) -> None:
    door.answer("sheets/query", refusal(4_242_424), 400, times=None)
    assert "查询 4242424" in only_wrong(settings, "spreadsheet").advice.zh
    assert door.count("sheets/query") == 1


def test_the_address_of_a_bitable_is_refused_in_the_reader_s_language(tmp_path: Path) -> None:
    hidden = ("FEISHU_", "WFRECOVERY_", "COMFYUI_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    given = {"FEISHU_SPREADSHEET_TOKEN": "https://team.feishu.cn/base/bascn1", "COMFYUI_URL": "http://127.0.0.1:9"}
    command = [sys.executable, "-m", "wfrecovery.bridge.cli", "doctor", "--lang", "zh"]
    ended = preloaded.run(command, env={**kept, **given}, cwd=tmp_path)
    assert "FEISHU_SPREADSHEET_TOKEN 填的是多维表格（暂不支持）的网址" in ended.stdout
    assert "bascn1" not in ended.stdout
