"""The stand-in Feishu: what a read gives for what stands in a cell, under each option and each switch. Real HTTP."""

from __future__ import annotations

from typing import Any

import pytest
from feishu_caller import PNG, Client

from wfrecovery.demo.feishu_host.stand_in import Choice, FeishuStandIn, Formatted, Formula

#: no option, and the four that there are
OPTIONS = ("", "ToString", "FormattedValue", "UnformattedValue", "Formula")
WITH_TOKEN = ("", "UnformattedValue", "Formula")
WITHOUT_TOKEN = ("ToString", "FormattedValue")
LINK = (
    "/_standin/picture/standinPicture00001"
    "?height=1280&mount_node_token={}&mount_point=sheet_image&policy=equal&width=1280"
)


def shown(client: Client, cell: str, option: str = "", *, dates: bool = False) -> Any:
    """What one cell reads as."""
    query = {"valueRenderOption": option} if option else {}
    if dates:
        query["dateTimeRenderOption"] = "FormattedString"
    return client.read(f"sid001!{cell}:{cell}", **query)[0][0]


def by_option(client: Client, cell: str, *, dates: bool = False) -> dict[str, Any]:
    return {option: shown(client, cell, option, dates=dates) for option in OPTIONS}


def everywhere(value: Any, **others: Any) -> dict[str, Any]:
    """This value under each option, but for `others`; `none`: with no option."""
    return {option: others.get(option or "none", value) for option in OPTIONS}


# Pictures


@pytest.mark.parametrize("option", WITH_TOKEN)
def test_a_picture_is_an_object_with_its_token(client: Client, feishu: FeishuStandIn, option: str) -> None:
    client.image("sid001!G2:G2")
    assert shown(client, "G2", option) == {
        "type": "embed-image",
        "fileToken": "standinPicture00001",
        "height": 1,
        "width": 1,
        "text": "",
        "link": feishu.url + LINK.format(feishu.spreadsheet_token),
    }


@pytest.mark.parametrize("option", WITHOUT_TOKEN)
def test_to_string_and_formatted_value_leave_the_token_out(client: Client, feishu: FeishuStandIn, option: str) -> None:
    client.image("sid001!G2:G2")
    assert shown(client, "G2", option) == {"type": "embed-image", "height": 1, "width": 1, "text": ""}
    feishu.switches.pictures_without_token = "id"
    only_id = shown(client, "G2", option)
    assert (sorted(only_id), only_id["type"]) == (["id", "type"], "embed-image")
    path = f"/open-apis/drive/v1/medias/{only_id['id']}/download"
    assert client.send("GET", path).status_code == 404, "an id is no token"


@pytest.mark.parametrize("option", OPTIONS)
def test_a_single_picture_may_read_as_a_list(client: Client, feishu: FeishuStandIn, option: str) -> None:
    client.image("sid001!G2:G2")
    feishu.switches.picture_as_list = True
    (only,) = shown(client, "G2", option)
    assert (only["type"], only.get("fileToken")) == (
        "embed-image",
        "standinPicture00001" if option in WITH_TOKEN else None,
    )
    assert shown(client, "G3", option) is None, "where no picture is, there is no list"


@pytest.mark.parametrize("option", OPTIONS)
def test_text_and_pictures_in_one_cell_read_as_a_list(client: Client, feishu: FeishuStandIn, option: str) -> None:
    feishu.sheet.set("A2", ["正面", PNG, PNG])
    text, first, second = shown(client, "A2", option)
    assert text == {"type": "text", "text": "正面"}
    assert (first["type"], second["type"]) == ("embed-image", "embed-image")
    tokens = [first.get("fileToken"), second.get("fileToken")]
    assert tokens == (["standinPicture00001", "standinPicture00002"] if option in WITH_TOKEN else [None, None])
    assert feishu.sheet.text("A2") == "正面", "what a person reads"


def test_pictures_without_text_are_a_list_too(client: Client, feishu: FeishuStandIn) -> None:
    feishu.sheet.set("A2", [PNG, PNG, ""])
    feishu.sheet.set("A3", PNG)
    assert [part["type"] for part in shown(client, "A2")] == ["embed-image", "embed-image", "text"]
    assert shown(client, "A3")["type"] == "embed-image"


