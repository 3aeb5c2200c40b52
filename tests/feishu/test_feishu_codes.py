"""Feishu's codes over real HTTP: each has its remedy, says whom it concerns, and what a person does about it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from front_door import FrontDoor, front_door
from publishing_support import PATIENCE, Image, Team

from wfrecovery.bridge.feishu.client import FeishuClient
from wfrecovery.bridge.feishu.errors import FeishuError, Reach, Remedy
from wfrecovery.bridge.settings import load_settings
from wfrecovery.bridge.table.values import FeishuState
from wfrecovery.demo.feishu_host.stand_in import FeishuStandIn

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def door(feishu: FeishuStandIn) -> Iterator[FrontDoor]:
    with front_door(feishu.url) as opened:
        yield opened


@pytest.fixture
def client(feishu: FeishuStandIn, door: FrontDoor) -> FeishuClient:
    settings = load_settings(environ={**feishu.environment(), "FEISHU_DOMAIN": door.url})
    return FeishuClient(settings, timeout=(PATIENCE, PATIENCE))


def refusal(code: int, message: str = "said by Feishu", **more: Any) -> dict[str, Any]:
    return {"code": code, "msg": message, **more}


def refused_read(client: FeishuClient, door: FrontDoor, code: int, status: int, **more: Any) -> FeishuError:
    door.answer("/values/", refusal(code, **more), status, times=None)
    with pytest.raises(FeishuError) as caught:
        client.revision("sid001!A1:A1")
    return caught.value


# ------------------------------------------------------------------ the table


_REFRESH = [99991663, 99991664, 99991665, 99991661, 99991671, 1061005]
_SPLIT = [90221, 90227, 1254104, 1254030, 1254130]
_RETRY = [
    *(99991400, 600, 1500, 1503, 1642, 1663, 1668, 2200, 5000, 55001, 96001, 96002, 131001, 131009),
    *(95201, 95202, 95203, 95204, 95205, 95206, 95207, 95208, 95209, 96401, 96402, 96403),
    *(90203, 90217, 90228, 90235, 90242, 1310217, 1310235, 1310242, 1315201, 1315203, 1315210),
    *(1061001, 1061006, 1061045, 1064230, 1063006, 1066001, 1066002),
    *(1254036, 1254290, 1254291, 1254607, 1254608, 1255001, 1255002, 1255003, 1255005, 1255040, 11232),
]
#: the app: credentials, scopes, address, quota
_ALL_CALLS = [10003, 10014, 10015, 99991543, 99991672, 99991676, 99991679, 99991401, 99991403, 99991662, 99991673]
_DOCUMENT = [90214, 90215, 1310214, 1310215, 1310249, 91402, 1254003, 1254040, 1254041, 1254302, 1254304]
_COLUMN = [90213, 1310213, 91403, 90218, 1310218, 90219, 90226, 1310226, 1310247, 1254045, 1254060, 1254069]
_THIS_ROW = [
    *(90201, 90202, 90204, 90205, 90206, 90207, 90208, 90209, 90210, 90211, 90212, 90216, 90222, 90229),
    *(1310202, 1310211, 1310229, 1310243, 1310244, 1310245, 1310246, 1310251, 99992402, 9499),
    *(1061002, 1061003, 1061004, 1061007, 1061008, 1061021, 1061041, 1061043, 1061044, 1061061, 1061073, 1061101),
    *(1061109, 1061113, 1061547, 1062007, 1062008, 1062009, 1062010, 1062011, 1063001, 131005, 131006, 131007),
    *(1254043, 1254103, 1254106, 1254303, 4_242_424),
]


@pytest.mark.parametrize(
    ("codes", "remedy", "reach"),
    [
        (_REFRESH, Remedy.REFRESH, Reach.ROW),
        (_SPLIT, Remedy.SPLIT, Reach.ROW),
        (_RETRY, Remedy.RETRY, Reach.ROW),
        (_ALL_CALLS, Remedy.FINAL, Reach.APP),
        (_DOCUMENT, Remedy.FINAL, Reach.DOCUMENT),
        (_COLUMN, Remedy.FINAL, Reach.COLUMN),
        (_THIS_ROW, Remedy.FINAL, Reach.ROW),
    ],
    ids=["refresh", "split", "retry", "app", "document", "column", "row"],
)
@pytest.mark.parametrize("status", [200, 400])
def test_each_code_has_its_remedy_and_its_reach(
    feishu: FeishuStandIn, codes: list[int], remedy: Remedy, reach: Reach, status: int
) -> None:
    with front_door(feishu.url) as door:
        client = FeishuClient(load_settings(environ={**feishu.environment(), "FEISHU_DOMAIN": door.url}))
        for code in codes:
            door.answer(f"/values/sid001%21A{code}", refusal(code), status, times=None)
            with pytest.raises(FeishuError) as caught:
                client.revision(f"sid001!A{code}:A{code}")
            found = (caught.value.code, caught.value.status, caught.value.remedy, caught.value.reach)
            assert found == (code, status, remedy, reach)
            assert remedy is not Remedy.FINAL or " → " in caught.value.wording.zh, f"{code}: what is to be done?"


@pytest.mark.parametrize("status", [500, 503, 429])
def test_what_only_a_person_can_mend_is_that_at_any_http_status(
    client: FeishuClient, door: FrontDoor, status: int
) -> None:
    assert refused_read(client, door, 99991403, status).remedy is Remedy.FINAL


def test_a_code_that_nobody_knows_is_judged_by_its_http_status(client: FeishuClient, door: FrontDoor) -> None:
    assert refused_read(client, door, 4_242_424, 503).remedy is Remedy.RETRY


def test_whom_an_error_concerns_is_asked_in_one_word(client: FeishuClient, door: FrontDoor) -> None:
    app, document = FeishuError("x", reach=Reach.APP), FeishuError("x", reach=Reach.DOCUMENT)
    column, row = FeishuError("x", reach=Reach.COLUMN), FeishuError("x")
    assert [error.concerns_all for error in (app, document, column, row)] == [True, True, False, False]
    assert [error.concerns_column for error in (app, document, column, row)] == [False, False, True, False]
    assert [error.leave_alone for error in (app, document, column, row)] == [True, True, False, False]


# ------------------------------------------------------------------ credentials


@pytest.mark.parametrize(
    ("code", "message", "en", "zh"),
    [
        (10015, "wrong app secret", "FEISHU_APP_SECRET is wrong", "凭证与基础信息"),
        (10014, "app unauthorized", "publish a version", "应用管理 → 启用"),
        (10014, "app secret invalid", "FEISHU_APP_SECRET is wrong", "FEISHU_APP_SECRET 不对"),
        (10014, "app id not exists", "FEISHU_APP_ID or FEISHU_APP_SECRET is wrong", "FEISHU_APP_ID"),
        (10003, "invalid param", "FEISHU_APP_ID or FEISHU_APP_SECRET is wrong", "FEISHU_APP_ID"),
    ],
)
def test_credentials_that_are_refused_say_which(
    client: FeishuClient, door: FrontDoor, code: int, message: str, en: str, zh: str
) -> None:
    door.answer("tenant_access_token", refusal(code, message), 400, times=None)
    with pytest.raises(FeishuError) as caught:
        client.read_rows()
    assert (caught.value.code, caught.value.concerns_all) == (code, True)
    assert en in caught.value.advice.en
    assert zh in caught.value.advice.zh
    assert door.count("/sheets/") == door.count("/wiki/") == 0


# ------------------------------------------------------------------ a write that changes nothing


@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize(
    ("more", "revision"),
    [
        ({"data": {"revision": 7}}, 7),
        ({"data": {}}, None),
        ({"data": None}, None),
        ({}, None),
        ({"data": [1]}, None),
        ({"data": {"revision": "7"}}, None),
    ],
)
def test_a_write_that_changes_nothing_is_done(
    client: FeishuClient, door: FrontDoor, more: dict[str, Any], revision: int | None, status: int
) -> None:
    door.answer("values_image", refusal(90216, "EmptyValue", **more), status)
    assert client.write_picture("sid001!G2:G2", "a.png", PNG) == revision
    door.answer("values_batch_update", refusal(90216, "EmptyValue", **more), status)
    assert client.write_cells({"sid001!F2:F2": "已完成"}) == [revision]
    assert door.count("/values_") == 2


def test_a_read_that_says_so_has_read_nothing(client: FeishuClient, door: FrontDoor) -> None:
    assert refused_read(client, door, 90216, 200).remedy is Remedy.FINAL


# ------------------------------------------------------------------ the month's calls


def test_a_month_s_calls_that_are_used_up_cost_one_refused_call_and_block_all_rows(
    feishu: FeishuStandIn, door: FrontDoor, tmp_path: Path
) -> None:
    team = Team(feishu, tmp_path, feishu_domain=door.url)
    tasks = [team.finished(row) for row in (2, 3, 4, 5, 6)]
    door.answer("values_image", refusal(99991403), 429, times=None, headers={"Retry-After": "86400"})
    report = team.publisher.flush()
    assert sorted(report.blocked) == tasks
    assert door.count("values_image") == 1
    assert {team.state(task_id) for task_id in tasks} == {FeishuState.BLOCKED}
    assert all("下月 1 日" in str(team.record(task_id).outbox.last_error_zh) for task_id in tasks)
    assert team.publisher.due() == [], "it waits for nobody"


def test_a_month_s_calls_are_not_waited_for_by_who_reads(
    client: FeishuClient, door: FrontDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("wfrecovery.bridge.feishu.client.time.sleep", waits.append)
    door.answer("sheets/query", refusal(99991403), 429, times=None, headers={"Retry-After": "86400"})
    with pytest.raises(FeishuError, match="this month's calls"):
        client.read_rows()
    assert waits == []
    assert door.count("sheets/query") == 1
    assert door.count("get_node") == 0


# ------------------------------------------------------------------ what is worth another try


@pytest.mark.parametrize("code", [1503, 1642, 96001, 96002, 131001, 1064230, 1066002])
def test_a_passing_trouble_is_waited_out(
    client: FeishuClient, door: FrontDoor, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wfrecovery.bridge.feishu.client.time.sleep", lambda seconds: None)
    door.answer("sheets/query", refusal(code), 400)
    door.answer("/values/", refusal(code), 200, times=2)
    assert len(client.read_rows()) == 6


@pytest.mark.parametrize(("code", "status"), [(1255040, 504), (1254608, 403)])
def test_a_time_out_that_has_a_code_leaves_the_outcome_unknown(
    client: FeishuClient, door: FrontDoor, code: int, status: int
) -> None:
    door.answer("values_batch_update", refusal(code), status)
    with pytest.raises(FeishuError) as caught:
        client.write_cells({"sid001!F2:F2": "已完成"})
    assert caught.value.outcome_unknown


# ------------------------------------------------------------------ a missing scope


LINK = "https://open.feishu.cn/app/cli_1/auth?q=sheets:spreadsheet,drive:drive&op_from=openapi&token_type=tenant"


def missing(links: list[Any], **named: str) -> dict[str, Any]:
    subjects = [{"type": "action_scope_required", "subject": name} for name in ("sheets:spreadsheet", "drive:drive")]
    listed = [named] if named else subjects
    return {"permission_violations": listed, "helps": [{"url": link, "description": "x"} for link in links]}


@pytest.mark.parametrize("code", [99991672, 99991676, 99991679])
def test_a_missing_scope_is_named_with_the_page_that_grants_it(
    client: FeishuClient, door: FrontDoor, code: int
) -> None:
    error = refused_read(client, door, code, 400, error=missing([LINK]))
    assert error.grant_link == LINK
    for text in (error.wording.en, error.wording.zh, str(error)):
        assert LINK in text
        assert "sheets:spreadsheet, drive:drive" in text
        assert "创建版本" in text


def test_the_page_of_feishus_documentation_calls_it_scope_and_url(client: FeishuClient, door: FrontDoor) -> None:
    error = refused_read(client, door, 99991672, 400, error=missing([], scope="sheets:spreadsheet", url=LINK))
    assert error.grant_link == LINK
    assert "add sheets:spreadsheet;" in error.wording.en


@pytest.mark.parametrize(
    ("scopes", "en"),
    [
        (["drive:drive:readonly", "sheets:spreadsheet:readonly", "sheets:spreadsheet"], "add sheets:spreadsheet;"),
        (["drive:drive", "drive:file", "drive:file:upload"], "add drive:file:upload;"),
        (["wiki:wiki", "wiki:node:read", "wiki:wiki:readonly"], "add wiki:wiki:readonly;"),
        (["a:b", "c:d"], "add one of a:b, c:d;"),
        (["a:b", "a:b"], "add a:b;"),
        ([], "add the scope that it shows;"),
    ],
)
def test_of_several_scopes_the_one_is_named_that_does_for_the_next_call_as_well(
    client: FeishuClient, door: FrontDoor, scopes: list[str], en: str
) -> None:
    violations = [{"subject": scope} for scope in scopes]
    sent = {"permission_violations": violations, "helps": [{"url": LINK}]}
    assert en in refused_read(client, door, 99991672, 400, error=sent).advice.en


@pytest.mark.parametrize(
    "link",
    [
        "javascript:alert(1)//open.feishu.cn",
        "ftp://open.feishu.cn/app",
        "http://",
        "//open.feishu.cn/app",
        "https://user:word@open.feishu.cn/app",
        "https://open.feishu.cn/a b",
        "https://open.feishu.cn/a\nSet-Cookie: x",
        'https://open.feishu.cn/"><script>',
        "https://[",
        "https://open.feishu.cn/" + "x" * 2000,
        "https://open.feishu.cn/权限",
        None,
        5,
        ["https://open.feishu.cn/app"],
    ],
)
def test_a_link_that_is_no_web_address_is_not_taken_over(client: FeishuClient, door: FrontDoor, link: Any) -> None:
    error = refused_read(client, door, 99991672, 400, error=missing([link]))
    assert error.grant_link == ""
    assert "sheets:spreadsheet, drive:drive" in error.wording.zh
    assert "权限管理：开通消息里写的权限" in error.wording.zh
    assert str(link) not in error.wording.en


def test_the_first_link_that_can_be_opened_is_taken(client: FeishuClient, door: FrontDoor) -> None:
    assert refused_read(client, door, 99991672, 400, error=missing(["javascript:x", LINK])).grant_link == LINK


def test_only_a_missing_scope_has_a_page_that_grants_it(client: FeishuClient, door: FrontDoor) -> None:
    error = refused_read(client, door, 90213, 400, error=missing([LINK]))
    assert error.grant_link == ""
    assert LINK not in error.wording.en


@pytest.mark.parametrize("error", [None, [], "x", {"helps": "x"}, {"helps": {"url": LINK}}, {"helps": [1, None, []]}])
@pytest.mark.parametrize("violations", [None, "x", 5, [1], [{"subject": 5}], [{"subject": "a b\n<at>"}], [{}]])
def test_a_missing_scope_of_any_shape_is_said(
    client: FeishuClient, door: FrontDoor, error: Any, violations: Any
) -> None:
    body = {**error, "permission_violations": violations} if isinstance(error, dict) else error
    found = refused_read(client, door, 99991672, 400, error=body)
    assert (found.code, found.grant_link) == (99991672, "")
    assert "scopes" not in found.wording.en
    assert "<at>" not in found.wording.en


def test_no_secret_leaks_through_a_link_or_feishus_words(
    feishu: FeishuStandIn, client: FeishuClient, door: FrontDoor
) -> None:
    client.revision("sid001!A1:A1")
    secrets = (feishu.app_secret, feishu.spreadsheet_token, feishu.tokens.issued[-1])
    link = "https://open.feishu.cn/app?" + "&".join(f"p{n}={secret}" for n, secret in enumerate(secrets))
    error = refused_read(client, door, 99991672, 400, msg=" ".join(secrets), error=missing([link]))
    shown = f"{error} {error!r} {error.wording} {error.said} {error.advice.zh} {error.grant_link} {error.message}"
    assert "[hidden]" in error.grant_link
    for secret in secrets:
        assert secret not in shown


def test_what_feishu_says_is_cut_and_can_be_stored(client: FeishuClient, door: FrontDoor) -> None:
    door.answer("/values/", b'{"code": 90202, "msg": "a\\ud800b\\u0000\\n' + b"x" * 5000 + b'"}', 200)
    with pytest.raises(FeishuError) as caught:
        client.revision("sid001!A1:A1")
    assert len(str(caught.value)) < 1000
    assert caught.value.wording.zh.encode()
    assert caught.value.wording.zh.isprintable()


# ------------------------------------------------------------------ too large for the front door


def test_statuses_go_in_smaller_writes_where_the_front_door_calls_them_too_large(
    feishu: FeishuStandIn, client: FeishuClient, door: FrontDoor
) -> None:
    door.largest_request = 300
    client.write_cells({f"sid001!F{row}:F{row}": "已完成" for row in range(2, 8)})
    assert {feishu.sheet.text(f"F{row}") for row in range(2, 8)} == {"已完成"}


def test_a_sheet_is_read_in_parts_where_the_front_door_calls_it_too_large(
    feishu: FeishuStandIn, client: FeishuClient, door: FrontDoor
) -> None:
    whole = client.read_rows()
    door.asked.clear()
    door.largest_answer = 2000
    assert client.read_rows() == whole
    assert door.count("/values/") > 2


@pytest.mark.parametrize("body", [b"<html>413</html>", b"", {"message": "too large"}, {"code": 4_242_424, "msg": "x"}])
def test_after_all_halving_it_is_said_clearly(client: FeishuClient, door: FrontDoor, body: Any) -> None:
    door.answer("/values", body, 413, times=None)
    for call in (client.read_sheet, lambda: client.write_cells({"sid001!F2:F2": "x", "sid001!F3:F3": "x"})):
        with pytest.raises(FeishuError) as caught:
            call()
        assert (caught.value.remedy, caught.value.needs_person) == (Remedy.SPLIT, True)
        assert not caught.value.outcome_unknown, "the front door let nothing in"
        assert "even by itself" in caught.value.wording.en
        assert "单独发送也太大" in caught.value.wording.zh
    assert 3 < door.count("/values/") < 30


def test_a_picture_that_the_front_door_calls_too_large_goes_smaller(
    feishu: FeishuStandIn, door: FrontDoor, tmp_path: Path
) -> None:
    team = Team(feishu, tmp_path, feishu_domain=door.url)
    noise = Image.effect_noise((600, 600), 90).convert("RGB")
    task_id = team.finished(2, picture=noise)
    door.largest_request = 250_000
    assert team.publisher.flush().pushed == [task_id]
    assert door.count("values_image") > 1
    door.largest_request = 4_000
    other = team.finished(3, picture=noise)
    assert "too large" in team.publisher.flush().blocked[other]
    assert "太大" in str(team.record(other).outbox.last_error_zh)
    assert door.count("values_image") < 12


# ------------------------------------------------------------------ settings and the address that nobody needs


def test_missing_settings_concern_all(client: FeishuClient) -> None:
    nobody = FeishuClient(replace(client.settings, feishu_app_id=""))
    with pytest.raises(FeishuError) as caught:
        nobody.revision("sid001!A1:A1")
    assert caught.value.concerns_all


def test_a_sheet_of_another_name_concerns_all_and_is_no_reason_to_ask_the_wiki(
    client: FeishuClient, door: FrontDoor
) -> None:
    with pytest.raises(FeishuError, match="set FEISHU_SHEET_NAME") as caught:
        FeishuClient(replace(client.settings, feishu_sheet_name="无")).read_sheet()
    assert caught.value.concerns_all
    assert door.count("get_node") == 0
