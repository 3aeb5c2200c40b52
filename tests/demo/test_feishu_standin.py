"""The stand-in Feishu against what is documented of the real one: a fact, a test. Real HTTP, no sleeps."""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest
import requests

from wfrecovery.demo.feishu_host.pictures import pixel_size
from wfrecovery.demo.feishu_host.ranges import RangeError, column_letters, column_number, parse_area
from wfrecovery.demo.feishu_host.stand_in import RETRYABLE, Fault, FaultPlan, FeishuStandIn, Picture

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
#: of an upload in parts, always
BLOCK = 4 * 1024 * 1024
ROWS = [
    {"产品名": "杯子", "模特名": "小林", "提示词": "一只杯子", "图片是否已处理": "否", "视频是否已实现": "否"},
    {"产品名": "帽子", "模特名": "小周", "提示词": "一顶帽子", "图片是否已处理": "否", "视频是否已实现": "否"},
]


class Clock:
    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


class Client:
    """The shortest way to ask; knows its token."""

    def __init__(self, feishu: FeishuStandIn) -> None:
        self.feishu = feishu
        self.session = requests.Session()
        self.session.trust_env = False
        self.token = ""

    def send(self, method: str, path: str, **more: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.token}", **more.pop("headers", {})}
        return self.session.request(method, self.feishu.url + path, headers=headers, timeout=120, **more)

    def login(self) -> dict[str, Any]:
        asked = {"app_id": self.feishu.app_id, "app_secret": self.feishu.app_secret}
        answer = self.send("POST", "/open-apis/auth/v3/tenant_access_token/internal", json=asked).json()
        self.token = answer.get("tenant_access_token", "")
        return answer

    def v2(self, method: str, path: str, **more: Any) -> dict[str, Any]:
        return self.raw_v2(method, path, **more).json()

    def raw_v2(self, method: str, path: str, **more: Any) -> requests.Response:
        return self.send(method, f"/open-apis/sheets/v2/spreadsheets/{self.feishu.spreadsheet_token}/{path}", **more)

    def read(self, area: str, **query: str) -> list[list[Any]]:
        return self.v2("GET", f"values/{area}", params=query)["data"]["valueRange"]["values"]

    def put(self, area: str, values: Any) -> dict[str, Any]:
        return self.v2("PUT", "values", json={"valueRange": {"range": area, "values": values}})

    def image(self, cell: str, image: Any = None, name: str = "row.png", **more: Any) -> requests.Response:
        body = {"range": cell, "image": base64.b64encode(PNG).decode() if image is None else image, "name": name}
        return self.raw_v2("POST", "values_image", json=body, **more)

    def parent(self, drive: str) -> dict[str, str]:
        if drive == "medias":
            return {"parent_type": "sheet_image", "parent_node": self.feishu.spreadsheet_token}
        return {"parent_type": "explorer", "parent_node": self.feishu.folder_token}

    def upload(self, data: bytes = PNG, drive: str = "medias", **changes: str) -> dict[str, Any]:
        form = {
            "file_name": "a.png",
            **self.parent(drive),
            "size": str(len(data)),
            **changes,
        }
        return self.send("POST", f"/open-apis/drive/v1/{drive}/upload_all", data=form, files={"file": data}).json()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def feishu(clock: Clock) -> Iterator[FeishuStandIn]:
    with FeishuStandIn(ROWS, clock=clock) as standin:
        yield standin


@pytest.fixture
def client(feishu: FeishuStandIn) -> Iterator[Client]:
    made = Client(feishu)
    with made.session:
        made.login()
        yield made


# The sheet itself


@pytest.mark.parametrize(("number", "letters"), [(1, "A"), (26, "Z"), (27, "AA"), (52, "AZ"), (703, "AAA")])
def test_columns_go_on_after_z(number: int, letters: str) -> None:
    assert column_letters(number) == letters
    assert column_number(letters) == number


@pytest.mark.parametrize("text", ["1:1", "A1", "A:B5", "B1:A1", "A5:B2", "a1:b2", "", "A0:A1"])
def test_what_is_not_a_range(text: str) -> None:
    with pytest.raises(RangeError):
        parse_area(text)


def test_rows_move_with_their_pictures(feishu: FeishuStandIn) -> None:
    feishu.sheet.set("G3", PNG)
    feishu.sheet.insert_row(2, {"产品名": "新品"})
    assert feishu.sheet.row(2)["产品名"] == "新品"
    assert isinstance(feishu.sheet.get("G4"), Picture)
    feishu.sheet.delete_row(3)
    assert feishu.sheet.row(3)["产品名"] == "帽子"
    feishu.sheet.sort("产品名", reverse=True)
    assert [feishu.sheet.text(f"B{n}") for n in (1, 2, 3)] == ["产品名", "新品", "帽子"]
    assert feishu.sheet.find_rows(产品名="帽子") == [3]
    assert feishu.sheet.find("产品模特合成图") == "G"


def test_the_header_may_stand_anywhere() -> None:
    sheet = FeishuStandIn(ROWS, header_row=3).sheet
    assert sheet.row(4)["产品名"] == "杯子"
    sheet.insert_row(1, ["说明"])
    assert (sheet.header_row, sheet.row(5)["产品名"]) == (4, "杯子")
    sheet.delete_row(2)
    assert (sheet.header_row, sheet.row(4)["产品名"]) == (3, "杯子")


def test_merges_are_listed_and_move(client: Client, feishu: FeishuStandIn) -> None:
    feishu.sheet.merge("B2:B3")
    feishu.sheet.insert_row(2)
    merge = {"start_row_index": 2, "end_row_index": 3, "start_column_index": 1, "end_column_index": 1}
    path = f"/open-apis/sheets/v3/spreadsheets/{feishu.spreadsheet_token}/sheets/query"
    assert client.send("GET", path).json()["data"]["sheets"][0]["merges"] == [merge]
    assert client.read("sid001!B3:B4") == [["杯子"], [None]]
    client.put("sid001!B3:B4", [["碗"], ["盘"]])
    assert client.read("sid001!B3:B4") == [["碗"], [None]], "what lies under a merge has no value"


def test_without_merges_the_field_is_left_out(client: Client, feishu: FeishuStandIn) -> None:
    path = f"/open-apis/sheets/v3/spreadsheets/{feishu.spreadsheet_token}/sheets/query"
    assert "merges" not in client.send("GET", path).json()["data"]["sheets"][0]


