"""The stand-in Feishu: writes that are refused, wholly or by half, and what only a person can mend. Real HTTP."""

from __future__ import annotations

from typing import Any

import pytest
from feishu_caller import PNG, Client, Clock

from wfrecovery.demo.feishu_host.stand_in import Fault, FeishuStandIn


def batch(client: Client, *ranges: tuple[str, Any]) -> dict[str, Any]:
    """Ranges of the first sheet and their values, in one write."""
    body = {"valueRanges": [{"range": f"sid001!{area}", "values": values} for area, values in ranges]}
    return client.v2("POST", "values_batch_update", json=body)


def query(client: Client, token: str) -> tuple[int, int]:
    answer = client.send("GET", f"/open-apis/sheets/v3/spreadsheets/{token}/sheets/query")
    return answer.status_code, answer.json()["code"]


# Several ranges at once


def test_a_range_of_a_batch_may_be_larger_than_its_values(client: Client, feishu: FeishuStandIn) -> None:
    """As in the page's sample, the answer counts the range, not the values."""
    answer = batch(client, ("E2:F4", [["新"]]), ("H2:H", [["x"], ["y"]]))
    token = feishu.spreadsheet_token
    assert answer["data"]["responses"] == [
        {
            "spreadsheetToken": token,
            "updatedCells": 6,
            "updatedColumns": 2,
            "updatedRange": "sid001!E2:F4",
            "updatedRows": 3,
        },
        {
            "spreadsheetToken": token,
            "updatedCells": 2,
            "updatedColumns": 1,
            "updatedRange": "sid001!H2:H3",
            "updatedRows": 2,
        },
    ]
    assert client.read("sid001!E2:H3") == [["新", "否", None, "x"], ["一顶帽子", "否", None, "y"]]


@pytest.mark.parametrize("values", [[["a", "b"]], [["a"], ["b"], ["c"]]])
def test_but_not_smaller(client: Client, feishu: FeishuStandIn, values: Any) -> None:
    assert batch(client, ("F2:F3", values))["code"] == 90202
    assert feishu.sheet.text("F2") == "否"


@pytest.mark.parametrize(("atomic", "first"), [(True, "否"), (False, "已完成")])
def test_what_came_before_a_refused_range(client: Client, feishu: FeishuStandIn, atomic: bool, first: str) -> None:
    feishu.switches.batch_atomic = atomic
    feishu.sheet.protect("F3:F3")
    before = feishu.spreadsheet.revision
    answer = batch(client, ("F2:F2", [["已完成"]]), ("F3:F3", [["已完成"]]), ("H2:H2", [["已完成"]]))
    assert answer["code"] == 90218
    assert [feishu.sheet.text(cell) for cell in ("F2", "F3", "H2")] == [first, "否", "否"]
    assert len(feishu.sheet.cell_writes) == (0 if atomic else 1)
    assert feishu.spreadsheet.revision == before + (0 if atomic else 1)


def test_a_batch_whose_form_is_wrong_leaves_nothing(client: Client, feishu: FeishuStandIn) -> None:
    feishu.switches.batch_atomic = False
    assert batch(client, ("F2:F2", [["已完成"]]), ("F3:F3", []))["code"] == 90202
    assert feishu.sheet.text("F2") == "否"


# What changes nothing


def test_a_write_that_changes_nothing_may_be_refused(client: Client, feishu: FeishuStandIn) -> None:
    assert client.put("sid001!F2:F2", [["否"]])["code"] == 0
    feishu.switches.unchanged_refused = True
    before = feishu.spreadsheet.revision
    assert client.put("sid001!F2:F2", [["否"]])["code"] == 90216
    assert client.put("sid001!G2:G2", [[""]])["code"] == 90216, "it is empty already"
    assert batch(client, ("F2:F2", [["否"]]), ("H2:H2", [["否"]]))["code"] == 90216
    assert feishu.spreadsheet.revision == before
    assert batch(client, ("F2:F2", [["否"]]), ("H2:H2", [["已完成"]]))["code"] == 0
    assert [client.image("sid001!G2:G2").json()["code"] for _ in range(2)] == [0, 0], "each picture is a new one"


# Protected