def test_a_picture_that_was_written_may_never_show(client: Client, feishu: FeishuStandIn) -> None:
    feishu.sheet.set("G3", PNG)
    feishu.switches.written_pictures = "hidden"
    assert client.image("sid001!G2:G2").json()["code"] == 0
    assert by_option(client, "G2") == everywhere(None)
    assert shown(client, "G3")["fileToken"] == "standinPicture00001", "a person's picture shows"
    assert len(feishu.sheet.picture_writes) == 1, "and it is there all the same"
    feishu.switches.written_pictures = "shown"
    assert shown(client, "G2")["fileToken"] == "standinPicture00002"


def test_or_it_shows_without_a_token(client: Client, feishu: FeishuStandIn) -> None:
    feishu.sheet.set("G3", PNG)
    feishu.switches.written_pictures = "without token"
    client.image("sid001!G2:G2")
    assert by_option(client, "G2") == everywhere({"type": "embed-image", "height": 1, "width": 1, "text": ""})
    assert shown(client, "G3")["fileToken"] == "standinPicture00001"


# Numbers and dates


@pytest.mark.parametrize(("value", "text"), [(0.15, "15%"), (1234.5, "1,234.50"), (7, "007")])
def test_a_number_with_a_format(client: Client, feishu: FeishuStandIn, value: float, text: str) -> None:
    feishu.sheet.set("F2", Formatted(value, text))
    assert by_option(client, "F2") == everywhere(value, FormattedValue=text)
    assert by_option(client, "F2", dates=True) == everywhere(value, FormattedValue=text), "it is no date"
    assert (feishu.sheet.text("F2"), feishu.sheet.row_texts(2)["图片是否已处理"]) == (text, text)
    assert feishu.sheet.find_rows(图片是否已处理=text) == [2]


def test_to_string_may_turn_numbers_into_text(client: Client, feishu: FeishuStandIn) -> None:
    feishu.sheet.set("F2", Formatted(0.15, "15%"))
    feishu.sheet.set("F3", 7)
    feishu.switches.number_to_string = "shown"
    assert by_option(client, "F2") == everywhere(0.15, ToString="15%", FormattedValue="15%")
    assert by_option(client, "F3") == everywhere(7, ToString="7")
    feishu.switches.number_to_string = "plain"
    assert by_option(client, "F2") == everywhere(0.15, ToString="0.15", FormattedValue="15%")
    assert by_option(client, "F3") == everywhere(7, ToString="7")


def test_a_date_is_a_number_of_days_unless_its_text_is_asked_for(client: Client, feishu: FeishuStandIn) -> None:
    feishu.sheet.set("F2", Formatted(46354, "2026/11/28", date=True))
    assert by_option(client, "F2") == everywhere(46354)
    assert by_option(client, "F2", dates=True) == everywhere("2026/11/28")
    assert feishu.sheet.text("F2") == "2026/11/28"


def test_which_options_show_a_date_as_text(client: Client, feishu: FeishuStandIn) -> None:
    feishu.sheet.set("F2", Formatted(2.5, "1900/1/1 12:00", date=True))
    feishu.switches.date_texts = "formatted too"
    assert by_option(client, "F2") == everywhere(2.5, FormattedValue="1900/1/1 12:00")
    assert by_option(client, "F2", dates=True) == everywhere("1900/1/1 12:00")
    feishu.switches.date_texts = "not raw"
    assert by_option(client, "F2") == everywhere(2.5)
    assert by_option(client, "F2", dates=True) == everywhere("1900/1/1 12:00", UnformattedValue=2.5, Formula=2.5)


# Formulas


def test_a_formula_and_what_it_gives(client: Client, feishu: FeishuStandIn) -> None:
    feishu.sheet.set("F2", Formula("=A1", Formatted(0.15, "15%")))
    assert by_option(client, "F2") == everywhere(0.15, none="=A1", Formula="=A1", FormattedValue="15%")
    assert feishu.sheet.text("F2") == "15%"


def test_a_formula_may_read_otherwise(client: Client, feishu: FeishuStandIn) -> None:
    feishu.sheet.set("F2", {"type": "formula", "text": "=B2", "value": "杯子"})
    feishu.switches.formula_cells = "asked"
    assert by_option(client, "F2") == everywhere("杯子", Formula="=B2")
    feishu.switches.formula_cells = "object"
    assert by_option(client, "F2") == everywhere({"type": "formula", "text": "=B2", "value": "杯子"})