def test_sizes_of_pictures() -> None:
    assert pixel_size(PNG) == (1, 1)
    assert pixel_size(b"GIF89a" + (7).to_bytes(2, "little") + (9).to_bytes(2, "little")) == (7, 9)
    jpeg = b"\xff\xd8\xff\xe0\x00\x04ab\xff\xc0\x00\x11\x08" + (20).to_bytes(2, "big") + (30).to_bytes(2, "big")
    assert pixel_size(jpeg) == (30, 20)
    assert pixel_size(b"no picture") == (0, 0)


# The token


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


# Permission


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


# Reading


def test_the_list_of_sheets(client: Client, feishu: FeishuStandIn) -> None:
    feishu.add_sheet("第二张")
    path = f"/open-apis/sheets/v3/spreadsheets/{feishu.spreadsheet_token}/sheets/query"
    sheets = client.send("GET", path).json()["data"]["sheets"]
    assert [(sheet["sheet_id"], sheet["title"], sheet["index"]) for sheet in sheets] == [
        ("sid001", "商品表", 0),
        ("sid002", "第二张", 1),
    ]
    assert sheets[0]["grid_properties"]["row_count"] == 200
    assert sheets[0]["resource_type"] == "sheet"


def test_the_spreadsheet_knows_its_address(client: Client, feishu: FeishuStandIn) -> None:
    path = f"/open-apis/sheets/v3/spreadsheets/{feishu.spreadsheet_token}"
    assert client.send("GET", path).json()["data"]["spreadsheet"] == {
        "title": "商品",
        "owner_id": "ou_standin_owner",
        "token": feishu.spreadsheet_token,
        "url": f"{feishu.url}/sheets/{feishu.spreadsheet_token}",
    }
    page = client.session.get(feishu.spreadsheet.url, timeout=120)
    assert page.headers["Content-Type"].startswith("text/html"), "the link opens the sheet"
    missing = client.send("GET", "/open-apis/sheets/v3/spreadsheets/other")
    assert (missing.status_code, missing.json()["code"]) == (400, 1310214)
    feishu.switches.scopes = frozenset({"drive:file"})
    assert client.send("GET", path).json()["code"] == 99991672


def test_v3_is_counted_by_the_minute(client: Client, feishu: FeishuStandIn, clock: Clock) -> None:
    feishu.limits.sheet_v3_calls_per_minute = 2
    path = f"/open-apis/sheets/v3/spreadsheets/{feishu.spreadsheet_token}/sheets/query"
    codes = []
    for _ in range(3):
        answer = client.send("GET", path)
        codes.append(answer.json()["code"])
        clock.now += 10
    assert codes == [0, 0, 99991400]
    assert answer.headers["X-Ogw-Ratelimit-Reset"] == "40", "when the first call is a minute old"


def test_a_range_is_padded_with_null(client: Client) -> None:
    assert client.read("sid001!B2:C5") == [["杯子", None], ["帽子", None], [None, None], [None, None]]


def test_the_range_is_percent_decoded(client: Client) -> None:
    assert client.read("sid001%21B2%3AB2") == [["杯子"]]


@pytest.mark.parametrize(
    ("area", "rows", "columns"), [("sid001", 3, 8), ("sid001!A:B", 200, 2), ("sid001!B3:C", 198, 2)]
)
def test_open_ranges(client: Client, area: str, rows: int, columns: int) -> None:
    values = client.read(area)
    assert (len(values), len(values[0])) == (rows, columns)


@pytest.mark.parametrize("area", ["sid001!1:1", "sid001!A1", "sid001!nonsense"])
def test_rows_and_lone_cells_are_no_ranges(client: Client, area: str) -> None:
    assert client.v2("GET", f"values/{area}")["code"] == 90202


def test_columns_beyond_z_can_be_written_and_read(client: Client) -> None:
    assert client.put("sid001!AB2:AC2", [["x", 7]])["code"] == 0
    assert client.read("sid001!AA2:AC2") == [[None, "x", 7]]


def test_at_most_100_columns_of_an_open_range(client: Client) -> None:
    assert client.v2("GET", "values/sid001!A:CV")["code"] == 0
    assert client.v2("GET", "values/sid001!A:CW")["code"] == 90202


def test_an_answer_that_is_too_large(client: Client, feishu: FeishuStandIn) -> None:
    feishu.limits.answer_bytes = len(client.raw_v2("GET", "values/sid001!B2:B2").content)
    assert client.v2("GET", "values/sid001!A1:H3")["code"] == 90221
    assert client.v2("GET", "values/sid001!B2:B2")["code"] == 0


def test_several_ranges_at_once(client: Client) -> None:
    answer = client.v2("GET", "values_batch_get", params={"ranges": "sid001!B2:B3,sid001!D2:D2"})["data"]
    assert answer["totalCells"] == 3
    assert [part["values"] for part in answer["valueRanges"]] == [[["杯子"], ["帽子"]], [["小林"]]]
    assert [part["range"] for part in answer["valueRanges"]] == ["sid001!B2:B3", "sid001!D2:D2"]


def test_rich_text_is_a_list_unless_text_is_asked_for(client: Client, feishu: FeishuStandIn) -> None:
    feishu.sheet.set("E2", [{"type": "text", "text": "一只"}, {"type": "text", "text": "红杯子"}])
    assert client.read("sid001!E2:E2")[0][0][1]["text"] == "红杯子"
    assert client.read("sid001!E2:E2", valueRenderOption="ToString") == [["一只红杯子"]]
    assert feishu.sheet.row_texts(2)["提示词"] == "一只红杯子"


# Writing


def test_put_one_range(client: Client, feishu: FeishuStandIn) -> None:
    before = feishu.sheet.revision
    data = client.put("sid001!F2:F3", [["已完成"], ["失败"]])["data"]
    assert data == {
        "revision": before + 1,
        "spreadsheetToken": feishu.spreadsheet_token,
        "updatedCells": 2,
        "updatedColumns": 1,
        "updatedRange": "sid001!F2:F3",
        "updatedRows": 2,
    }
    assert feishu.sheet.text("F3") == "失败"
    assert [(write.cell, write.row_texts["产品名"]) for write in feishu.sheet.cell_writes] == [
        ("F2", "杯子"),
        ("F3", "帽子"),
    ]


def test_several_ranges_in_one_write(client: Client, feishu: FeishuStandIn) -> None:
    other = feishu.add_sheet("第二张")
    ranges = [{"range": "sid001!F2:F2", "values": [["已完成"]]}, {"range": "sid002!A1:A1", "values": [[1]]}]
    before = feishu.sheet.revision
    data = client.v2("POST", "values_batch_update", json={"valueRanges": ranges})["data"]
    assert [part["updatedRange"] for part in data["responses"]] == ["sid001!F2:F2", "sid002!A1:A1"]
    assert (data["revision"], feishu.sheet.text("F2"), other.get("A1")) == (before + 1, "已完成", 1)