def test_nobody_writes_into_a_protected_range(client: Client, feishu: FeishuStandIn) -> None:
    feishu.sheet.protect("F2:G2")
    body = {"valueRange": {"range": "sid001!F2:F2", "values": [["x"]]}}
    assert client.put("sid001!E2:F2", [["x", "x"]])["code"] == 90218
    assert batch(client, ("F2:F2", [["x"]]))["code"] == 90218
    assert client.v2("POST", "values_prepend", json=body)["code"] == 90218
    assert client.image("sid001!G2:G2").json()["code"] == 90218
    beside = [client.put(f"sid001!{area}", [["x"]])["code"] for area in ("E2:E2", "H2:H2", "F1:F1", "F3:F3")]
    assert beside == [0, 0, 0, 0]
    feishu.switches.protected_code = 90213
    assert client.put("sid001!F2:F2", [["x"]])["code"] == 90213
    feishu.sheet.insert_row(2)
    assert client.put("sid001!F2:F2", [["x"]])["code"] == 0, "the protection moves with its rows"
    assert client.put("sid001!F3:F3", [["x"]])["code"] == 90213
    feishu.sheet.set("F3", "人工")
    assert feishu.sheet.text("F3") == "人工", "people may"
    feishu.sheet.unprotect()
    assert client.put("sid001!F3:F3", [["x"]])["code"] == 0
    assert feishu.sheet.picture_writes == []


def test_a_sheet_that_is_protected_as_a_whole(client: Client, feishu: FeishuStandIn) -> None:
    other = feishu.add_sheet("第二张")
    other.protect()
    assert client.put("sid002!A1:A1", [["x"]])["code"] == 90218
    assert client.put("sid002!ZZ999:ZZ999", [["x"]])["code"] == 90218
    assert client.put("sid001!F2:F2", [["x"]])["code"] == 0


# Full


def test_a_sheet_that_is_full_of_cells(client: Client, feishu: FeishuStandIn) -> None:
    feishu.limits.sheet_cells = 8 + 2 * 5 + 1  # the header, five in each row, and room for one more
    assert batch(client, ("G2:G2", [["x"]]), ("G3:G3", [["x"]]))["code"] == 90219
    assert client.image("sid001!G2:G2").json()["code"] == 0
    assert client.image("sid001!G3:G3").json()["code"] == 90219
    assert client.put("sid001!F3:F3", [["已完成"]])["code"] == 0, "what is filled may change"
    feishu.switches.sheet_full_code = 90226
    assert client.put("sid001!A3:A3", [["x"]])["code"] == 90226
    feishu.limits.sheet_cells = 3
    assert client.put("sid001!F3:F3", [["否"]])["code"] == 0, "also where there is too much already"
    feishu.limits.sheet_cells = 19
    feishu.sheet.delete_row(2)
    assert client.put("sid001!A2:A2", [["x"]])["code"] == 0, "there is room again"


@pytest.mark.parametrize(("code", "status"), [(90226, 200), (90219, 200), (1310247, 400)])
def test_a_spreadsheet_that_is_full_of_pictures(client: Client, feishu: FeishuStandIn, code: int, status: int) -> None:
    feishu.limits.pictures, feishu.switches.pictures_full_code = 1, code
    feishu.sheet.set("A2", PNG)
    answer = client.image("sid001!G2:G2")
    assert (answer.status_code, answer.json()["code"]) == (status, code)


# Quota and front door


def test_the_calls_of_a_month(client: Client, feishu: FeishuStandIn, clock: Clock) -> None:
    feishu.limits.calls_per_month = 2
    answers = [client.raw_v2("GET", "values/sid001!A1:A1") for _ in range(4)]
    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [
        (200, 0),
        (200, 0),
        (429, 99991403),
        (429, 99991403),
    ]
    assert "x-ogw-ratelimit-reset" not in answers[-1].headers, "nobody says when to come back"
    assert client.image("sid001!G2:G2").json()["code"] == 99991403, "no call is excepted"
    assert client.login()["code"] == 0, "but the one for a token"
    clock.now += 31 * 24 * 3600
    client.login()
    assert client.put("sid001!F2:F2", [["x"]])["code"] == 0


