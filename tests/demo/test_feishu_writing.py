"""The stand-in Feishu: the calls that write values. A fact, a test; real HTTP, no sleeps."""

from __future__ import annotations

import json
from typing import Any

import pytest
from feishu_caller import Client

from wfrecovery.demo.feishu_host.stand_in import FeishuStandIn


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