def test_each_write_raises_the_revision_by_one(client: Client, feishu: FeishuStandIn) -> None:
    value = {"valueRange": {"range": "sid001!B2:B2", "values": [["鞋"]]}}
    ranges = [{"range": f"sid001!F{n}:F{n}", "values": [["已完成"]]} for n in (2, 3)]

    def read() -> int:
        return client.v2("GET", "values/sid001!A1:A1")["data"]["valueRange"]["revision"]

    for write in (
        lambda: client.v2("PUT", "values", json=value),
        lambda: client.v2("POST", "values_batch_update", json={"valueRanges": ranges}),
        lambda: client.v2("POST", "values_append", json=value),
        lambda: client.v2("POST", "values_append?insertDataOption=INSERT_ROWS", json=value),
        lambda: client.v2("POST", "values_prepend", json=value),
        lambda: client.image("sid001!G2:G2").json(),
    ):
        before = read()
        assert write()["data"]["revision"] == before + 1 == read()
    feishu.sheet.insert_row(2)
    assert read() == before + 2, "a person's change counts as well"
    assert client.put("sid001!F2:F2", [])["code"] == 90202
    assert read() == before + 2, "a refused one does not"


@pytest.mark.parametrize("values", [[["a"], ["b"]], [["a", "b"]], [], [[]], "a", None])
def test_values_must_have_the_shape_of_the_range(client: Client, values: Any) -> None:
    assert client.put("sid001!F2:F2", values)["code"] == 90202


def test_control_characters_are_refused(client: Client) -> None:
    assert client.put("sid001!F2:F2", [["a\x07b"]])["code"] == 90202
    assert client.put("sid001!F2:F2", [["a\n\tb"]])["code"] == 0


def test_a_cell_holds_50000_characters(client: Client) -> None:
    assert client.put("sid001!F2:F2", [["字" * 50_000]])["code"] == 0
    assert client.put("sid001!F2:F2", [["字" * 50_001]])["code"] == 90222


def test_one_write_is_5000_rows_by_100_columns(client: Client) -> None:
    assert client.put("sid001!A2:A5001", [["x"]] * 5000)["code"] == 0
    assert client.put("sid001!A2:A5002", [["x"]] * 5001)["code"] == 90226
    assert client.put("sid001!A2:CW2", [["x"] * 101])["code"] == 90226


def test_a_body_that_is_too_large(client: Client, feishu: FeishuStandIn) -> None:
    feishu.limits.body_bytes = 300
    assert client.put("sid001!F2:F2", [["x" * 400]])["code"] == 90227
    assert client.put("sid001!F2:F2", [["x"]])["code"] == 0


@pytest.mark.parametrize("kind", ["embed-image", "file", "image"])
def test_neither_files_nor_pictures_by_token_fit_into_a_cell(client: Client, kind: str) -> None:
    assert client.put("sid001!G2:G2", [[{"type": kind, "fileToken": "x"}]])["code"] == 90202


def test_links_and_formulas_do(client: Client) -> None:
    link = {"type": "url", "text": "视频", "link": "http://example.com/a.mp4"}
    assert client.put("sid001!G2:H2", [[link, {"type": "formula", "text": "=A1"}]])["code"] == 0
    assert client.read("sid001!G2:H2") == [[link, "=A1"]]
    assert client.read("sid001!G2:G2", valueRenderOption="ToString") == [["视频"]]


def test_a_string_with_an_equals_sign_stays_text(client: Client) -> None:
    client.put("sid001!F2:F2", [["=1+1"]])
    assert client.read("sid001!F2:F2") == [["=1+1"]]


def test_append_is_not_idempotent(client: Client, feishu: FeishuStandIn) -> None:
    body = {"valueRange": {"range": "sid001!B1:C1", "values": [["鞋", 1]]}}
    answers = [client.v2("POST", "values_append", json=body)["data"] for _ in range(2)]
    assert [answer["updates"]["updatedRange"] for answer in answers] == ["sid001!B4:C4", "sid001!B5:C5"]
    assert answers[1]["revision"] == feishu.sheet.revision
    assert feishu.sheet.find_rows(产品名="鞋") == [4, 5]


def test_append_may_insert_rows(client: Client, feishu: FeishuStandIn) -> None:
    feishu.sheet.set("H4", "下一行")
    body = {"valueRange": {"range": "sid001!B1:B1", "values": [["鞋"]]}}
    client.v2("POST", "values_append?insertDataOption=INSERT_ROWS", json=body)
    assert (feishu.sheet.text("B4"), feishu.sheet.text("H5")) == ("鞋", "下一行")


def test_prepend_pushes_everything_down(client: Client, feishu: FeishuStandIn) -> None:
    body = {"valueRange": {"range": "sid001!B2:B2", "values": [["鞋"]]}}
    assert client.v2("POST", "values_prepend", json=body)["data"]["updates"]["updatedRange"] == "sid001!B2:B2"
    assert [feishu.sheet.text(f"B{n}") for n in (2, 3, 4)] == ["鞋", "杯子", "帽子"]


@pytest.mark.parametrize("content_type", ["text/plain", ""])
def test_json_is_taken_whatever_the_content_type(client: Client, content_type: str) -> None:
    body = json.dumps({"valueRange": {"range": "sid001!F2:F2", "values": [["已完成"]]}}, ensure_ascii=False)
    assert client.v2("PUT", "values", data=body.encode(), headers={"Content-Type": content_type})["code"] == 0


def test_a_body_that_is_no_json(client: Client) -> None:
    assert client.v2("PUT", "values", data=b"{")["code"] == 90201
    assert client.v2("PUT", "values", data=b"{}")["code"] == 90204


def test_a_chunked_body(client: Client, feishu: FeishuStandIn) -> None:
    body = json.dumps({"valueRange": {"range": "sid001!F2:F2", "values": [["x"]]}}).encode()
    assert client.v2("PUT", "values", data=iter([body[:9], body[9:]]))["code"] == 0
    assert feishu.calls[-1].body_bytes == len(body)


# Pictures


@pytest.mark.parametrize("image", [base64.b64encode(PNG).decode(), list(PNG)], ids=["base64", "int list"])
def test_a_picture_goes_into_a_cell(client: Client, feishu: FeishuStandIn, image: Any) -> None:
    data = client.image("sid001!G2:G2", image).json()["data"]
    assert data == {
        "revision": feishu.sheet.revision,
        "spreadsheetToken": feishu.spreadsheet_token,
        "updateRange": "sid001!G2:G2",
    }
    (write,) = feishu.sheet.picture_writes
    assert (write.cell, write.title, write.row_texts["产品名"]) == ("G2", "产品模特合成图", "杯子")
    assert (write.data, write.sha256) == (PNG, hashlib.sha256(PNG).hexdigest())