# Drop-downs


def test_several_values_of_a_drop_down(client: Client, feishu: FeishuStandIn) -> None:
    written = {"type": "multipleValue", "values": ["红", "蓝", 3]}
    assert client.put("sid001!F2:F2", [[written]])["code"] == 0
    assert feishu.sheet.text("F2") == "红,蓝,3"
    assert by_option(client, "F2") == everywhere("红,蓝,3")
    feishu.switches.drop_downs = "object"
    assert by_option(client, "F2") == everywhere(written)
    feishu.switches.drop_downs = "list"
    assert by_option(client, "F2") == everywhere(["红", "蓝", 3])


def test_one_value_of_a_drop_down(client: Client, feishu: FeishuStandIn) -> None:
    feishu.sheet.set("F2", Choice(("已完成",), several=False))
    assert by_option(client, "F2") == everywhere("已完成")
    feishu.switches.single_drop_downs = "object"
    assert by_option(client, "F2") == everywhere({"type": "multipleValue", "values": ["已完成"]})
    feishu.switches.single_drop_downs = "list"
    assert by_option(client, "F2") == everywhere(["已完成"])


def test_cells_with_a_drop_down_keep_it_whoever_writes_them(client: Client, feishu: FeishuStandIn) -> None:
    feishu.sheet.drop_down("F2:F")
    feishu.switches.single_drop_downs = "object"
    feishu.switches.drop_downs = "list"
    client.put("sid001!F2:F2", [["已完成"]])
    assert shown(client, "F2") == {"type": "multipleValue", "values": ["已完成"]}
    assert (feishu.sheet.text("F2"), feishu.sheet.get("F2")) == ("已完成", "已完成")
    client.put("sid001!F2:F2", [[{"type": "multipleValue", "values": ["失败"]}]])
    assert shown(client, "F2") == {"type": "multipleValue", "values": ["失败"]}
    feishu.sheet.insert_row(1)
    assert shown(client, "F3") == {"type": "multipleValue", "values": ["失败"]}, "the drop-down moves with its rows"
    assert shown(client, "F2") == "图片是否已处理", "the header has none"
    feishu.sheet.drop_down("D3:D4", several=True)
    assert shown(client, "D3") == ["小林"]


# Empty, and unknown


def test_how_an_empty_cell_reads(client: Client, feishu: FeishuStandIn) -> None:
    feishu.sheet.set("D2", "")
    area = "sid001!B2:D5"
    assert client.read(area) == [["杯子", None, None], ["帽子", None, "小周"], [None] * 3, [None] * 3]
    feishu.switches.blanks = "empty text"
    assert client.read(area) == [["杯子", "", ""], ["帽子", "", "小周"], [""] * 3, [""] * 3]
    feishu.switches.blanks = "left out"
    assert client.read(area) == [["杯子"], ["帽子", None, "小周"]]
    assert client.read("sid001!A9:A9") == []


@pytest.mark.parametrize("cells", [{"F2", "B"}, {"F", "B2", "B3", "B1"}])
def test_cells_that_nobody_understands(client: Client, feishu: FeishuStandIn, cells: set[str]) -> None:
    feishu.switches.unknown_cells = frozenset(cells)
    unknown = {"type": "somethingNew", "payload": {"content": "帽子"}}
    assert by_option(client, "B3") == everywhere(unknown)
    assert shown(client, "F2") == {"type": "somethingNew", "payload": {"content": "否"}}
    assert shown(client, "B4") is None, "an empty cell is empty"
    assert shown(client, "D2") == "小林"
    assert feishu.sheet.row_texts(3)["产品名"] == "帽子", "people see what they saw"


def test_several_ranges_at_once_read_the_same_way(client: Client, feishu: FeishuStandIn) -> None:
    feishu.sheet.set("F2", Formatted(46354, "2026/11/28", date=True))
    client.image("sid001!G2:G2")
    query = {"ranges": "sid001!F2:F2,sid001!G2:G2", "valueRenderOption": "ToString"}
    ranges = client.v2("GET", "values_batch_get", params={**query, "dateTimeRenderOption": "FormattedString"})
    first, second = (part["values"] for part in ranges["data"]["valueRanges"])
    assert (first, "fileToken" in second[0][0]) == ([["2026/11/28"]], False)
