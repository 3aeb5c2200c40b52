"""The stand-in Feishu: the sheet as an object, and what people do to it. A fact, a test; real HTTP, no sleeps."""

from __future__ import annotations

import pytest
from feishu_caller import PNG, ROWS, Client

from wfrecovery.demo.feishu_host.pictures import pixel_size
from wfrecovery.demo.feishu_host.ranges import RangeError, column_letters, column_number, parse_area
from wfrecovery.demo.feishu_host.stand_in import FeishuStandIn, Picture, Switches


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


def test_a_header_over_two_merged_rows_is_read_with_its_merges() -> None:
    with FeishuStandIn(ROWS, header_rows=2) as feishu:
        client = Client(feishu)
        with client.session:
            client.login()
            assert client.read("sid001!B1:C4") == [["产品名", "模特图"], [None, None], ["杯子", None], ["帽子", None]]
            path = f"/open-apis/sheets/v3/spreadsheets/{feishu.spreadsheet_token}/sheets/query"
            merges = client.send("GET", path).json()["data"]["sheets"][0]["merges"]
        assert merges == [
            {"start_row_index": 0, "end_row_index": 1, "start_column_index": n, "end_column_index": n} for n in range(8)
        ]


def test_a_header_over_two_merged_rows_stays_one() -> None:
    sheet = FeishuStandIn(ROWS, header_rows=2).sheet
    assert (sheet.header_row, sheet.first_row, sheet.find_rows(产品名="帽子")) == (1, 3, [4])
    sheet.sort("产品名", reverse=True)
    assert [sheet.text(f"B{n}") for n in (1, 2, 3, 4)] == ["产品名", "", "杯子", "帽子"]
    assert len(sheet.merges) == 8
    sheet.insert_row(2)
    assert (sheet.header_rows, sheet.first_row, str(sheet.merges[0])) == (3, 4, "A1:A3")
    sheet.insert_row(1, ["说明"])
    assert (sheet.header_row, sheet.first_row, str(sheet.merges[0])) == (2, 5, "A2:A4")
    sheet.delete_row(3)
    assert (sheet.header_row, sheet.first_row, sheet.text("B4")) == (2, 4, "杯子")


def test_columns_move_with_all_that_is_in_them(client: Client, feishu: FeishuStandIn) -> None:
    sheet = feishu.sheet
    sheet.set("G3", PNG)
    sheet.set("E3", {"type": "formula", "text": "=B3", "value": "帽子"})
    before = [sheet.row(number) for number in (2, 3)]
    revision = sheet.revision
    sheet.insert_column("A", "编号")
    assert (sheet.find("产品名"), sheet.revision) == ("C", revision + 1)
    assert [sheet.row(number) for number in (2, 3)] == [{"编号": None, **row} for row in before]
    assert client.read("sid001!F3:F3", valueRenderOption="Formula") == [["=B3"]]
    sheet.delete_column(sheet.find("编号"))
    sheet.move_column("G", "B")
    assert sheet.titles[:4] == ["产品图", "产品模特合成图", "产品名", "模特图"]
    assert [sheet.row(number) for number in (2, 3)] == before
    sheet.move_column("B", "G")
    sheet.delete_column("E")
    assert [sheet.row(number) for number in (2, 3)] == [
        {title: value for title, value in row.items() if title != "提示词"} for row in before
    ]
    assert sheet.revision == revision + 5


def test_areas_move_with_columns(client: Client, feishu: FeishuStandIn) -> None:
    sheet = feishu.sheet
    sheet.merge("B2:B3")
    sheet.protect("F2:F3")
    sheet.drop_down("H2:H3")
    sheet.insert_column("A")
    assert [str(area) for area in sheet.merges] == ["C2:C3"]
    refused = client.put("sid001!G2:G2", [["x"]])["code"]
    assert refused != 0
    assert client.put("sid001!F2:F2", [["x"]])["code"] == 0
    sheet.move_column("G", "A")
    assert (client.put("sid001!A2:A2", [["x"]])["code"], client.put("sid001!G2:G2", [["x"]])["code"]) == (refused, 0)
    sheet.delete_column("A")
    assert client.put("sid001!A2:A2", [["x"]])["code"] == 0
    assert [str(area) for area in sheet.merges] == ["C2:C3"]


def test_a_column_inside_merged_cells_widens_them_and_none_is_torn_out(feishu: FeishuStandIn) -> None:
    sheet = feishu.sheet
    sheet.merge("B2:C2")
    sheet.insert_column("C")
    assert [str(area) for area in sheet.merges] == ["B2:D2"]
    with pytest.raises(ValueError, match="merged"):
        sheet.move_column("B", "H")
    sheet.delete_column("C")
    sheet.protect()
    sheet.delete_column("A")
    assert [str(area) for area in sheet.merges] == ["A2:B2"]
    assert sheet.protected(parse_area("A1:ZZ9"))


def test_what_shows_late_shows_late_in_a_column_that_has_moved_as_well() -> None:
    with FeishuStandIn(ROWS, switches=Switches(late_reads=1)) as feishu:
        client = Client(feishu)
        client.login()
        client.put("sid001!F2:G2", [["已完成", "x"]])
        feishu.sheet.delete_column("G")
        feishu.sheet.insert_column("B")
        assert client.read("sid001!G2:H2") == [["否", "否"]]
        assert client.read("sid001!G2:H2") == [["已完成", "否"]]