def test_a_picture_reads_back_as_an_object(client: Client) -> None:
    client.image("sid001!G2:G2")
    ((cell,),) = client.read("sid001!G2:G2")
    assert (cell["type"], cell["width"], cell["height"], cell["text"]) == ("embed-image", 1, 1, "")
    downloaded = client.send("GET", f"/open-apis/drive/v1/medias/{cell['fileToken']}/download")
    assert downloaded.content == PNG


def test_both_spellings_of_the_range(client: Client, feishu: FeishuStandIn) -> None:
    feishu.switches.picture_range_key = "updatedRange"
    assert client.image("sid001!G2:G2").json()["data"]["updatedRange"] == "sid001!G2:G2"


@pytest.mark.parametrize("name", ["row", "row.webp", "row.mp4", ".png", ""])
def test_a_picture_needs_a_known_extension(client: Client, name: str) -> None:
    answer = client.image("sid001!G2:G2", name=name).json()
    assert (answer["code"], answer["msg"]) == (90204, "Image format is unknown")


@pytest.mark.parametrize("name", ["图.PNG", "a.JPEG", "a.b.heic", "x.Tiff"])
def test_extensions_in_any_case(client: Client, name: str) -> None:
    assert client.image("sid001!G2:G2", name=name).json()["code"] == 0


def test_webp_is_refused_under_any_name(client: Client) -> None:
    assert client.image("sid001!G2:G2", list(b"RIFF\x00\x00\x00\x00WEBPVP8 ")).json()["code"] == 90204


@pytest.mark.parametrize("area", ["sid001!G2:G3", "sid001!G2:H2", "sid001!G2", "sid001!G:G", "sid001", None])
def test_a_picture_goes_into_one_cell(client: Client, area: Any) -> None:
    assert client.image(area).json()["code"] == 90202


@pytest.mark.parametrize("image", ["not base64!", "", [], [256], 7])
def test_bytes_that_are_none(client: Client, image: Any) -> None:
    assert client.image("sid001!G2:G2", image).json()["code"] == 90204


def test_a_picture_that_is_too_large(client: Client, feishu: FeishuStandIn) -> None:
    feishu.limits.picture_bytes = 40
    assert client.image("sid001!G2:G2").json()["code"] == 90227


def test_each_write_counts_to_the_limit_of_pictures(client: Client, feishu: FeishuStandIn) -> None:
    feishu.limits.pictures = 2
    assert [client.image("sid001!G2:G2").json()["code"] for _ in range(3)] == [0, 0, 90226]
    assert len({write.token for write in feishu.sheet.picture_writes}) == 2


# Rates and turns


def test_a_rate_limit_says_how_long_to_wait(client: Client, feishu: FeishuStandIn, clock: Clock) -> None:
    codes = [client.put("sid001!F2:F2", [["x"]])["code"] for _ in range(101)]
    assert codes == [0] * 100 + [99991400]
    answer = client.raw_v2("PUT", "values", json={})
    assert (answer.status_code, answer.headers["X-Ogw-Ratelimit-Reset"]) == (429, "1")
    assert client.v2("GET", "values/sid001")["code"] == 0, "each API has its own count"
    clock.now += 1
    assert client.put("sid001!F2:F2", [["x"]])["code"] == 0


def test_two_writes_at_once(client: Client, feishu: FeishuStandIn) -> None:
    """One write is held inside; another, and a read, come meanwhile."""
    entered, leave = threading.Event(), threading.Event()

    def hold(seconds: float) -> None:
        entered.set()
        leave.wait(10)

    feishu._gate.pause = hold  # type: ignore[method-assign]
    feishu.faults.add(Fault.SLOW_BEFORE, "values_image")
    with ThreadPoolExecutor() as threads:
        slow = threads.submit(Client.image, client, "sid001!G2:G2")
        assert entered.wait(10)
        other = Client(feishu)
        with other.session:
            other.token = client.token
            assert other.put("sid001!F2:F2", [["x"]])["code"] == 90235
            assert other.v2("GET", "values/sid001")["code"] == 0
        leave.set()
        assert slow.result().json()["code"] == 0
    assert feishu.overlaps == 1


def test_two_writes_to_one_table_at_once(client: Client, feishu: FeishuStandIn) -> None:
    entered, leave = threading.Event(), threading.Event()

    def hold(seconds: float) -> None:
        entered.set()
        leave.wait(10)

    feishu._gate.pause = hold  # type: ignore[method-assign]
    feishu.faults.add(Fault.SLOW_BEFORE, "records_batch_update")
    record = {"record_id": "recstandin1", "fields": {"状态": "已完成"}}
    other = Client(feishu)
    with ThreadPoolExecutor() as threads, other.session:
        slow = threads.submit(update, client, record)
        assert entered.wait(10)
        other.token = client.token
        answer = update(other, record)
        assert (answer.status_code, answer.json()["code"]) == (200, 1254291)
        leave.set()
        assert slow.result().json()["code"] == 0


def test_writes_one_after_the_other_never_overlap(client: Client, feishu: FeishuStandIn) -> None:
    feishu.limits.sheet_calls_per_second = None
    for _ in range(200):
        assert client.put("sid001!F2:F2", [["x"]])["code"] == 0
    assert feishu.overlaps == 0


def test_an_upload_at_a_time_and_five_a_second(client: Client, clock: Clock) -> None:
    assert [client.upload()["code"] for _ in range(6)] == [0] * 5 + [1061045]
    clock.now += 1
    assert client.upload()["code"] == 0


def test_uploads_a_day(client: Client, feishu: FeishuStandIn, clock: Clock) -> None:
    feishu.limits.uploads_per_day = 1
    assert [client.upload()["code"] for _ in range(2)] == [0, 1061045]
    clock.now += 24 * 3600
    client.login()
    assert client.upload()["code"] == 0


# Drive


def test_upload_and_download(client: Client, feishu: FeishuStandIn) -> None:
    token = client.upload(b"hello", checksum=str(zlib.adler32(b"hello")))["data"]["file_token"]
    path = f"/open-apis/drive/v1/medias/{token}/download"
    whole = client.send("GET", path)
    assert (whole.content, whole.headers["Content-Disposition"]) == (b"hello", "attachment; filename*=UTF-8''a.png")
    part = client.send("GET", path, headers={"Range": "bytes=1-3"})
    assert (part.status_code, part.content, part.headers["Content-Range"]) == (206, b"ell", "bytes 1-3/5")
    assert client.send("GET", path, headers={"Range": "bytes=9-"}).status_code == 416
    assert feishu.drive.files[token].data == b"hello"


