"""The stand-in Feishu: the calls that read, whatever stands in the cells. A fact, a test; real HTTP, no sleeps."""

from __future__ import annotations

import pytest
from feishu_caller import Client, Clock

from wfrecovery.demo.feishu_host.stand_in import FeishuStandIn


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
