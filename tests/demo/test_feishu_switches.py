"""The stand-in Feishu: its switches by name, by chance and over HTTP, and what it counts. Real HTTP."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path
from typing import Any

import pytest
from feishu_caller import PNG, ROWS, Client

from wfrecovery.demo.feishu_host import switches as module
from wfrecovery.demo.feishu_host.stand_in import FeishuStandIn, Switches
from wfrecovery.demo.feishu_host.switches import UNKNOWN, UNKNOWN_AND_HARSH

#: a client has to know these; they are no unknowns of the service
OF_THE_TEST = {
    "app_enabled",
    "bot_ip_allowed",
    "bot_keyword",
    "date_shift",
    "denied_ip",
    "document_access",
    "folder_access",
    "late_seconds",
    "scopes",
    "unknown_cells",
}


def many(harsh: bool = False, **fixed: Any) -> list[Switches]:
    rng = random.Random(7)
    return [Switches.drawn(rng, harsh=harsh, **fixed) for _ in range(400)]


def test_what_is_misspelt_is_refused() -> None:
    with pytest.raises(AttributeError, match="revison"):
        Switches().revison = "two"  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="pictures two"):
        Switches(revision="pictures_two")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="document_access"):
        Switches().document_access = "write"  # type: ignore[assignment]


def test_each_switch_says_in_a_sentence_what_it_is_for() -> None:
    lines = Path(module.__file__).read_text("utf-8").splitlines()
    for field in dataclasses.fields(Switches):
        at = next(i for i, line in enumerate(lines) if line.startswith(f"    {field.name}:"))
        assert lines[at - 1].startswith("    #:"), field.name


def test_every_unknown_is_drawn_in_all_its_ways() -> None:
    everything = {**UNKNOWN, **UNKNOWN_AND_HARSH}
    for name, values in everything.items():
        assert {getattr(drawn, name) for drawn in many(harsh=True)} == set(values), name
    assert {field.name for field in dataclasses.fields(Switches)} - everything.keys() == OF_THE_TEST


def test_without_harsh_a_client_can_see_what_it_has_done() -> None:
    drawn = many()
    assert {(one.written_pictures, one.late_reads, one.late_seconds) for one in drawn} == {("shown", 0, 0.0)}
    assert "still" not in {one.revision for one in drawn}


def test_the_same_seed_draws_the_same_and_what_is_fixed_changes_no_other() -> None:
    first, second = (Switches.drawn(random.Random(3)) for _ in range(2))
    assert first == second
    assert first != Switches.drawn(random.Random(4))
    fixed = Switches.drawn(random.Random(3), revision="missing", errors_as_200=False)
    assert (fixed.revision, fixed.errors_as_200) == ("missing", False)
    assert {**vars(fixed), "revision": 0, "errors_as_200": 0} == {**vars(first), "revision": 0, "errors_as_200": 0}


@pytest.mark.parametrize("seed", range(12))
def test_under_any_feishu_a_client_that_takes_all_shapes_does_its_work(seed: int) -> None:
    drawn = Switches.drawn(random.Random(seed))
    with FeishuStandIn(ROWS, switches=drawn) as feishu:
        client = Client(feishu)
        with client.session:
            assert client.login()["code"] == 0
            assert client.image("sid001!G2:G2").json()["code"] == 0
            assert client.put("sid001!F2:F2", [["已完成"]])["code"] == 0
            cell = client.read("sid001!G2:G2", valueRenderOption="UnformattedValue")[0][0]
            (picture,) = cell if isinstance(cell, list) else [cell]
            assert (picture["type"], picture["fileToken"]) == ("embed-image", "standinPicture00001")
            assert client.read("sid001!F2:F2") == [["已完成"]]
        assert feishu.sheet.row_texts(2)["图片是否已处理"] == "已完成"


def test_settings_over_http(client: Client, feishu: FeishuStandIn) -> None:
    changes = {"revision": "two", "unknown_cells": ["F2"], "scopes": None, "late_reads": 3}
    limits = {"calls_per_month": 100, "front_door_bytes": None}
    assert client.control("settings", {"switches": changes, "limits": limits}).status_code == 200
    assert (feishu.switches.revision, feishu.switches.late_reads) == ("two", 3)
    assert feishu.switches.unknown_cells == frozenset({"F2"})
    assert feishu.limits.calls_per_month == 100
    for wrong in ({"switches": {"revision": "three"}}, {"switches": {"nonsense": 1}}, {"limits": {"nonsense": 1}}):
        assert client.control("settings", wrong).status_code == 400
    told = client.session.get(f"{feishu.url}/_standin/settings", timeout=120).json()
    assert (told["switches"]["unknown_cells"], told["switches"]["revision"]) == (["F2"], "two")
    assert told["limits"]["calls_per_month"] == 100


def test_drawn_over_http(client: Client, feishu: FeishuStandIn) -> None:
    changes = {"draw": {"seed": 5, "harsh": True}, "switches": {"wrong_secret_code": 10014}}
    assert client.control("settings", changes).status_code == 200
    assert feishu.switches == Switches.drawn(random.Random(5), harsh=True, wrong_secret_code=10014)
    asked = {"app_id": feishu.app_id, "app_secret": "wrong"}
    path = "/open-apis/auth/v3/tenant_access_token/internal"
    assert client.send("POST", path, json=asked).json()["code"] == 10014, "the parts look at the same switches"


def test_cells_and_areas_over_http(client: Client, feishu: FeishuStandIn) -> None:
    cells: dict[str, Any] = {
        "F2": {"number": 0.15, "text": "15%"},
        "F3": {"date": 46354, "text": "2026/11/28"},
        "H2": {"choice": "已完成"},
        "H3": {"type": "multipleValue", "values": ["红", "蓝"]},
        "E2": {"type": "formula", "text": "=B2", "value": "杯子"},
        "A2": {"parts": ["正面", {"base64": "iVBORw0KGgo="}]},
    }
    for cell, value in cells.items():
        assert client.control("rows", {"set": {"cell": cell, "value": value}}).status_code == 200
    query = {"valueRenderOption": "FormattedValue", "dateTimeRenderOption": "FormattedString"}
    assert client.read("sid001!E2:H3", **query) == [
        ["杯子", "15%", None, "已完成"],
        ["一顶帽子", "2026/11/28", None, "红,蓝"],
    ]
    assert [part["type"] for part in client.read("sid001!A2:A2")[0][0]] == ["text", "embed-image"]
    page = client.session.get(f"{feishu.url}/_standin/sheet", timeout=120).json()["rows"][1]
    assert (page[4], page[5], page[7]) == ("杯子", "15%", "已完成")
    assert page[0][0] == {"type": "text", "text": "正面"}
    for change in ({"protect": "F2:F2"}, {"merge": "B2:B3"}, {"drop_down": "H2:H3", "several": True}):
        assert client.control("rows", change).status_code == 200
    assert client.put("sid001!F2:F2", [["x"]])["code"] == 90218
    assert feishu.sheet.text("B3") == ""
    client.control("rows", {"unprotect": True})
    assert client.put("sid001!F2:F2", [["x"]])["code"] == 0


def test_what_has_happened_since(client: Client, feishu: FeishuStandIn) -> None:
    client.read("sid001")
    client.image("sid001!G2:G2")
    tally = feishu.tally()
    assert (tally.calls, tally.pictures) == ({}, 0)
    client.image("sid001!G2:G2")
    client.image("sid001!G2:G2", name="without an extension")
    client.read("sid001")
    feishu.sheet.set("A2", PNG)
    assert tally.calls == {"values_image": 2, "values_get": 1}
    assert tally.calls["values_batch_update"] == 0
    assert tally.codes == {("values_image", 0): 1, ("values_image", 90204): 1, ("values_get", 0): 1}
    assert tally.pictures == 2, "a person's picture uses up a token as well"
    told = client.session.get(f"{feishu.url}/_standin/calls", timeout=120).json()
    assert told["by_operation"] == {"tenant_access_token": 1, "values_get": 2, "values_image": 3}
    assert told["pictures"] == 3