def test_a_file_part_without_name_and_empty_parts(client: Client, feishu: FeishuStandIn) -> None:
    fields = {"file_name": "图.png", "parent_type": "sheet_image", "parent_node": feishu.spreadsheet_token}
    fields |= {"size": "5", "checksum": "", "extra": ""}
    pieces = [f'--x\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n'.encode() for k, v in fields.items()]
    pieces.append(b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\na\r\n-b\r\n--x--\r\n')
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    answer = client.send("POST", "/open-apis/drive/v1/medias/upload_all", data=b"".join(pieces), headers=headers)
    stored = feishu.drive.files[answer.json()["data"]["file_token"]]
    assert (stored.name, stored.data) == ("图.png", b"a\r\n-b")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"size": "99"}, 1062009),
        ({"size": "x"}, 1061002),
        ({"size": "0"}, 1061002),
        ({"checksum": "1"}, 1062008),
        ({"parent_type": "nonsense"}, 1061002),
        ({"parent_node": "other"}, 1061044),
        ({"file_name": "x" * 251}, 1061008),
        ({"size": str(20 * 1024 * 1024 + 1)}, 1061043),
    ],
)
def test_uploads_that_are_refused(client: Client, changes: dict[str, str], code: int) -> None:
    assert client.upload(**changes)["code"] == code


@pytest.mark.parametrize("drive", ["medias", "files"])
def test_an_upload_in_parts(client: Client, feishu: FeishuStandIn, drive: str) -> None:
    data = b"x" * (BLOCK + 3)
    about = {"file_name": "a.mp4", **client.parent(drive), "size": len(data)}
    path = f"/open-apis/drive/v1/{drive}"
    prepared = client.send("POST", f"{path}/upload_prepare", json=about).json()["data"]
    assert (prepared["block_size"], prepared["block_num"]) == (4 * 1024 * 1024, 2)

    def send(seq: int, block: bytes) -> int:
        form = {"upload_id": prepared["upload_id"], "seq": str(seq), "size": str(len(block))}
        return client.send("POST", f"{path}/upload_part", data=form, files={"file": block}).json()["code"]

    def finish() -> dict[str, Any]:
        asked = {"upload_id": prepared["upload_id"], "block_num": 2}
        return client.send("POST", f"{path}/upload_finish", json=asked).json()

    assert send(0, data[:BLOCK]) == 0
    assert send(2, b"x") == 1062011
    assert send(1, b"xx") == 1062009
    assert finish()["code"] == 1062010
    assert send(1, data[BLOCK:]) == 0
    assert feishu.drive.files[finish()["data"]["file_token"]].data == data
    assert finish()["code"] == 1061021


def test_an_upload_id_lives_a_day(client: Client, feishu: FeishuStandIn, clock: Clock) -> None:
    about = {"file_name": "a", **client.parent("files"), "size": 1}
    answer = client.send("POST", "/open-apis/drive/v1/files/upload_prepare", json=about).json()
    clock.now += 24 * 3600
    client.login()
    asked = {"upload_id": answer["data"]["upload_id"], "block_num": 1}
    assert client.send("POST", "/open-apis/drive/v1/files/upload_finish", json=asked).json()["code"] == 1061021


def test_drive_errors_have_their_own_status(client: Client, feishu: FeishuStandIn) -> None:
    missing = client.send("GET", "/open-apis/drive/v1/medias/nosuch/download")
    assert (missing.status_code, missing.json()["code"]) == (404, 1061003)
    feishu.switches.document_access = "none"
    assert client.upload()["code"] == 1061004


def test_temporary_urls(client: Client) -> None:
    token = client.upload()["data"]["file_token"]
    path = f"/open-apis/drive/v1/medias/batch_get_tmp_download_url?file_tokens={token}"
    (found,) = client.send("GET", path).json()["data"]["tmp_download_urls"]
    assert found["file_token"] == token
    assert client.session.get(found["tmp_download_url"], timeout=120).content == PNG


def test_a_file_in_a_folder_has_an_address(client: Client, feishu: FeishuStandIn) -> None:
    stored = client.upload(b"\0\0\0 ftypisom", "files", file_name="杯子.mp4")["data"]["file_token"]
    media = client.upload()["data"]["file_token"]

    def ask(with_url: bool = True, kind: str = "file") -> dict[str, Any]:
        documents = [{"doc_token": token, "doc_type": kind} for token in (stored, media)]
        body = {"request_docs": documents, "with_url": with_url}
        return client.send("POST", "/open-apis/drive/v1/metas/batch_query", json=body).json()["data"]

    (meta,) = ask()["metas"]
    assert (meta["doc_token"], meta["title"], meta["url"]) == (stored, "杯子.mp4", f"{feishu.url}/file/{stored}")
    assert ask()["failed_list"] == [{"token": media, "code": 970005}], "a document's media is no file of its own"
    assert "url" not in ask(with_url=False)["metas"][0]
    assert {item["code"] for item in ask(kind="nonsense")["failed_list"]} == {970002}
    page = client.session.get(meta["url"], timeout=120)
    assert (page.content, page.headers["Content-Type"]) == (b"\0\0\0 ftypisom", "video/mp4")
    feishu.switches.folder_access = False
    assert ask()["failed_list"][0] == {"token": stored, "code": 970003}
    assert client.upload(drive="files")["code"] == 1061004


def test_a_folder_is_listed_page_by_page(client: Client, feishu: FeishuStandIn) -> None:
    for name in ("a", "b", "c"):
        client.upload(drive="files", file_name=name)

    def ask(**query: Any) -> dict[str, Any]:
        found = client.send("GET", "/open-apis/drive/v1/files", params={"folder_token": feishu.folder_token, **query})
        return found.json()

    page = ask(page_size=2, order_by="CreatedTime")["data"]
    assert ([file["name"] for file in page["files"]], page["has_more"]) == (["c", "b"], True)
    assert page["files"][0]["url"] == f"{feishu.url}/file/{page['files'][0]['token']}"
    rest = ask(page_size=2, page_token=page["next_page_token"])["data"]
    assert ([file["name"] for file in rest["files"]], rest["has_more"]) == (["a"], False)
    assert ask(page_size=201)["code"] == 1064001
    assert ask(folder_token="other")["code"] == 1061003
    feishu.switches.scopes = frozenset({"drive:file:upload"})
    assert ask()["code"] == 99991672