def test_a_body_that_is_too_large_for_the_front_door(client: Client, feishu: FeishuStandIn) -> None:
    feishu.limits.front_door_bytes = 500
    feishu.faults.add(Fault.BUSY_90235, "values_image")
    large = client.image("sid001!G2:G2", list(PNG) * 4)
    assert (large.status_code, large.headers["Content-Type"]) == (413, "text/html")
    assert "<html>" in large.text
    assert feishu.faults.struck == {}, "nobody behind the door has seen it"
    upload = client.send("POST", "/open-apis/drive/v1/medias/upload_all", data={"file_name": "x" * 600})
    assert upload.status_code == 413
    assert (feishu.calls[-1].status, feishu.calls[-1].code) == (413, None)
    assert client.image("sid001!G2:G2").json()["code"] == 90235


# Who may, and where it is


def test_a_missing_scope_comes_with_the_page_that_grants_it(client: Client, feishu: FeishuStandIn) -> None:
    feishu.switches.scopes = frozenset({"im:message"})
    error = client.put("sid001!F2:F2", [["x"]])["error"]
    assert error["permission_violations"] == [
        {"type": "action_scope_required", "subject": "drive:drive"},
        {"type": "action_scope_required", "subject": "sheets:spreadsheet"},
    ]
    url = f"https://open.feishu.cn/app/{feishu.app_id}/auth?q=drive:drive,sheets:spreadsheet"
    assert error["helps"][0]["url"] == f"{url}&op_from=openapi&token_type=tenant"


@pytest.mark.parametrize(("code", "status"), [(1310214, 400), (1310213, 400), (1310251, 400), (90214, 200)])
def test_a_wiki_s_token_where_one_of_a_spreadsheet_belongs(
    client: Client, feishu: FeishuStandIn, code: int, status: int
) -> None:
    feishu.switches.wiki_token_code = code
    assert query(client, feishu.wiki_token) == (status, code)
    assert query(client, "nonsense") == (400, 1310214)
    node = client.send("GET", f"/open-apis/wiki/v2/spaces/get_node?token={feishu.wiki_token}").json()["data"]["node"]
    assert query(client, node["obj_token"]) == (200, 0)


# Faults that have such a code


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        (Fault.AGAIN_1503, 200, 1503),
        (Fault.AGAIN_1642, 200, 1642),
        (Fault.AGAIN_96001, 200, 96001),
        (Fault.AGAIN_96002, 200, 96002),
        (Fault.QUOTA_99991403, 429, 99991403),
        (Fault.UNCHANGED_90216, 200, 90216),
        (Fault.PROTECTED_90218, 200, 90218),
        (Fault.CELLS_90219, 200, 90219),
    ],
)
def test_the_same_to_order(client: Client, feishu: FeishuStandIn, kind: Fault, status: int, code: int) -> None:
    feishu.faults.add(kind)
    answer = client.image("sid001!G2:G2")
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert feishu.sheet.picture_writes == []
    assert client.image("sid001!G2:G2").json()["code"] == 0


def test_a_page_of_the_front_door_to_order(client: Client, feishu: FeishuStandIn) -> None:
    feishu.faults.add(Fault.HTML_413, "values_image")
    answer = client.image("sid001!G2:G2")
    assert (answer.status_code, answer.headers["Content-Type"]) == (413, "text/html")


@pytest.mark.parametrize("kind", [Fault.AGAIN_131001, Fault.AGAIN_1064230, Fault.AGAIN_1066002])
def test_codes_of_the_wiki_and_of_drive_come_only_there(client: Client, feishu: FeishuStandIn, kind: Fault) -> None:
    feishu.faults.add(kind)
    code = int(kind.value.removeprefix("AGAIN_"))
    assert client.image("sid001!G2:G2").json()["code"] == 0
    if kind is Fault.AGAIN_131001:
        answers = [
            client.send("GET", f"/open-apis/wiki/v2/spaces/get_node?token={feishu.wiki_token}") for _ in range(2)
        ]
    else:
        path = "/open-apis/drive/v1/medias/standinPicture00001/download"
        answers = [client.send("GET", path) for _ in range(2)]
    assert (answers[0].status_code, answers[0].json()["code"]) == (400, code)
    assert answers[1].status_code == 200


@pytest.mark.parametrize("kind", [Fault.UNCHANGED_90216, Fault.PROTECTED_90218, Fault.CELLS_90219])
def test_what_only_a_write_is_told(client: Client, feishu: FeishuStandIn, kind: Fault) -> None:
    feishu.faults.add(kind)
    assert client.v2("GET", "values/sid001")["code"] == 0
    assert feishu.faults.struck == {}