def test_files_and_media_need_different_scopes(client: Client, feishu: FeishuStandIn) -> None:
    feishu.switches.scopes = frozenset({"sheets:spreadsheet"})
    assert (client.upload()["code"], client.upload(drive="files")["code"]) == (0, 99991672)
    feishu.switches.scopes = frozenset({"drive:file:upload"})
    assert (client.upload()["code"], client.upload(drive="files")["code"]) == (99991672, 0)


def test_a_folder_that_is_not_there_and_one_that_is_full(client: Client, feishu: FeishuStandIn) -> None:
    assert client.upload(drive="files", parent_node="other")["code"] == 1061044
    feishu.limits.folder_entries = 1
    assert [client.upload(drive="files")["code"] for _ in range(2)] == [0, 1062507]


# Bitable


def update(client: Client, *records: dict[str, Any], table: str = "") -> requests.Response:
    base = client.feishu.bitable
    path = f"/open-apis/bitable/v1/apps/{base.app_token}/tables/{table or base.table_id}/records/batch_update"
    return client.send("POST", path, json={"records": list(records)})


def test_records_are_updated_and_echoed(client: Client, feishu: FeishuStandIn) -> None:
    uploaded = client.upload(parent_type="bitable_file", parent_node=feishu.bitable.app_token)["data"]["file_token"]
    record = {"record_id": "recstandin1", "fields": {"状态": "已完成", "附件": [{"file_token": uploaded}]}}
    assert update(client, record).json()["data"] == {"records": [record]}
    assert feishu.bitable.records["recstandin1"] == record["fields"]


def test_records_that_are_refused(client: Client, feishu: FeishuStandIn) -> None:
    picture = client.upload()["data"]["file_token"]
    good = {"record_id": "recstandin1", "fields": {"状态": "已完成"}}

    def codes(*records: dict[str, Any], table: str = "") -> tuple[int, int]:
        answer = update(client, *records, table=table)
        return answer.status_code, answer.json()["code"]

    assert codes(good, table="other") == (200, 1254041)
    assert codes(good, {**good, "record_id": "other"}) == (200, 1254043)
    assert codes({**good, "fields": {"其他": 1}}) == (200, 1254045)
    assert codes({**good, "fields": {"附件": [{"file_token": picture}]}}) == (403, 1254303)
    feishu.limits.table_records = 1
    assert codes(good, good) == (200, 1254104)
    assert feishu.bitable.records["recstandin1"] == {}


# Wiki and custom bot


def test_a_spreadsheet_in_a_wiki(client: Client, feishu: FeishuStandIn) -> None:
    path = "/open-apis/wiki/v2/spaces/get_node?token="
    node = client.send("GET", path + feishu.wiki_token).json()["data"]["node"]
    assert (node["obj_type"], node["obj_token"]) == ("sheet", feishu.spreadsheet_token)
    assert client.send("GET", path + "other").json()["code"] != 0


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


# On the wire


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_the_hosts_that_the_sdk_accepts_over_http(host: str) -> None:
    if host == "::1" and not _has_ipv6():
        pytest.skip("no IPv6 here")
    with FeishuStandIn(ROWS, host=host) as feishu:
        client = Client(feishu)
        with client.session:
            assert client.login()["code"] == 0
        assert feishu.url.startswith("http://" + (f"[{host}]" if ":" in host else host) + ":")


def test_another_host_is_refused() -> None:
    with pytest.raises(ValueError, match="localhost"):
        FeishuStandIn(host="127.0.0.2")


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def test_the_services_clock_may_differ_from_ours(client: Client, feishu: FeishuStandIn, clock: Clock) -> None:
    feishu.switches.date_shift = 7200
    shown = parsedate_to_datetime(client.raw_v2("GET", "values/sid001").headers["Date"]).timestamp()
    assert shown == clock.now + 7200


def test_header_names_and_the_log_id(client: Client, feishu: FeishuStandIn) -> None:
    assert set(client.raw_v2("GET", "values/sid001").headers) >= {"Content-Type", "X-Tt-Logid"}
    feishu.switches.lowercase_headers = True
    assert set(client.raw_v2("GET", "values/sid001").headers) >= {"content-type", "x-tt-logid"}


def test_the_connection_is_kept(client: Client, feishu: FeishuStandIn) -> None:
    client.read("sid001")
    assert feishu._server is not None
    assert len(feishu._server._open) == 1, "login and reads went over one connection"


def test_the_log_of_calls(client: Client, feishu: FeishuStandIn) -> None:
    client.put("sid001!F2:F2", [["x"]])
    call = feishu.calls[-1]
    assert (call.method, call.operation, call.status, call.code, call.fault) == ("PUT", "values_put", 200, 0, "")
    assert call.ended is not None
    assert call.started <= call.ended
    assert (feishu.count("values_put"), feishu.count("/sheets/"), feishu.count("values_put", code=90202)) == (1, 1, 0)


def test_an_unknown_path(client: Client) -> None:
    assert client.send("GET", "/open-apis/nothing").status_code == 404


# Faults


@pytest.mark.parametrize(("kind", "status"), [(Fault.RATE_LIMIT_429, 429), (Fault.RATE_LIMIT_400, 400)])
def test_the_rate_limit_in_both_forms(client: Client, feishu: FeishuStandIn, kind: Fault, status: int) -> None:
    feishu.faults.add(kind, "values_image", reset="52")
    answer = client.image("sid001!G2:G2")
    assert (answer.status_code, answer.json()["code"]) == (status, 99991400)
    assert (answer.headers["x-ogw-ratelimit-limit"], answer.headers["x-ogw-ratelimit-reset"]) == ("100", "52")
    assert client.image("sid001!G2:G2").json()["code"] == 0


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        (Fault.BUSY_90235, 200, 90235),
        (Fault.BUSY_90217, 200, 90217),
        (Fault.LOADING_90242, 200, 90242),
        (Fault.INTERNAL_90203, 200, 90203),
        (Fault.HTTP_500_JSON, 500, 5000),
        (Fault.FULL, 200, 90226),
        (Fault.TOO_LARGE_90227, 200, 90227),
        (Fault.APP_DISABLED_99991662, 400, 99991662),
        (Fault.IP_DENIED_99991401, 400, 99991401),
        (Fault.SCOPE_MISSING_99991672, 400, 99991672),
        (Fault.NOT_ADDED, 200, 90213),
    ],
)
def test_faults_with_a_code(client: Client, feishu: FeishuStandIn, kind: Fault, status: int, code: int) -> None:
    feishu.faults.add(kind, "values_image")
    answer = client.image("sid001!G2:G2")
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert feishu.sheet.picture_writes == []


def test_a_missing_scope_on_demand_names_it_too(client: Client, feishu: FeishuStandIn) -> None:
    feishu.faults.add(Fault.SCOPE_MISSING_99991672, "values_image")
    violations = client.image("sid001!G2:G2").json()["error"]["permission_violations"]
    assert {"type": "action_scope_required", "subject": "sheets:spreadsheet"} in violations


def test_faults_strike_only_where_they_can(client: Client, feishu: FeishuStandIn) -> None:
    feishu.faults.add(Fault.BOT_LIMITED_11232)
    for kind in (Fault.TOO_LARGE_90221, Fault.UPLOAD_EXPIRED_1061021, Fault.WRITE_CONFLICT_1254291):
        feishu.faults.add(kind)
    assert client.image("sid001!G2:G2").json()["code"] == 0
    assert client.v2("GET", "values/sid001")["code"] == 90221
    about = {"file_name": "a", **client.parent("files"), "size": 1}
    prepared = client.send("POST", "/open-apis/drive/v1/files/upload_prepare", json=about).json()["data"]
    asked = {"upload_id": prepared["upload_id"], "block_num": 1}
    assert client.send("POST", "/open-apis/drive/v1/files/upload_finish", json=asked).json()["code"] == 1061021
    answer = update(client, {"record_id": "recstandin1", "fields": {}})
    assert (answer.status_code, answer.json()["code"]) == (200, 1254291)


def test_a_late_answer_about_a_token_that_is_no_longer_used(client: Client, feishu: FeishuStandIn) -> None:
    """While the answer is held back, the client has long fetched a newer token: the old news must not spoil it."""
    held, leave = threading.Event(), threading.Event()

    def hold(seconds: float) -> None:
        held.set()
        leave.wait(10)

    feishu._gate.pause = hold  # type: ignore[method-assign]
    feishu.faults.add(Fault.TOKEN_REVOKED_LATE, "values_get")
    other = Client(feishu)
    with ThreadPoolExecutor() as threads, other.session:
        late = threads.submit(client.raw_v2, "GET", "values/sid001")
        assert held.wait(10)
        other.login()
        assert other.token != client.token
        leave.set()
        assert (late.result().status_code, late.result().json()["code"]) == (400, 99991663)
        assert other.v2("GET", "values/sid001")["code"] == 0


def test_v3_has_its_own_codes(client: Client, feishu: FeishuStandIn) -> None:
    feishu.faults.add(Fault.BUSY_90235, "sheets_query")
    path = f"/open-apis/sheets/v3/spreadsheets/{feishu.spreadsheet_token}/sheets/query"
    answer = client.send("GET", path)
    assert (answer.status_code, answer.json()["code"]) == (400, 1310235)
    feishu.faults.add(Fault.NOT_ADDED, "sheets_query")
    answer = client.send("GET", path)
    assert (answer.status_code, answer.json()["code"]) == (400, 1310213)


def test_the_status_of_sheet_errors_can_be_switched(client: Client, feishu: FeishuStandIn) -> None:
    feishu.switches.sheet_error_status = 400
    assert client.raw_v2("GET", "values/nosuch").status_code == 400


def test_every_refusal_may_come_as_http_200(client: Client, feishu: FeishuStandIn) -> None:
    feishu.switches.errors_as_200 = True
    feishu.faults.add(Fault.RATE_LIMIT_429, "values_image", reset="7")
    limited = client.image("sid001!G2:G2")
    assert (limited.status_code, limited.json()["code"]) == (200, 99991400)
    assert limited.headers["x-ogw-ratelimit-reset"] == "7"
    client.token = "t-nonsense"
    for answer in (client.raw_v2("GET", "values/sid001"), client.send("GET", "/open-apis/drive/v1/medias/x/download")):
        assert (answer.status_code, answer.json()["code"]) == (200, 99991663)


@pytest.mark.parametrize(("kind", "done"), [(Fault.HTML_502, 0), (Fault.HTML_502_AFTER, 1)])
def test_an_html_page_instead_of_json(client: Client, feishu: FeishuStandIn, kind: Fault, done: int) -> None:
    feishu.faults.add(kind, "values_image")
    answer = client.image("sid001!G2:G2")
    assert (answer.status_code, answer.headers["Content-Type"]) == (502, "text/html")
    assert len(feishu.sheet.picture_writes) == done


@pytest.mark.parametrize(("kind", "done"), [(Fault.RESET_BEFORE, 0), (Fault.RESET_AFTER, 1), (Fault.HALF_BODY, 1)])
def test_the_connection_is_cut(client: Client, feishu: FeishuStandIn, kind: Fault, done: int) -> None:
    feishu.faults.add(kind, "values_image")
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        client.image("sid001!G2:G2")
    assert len(feishu.sheet.picture_writes) == done
    assert feishu.count("values_image") == 1
    assert client.image("sid001!G2:G2").json()["code"] == 0


def test_a_slow_answer_comes_after_the_write(client: Client, feishu: FeishuStandIn) -> None:
    feishu.faults.add(Fault.SLOW, "values_image", seconds=60)
    with pytest.raises(requests.Timeout):
        client.session.post(
            f"{feishu.url}/open-apis/sheets/v2/spreadsheets/{feishu.spreadsheet_token}/values_image",
            json={"range": "sid001!G2:G2", "image": list(PNG), "name": "a.png"},
            headers={"Authorization": f"Bearer {client.token}"},
            timeout=(10, 0.2),
        )
    assert len(feishu.sheet.picture_writes) == 1
    assert client.image("sid001!G2:G2").json()["code"] == 0, "nobody holds the document"


def test_half_a_batch(client: Client, feishu: FeishuStandIn) -> None:
    feishu.faults.add(Fault.HALF_BATCH, "values_batch_update")
    ranges = [{"range": f"sid001!F{n}:F{n}", "values": [["已完成"]]} for n in (2, 3)]
    assert client.v2("POST", "values_batch_update", json={"valueRanges": ranges})["code"] == 90203
    assert [feishu.sheet.text(f"F{n}") for n in (2, 3)] == ["已完成", "否"]


def test_a_full_drive(client: Client, feishu: FeishuStandIn) -> None:
    feishu.faults.add(Fault.FULL, "media_upload_all")
    feishu.faults.add(Fault.CONTENTION_1061045, "media_upload_all")
    assert [client.upload()["code"] for _ in range(3)] == [1061101, 1061045, 0]


def test_faults_by_number() -> None:
    plan = FaultPlan()
    plan.add(Fault.HTML_502, "values_image", times=2, after=1)
    lasting = plan.add(Fault.RESET_BEFORE, "/drive/", times=None)
    kinds = [rule and rule.kind for rule in (plan.pick("values_image", "/sheets/x") for _ in range(4))]
    assert kinds == [None, Fault.HTML_502, Fault.HTML_502, None]
    assert [plan.pick("media_upload_all", "/drive/x") for _ in range(3)] == [lasting] * 3
    plan.remove(lasting)
    assert plan.pick("media_upload_all", "/drive/x") is None


def _fates(seed: int, order: Callable[[int], str]) -> dict[str, list[Fault | None]]:
    plan, fates = FaultPlan(), dict[str, list[Fault | None]](values_put=[], values_get=[])
    plan.random(seed, 0.3)
    for number in range(200):
        rule = plan.pick(order(number), "/sheets/v2/")
        fates[order(number)].append(rule.kind if rule else None)
    return fates


def test_chance_is_the_same_for_a_seed_in_any_order() -> None:
    by_turns = _fates(1, lambda number: ("values_put", "values_get")[number % 2])
    one_by_one = _fates(1, lambda number: "values_put" if number < 100 else "values_get")
    assert by_turns == one_by_one
    assert by_turns != _fates(2, lambda number: ("values_put", "values_get")[number % 2])
    struck = [kind for kinds in by_turns.values() for kind in kinds if kind]
    assert 40 <= len(struck) <= 80
    assert set(struck) <= set(RETRYABLE) - {Fault.HALF_BATCH, Fault.CONTENTION_1061045}


def test_a_fetch_of_a_token_is_never_told_that_its_token_is_invalid() -> None:
    plan = FaultPlan()
    plan.random(1, 1.0, [Fault.TOKEN_REVOKED_400])
    assert plan.pick("tenant_access_token", "/auth/") is None


def test_off_the_net_and_back_with_everything_there(client: Client, feishu: FeishuStandIn) -> None:
    client.put("sid001!F2:F2", [["已完成"]])
    url = feishu.url
    feishu.stop()
    with pytest.raises(requests.ConnectionError):
        client.read("sid001")
    feishu.start()
    assert feishu.url == url
    assert client.read("sid001!F2:F2") == [["已完成"]]


def test_a_client_that_goes_away_in_mid_request_blocks_nobody(client: Client, feishu: FeishuStandIn) -> None:
    path = f"/open-apis/sheets/v2/spreadsheets/{feishu.spreadsheet_token}/values"
    with socket.create_connection(("127.0.0.1", int(feishu.url.rpartition(":")[2]))) as connection:
        connection.sendall(f"PUT {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{{".encode())
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1) == b""
    assert client.put("sid001!F2:F2", [["x"]])["code"] == 0


# As a process


def test_the_switches_over_http(client: Client, feishu: FeishuStandIn) -> None:
    def post(path: str, body: Any) -> int:
        return client.session.post(f"{feishu.url}/_standin/{path}", json=body, timeout=120).status_code

    assert post("faults", {"clear": True, "add": [{"kind": "BUSY_90217", "match": "values_put"}]}) == 200
    assert client.put("sid001!F2:F2", [["x"]])["code"] == 90217
    assert post("rows", {"insert": {"at": 2, "values": {"产品名": "鞋"}}}) == 200
    assert post("rows", {"delete": 3}) == 200
    assert post("rows", {"sort": "产品名", "reverse": True}) == 200
    assert post("rows", {"set": {"cell": "G2", "value": {"base64": base64.b64encode(PNG).decode()}}}) == 200
    assert post("settings", {"switches": {"document_access": "view"}, "limits": {"pictures": 1}}) == 200
    assert (feishu.switches.document_access, feishu.limits.pictures) == ("view", 1)
    assert post("settings", {"switches": {"nonsense": 1}}) == 400
    assert post("rows", {"sort": "无此列"}) == 400
    assert post("faults", [1]) == 400
    sheet = client.session.get(f"{feishu.url}/_standin/sheet", timeout=120).json()
    assert [row[1] for row in sheet["rows"][1:]] == ["鞋", "帽子"]
    picture = client.session.get(f"{feishu.url}/_standin/picture/{sheet['rows'][1][6]['fileToken']}", timeout=120)
    assert (picture.content, picture.headers["Content-Type"]) == (PNG, "image/png")
    log = client.session.get(f"{feishu.url}/_standin/calls?last=1", timeout=120).json()
    assert (log["total"], log["overlaps"], log["calls"][0]["fault"], log["faults"]) == (
        2,
        0,
        "BUSY_90217",
        {"BUSY_90217": 1},
    )


def test_the_page_needs_nothing_from_elsewhere(client: Client, feishu: FeishuStandIn) -> None:
    page = client.session.get(f"{feishu.url}/", timeout=120)
    assert page.headers["Content-Type"].startswith("text/html")
    assert "http://" not in page.text
    assert "https://" not in page.text


def test_the_state_file_follows_every_change(tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    with FeishuStandIn(ROWS, state_file=state) as feishu:
        assert json.loads(state.read_text("utf-8"))["sheets"][0]["rows"][1][1] == "杯子"
        client = Client(feishu)
        with client.session:
            client.login()
            client.image("sid001!G2:G2")
        saved = json.loads(state.read_text("utf-8"))
        assert saved["revision"] == feishu.sheet.revision
        assert saved["sheets"][0]["picture_writes"][0]["sha256"] == hashlib.sha256(PNG).hexdigest()
    assert [file.name for file in tmp_path.iterdir()] == ["state.json"]


def test_as_a_process(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    rows = [{"产品名": "杯子", "产品图": {"path": "a.png"}}]
    (tmp_path / "rows.json").write_text(json.dumps({"header_row": 2, "rows": rows}), "utf-8")
    files = {"--rows": "rows.json", "--state": "state.json", "--port-file": "port"}
    given = [part for name, file in files.items() for part in (name, str(tmp_path / file))]
    command = [sys.executable, "-m", "wfrecovery.demo.feishu_host", "--port", "0", *given]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            ready = json.loads(process.stdout.readline())
            assert sorted(ready) == ["app_id", "app_secret", "sheet_title", "spreadsheet_token", "url"]
            assert (tmp_path / "port").read_text("utf-8") == ready["url"].rpartition(":")[2]
            with requests.Session() as session:
                session.trust_env = False
                sheet = session.get(f"{ready['url']}/_standin/sheet", timeout=120).json()
            assert (sheet["header_row"], sheet["rows"][2][0]["type"]) == (2, "embed-image")
            assert json.loads((tmp_path / "state.json").read_text("utf-8"))["sheets"][0]["header_row"] == 2
        finally:
            process.kill()


def test_the_import_is_light() -> None:
    """Whoever starts it as a process should not wait; so nothing but the standard library."""
    code = (
        "import sys, wfrecovery.demo.feishu_host.stand_in; "
        "print([m for m in ('requests', 'aiohttp', 'PIL') if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "[]"
