"""A spreadsheet in a wiki: whatever the first refusal of its token, the node is asked once, where that can help."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from front_door import FrontDoor, front_door

from wfrecovery.bridge.feishu.client import FeishuClient
from wfrecovery.bridge.feishu.errors import FeishuError, Remedy
from wfrecovery.bridge.settings import Settings, load_settings
from wfrecovery.demo.feishu_host.stand_in import FeishuStandIn

LINK = "https://open.feishu.cn/app/cli_1/auth?q=wiki:wiki:readonly&op_from=openapi&token_type=tenant"
#: 1310251 and 1310213 are as likely for a node as 1310214; the others stand for what nobody has met yet
FINAL = [1310214, 1310213, 1310251, 1310249, 90214, 90213, 91402, 91403, 4_242_424]


@pytest.fixture
def door(feishu: FeishuStandIn) -> Iterator[FrontDoor]:
    with front_door(feishu.url) as opened:
        yield opened


@pytest.fixture
def settings(feishu: FeishuStandIn, door: FrontDoor) -> Settings:
    """With the address of a page in a wiki."""
    address = f"https://team.feishu.cn/wiki/{feishu.wiki_token}?sheet=sid001#share"
    environ = {**feishu.environment(), "FEISHU_DOMAIN": door.url, "FEISHU_SPREADSHEET_TOKEN": address}
    return load_settings(environ=environ)


def refusal(code: int, **more: Any) -> dict[str, Any]:
    return {"code": code, "msg": "said by Feishu", **more}


def fails(settings: Settings) -> FeishuError:
    with pytest.raises(FeishuError) as caught:
        FeishuClient(settings).read_sheet()
    return caught.value


@pytest.mark.parametrize("status", [200, 400, 404])
@pytest.mark.parametrize("code", FINAL)
def test_the_node_is_found_whatever_the_first_refusal(
    feishu: FeishuStandIn, settings: Settings, door: FrontDoor, code: int, status: int
) -> None:
    door.answer(f"{feishu.wiki_token}/sheets/query", refusal(code), status)
    client = FeishuClient(settings)
    assert len(client.read_rows()) == 6
    client.write_cells({"sid001!F2:F2": "已完成"})
    assert len(client.read_rows()) == 6
    assert door.count("get_node") == 1
    assert door.count("sheets/query") == 3


@pytest.mark.parametrize(
    ("code", "status"),
    [
        *((code, 400) for code in (99991672, 99991401, 99991662, 99991403, 99991668, 10014)),
        (99991403, 429),
        *((code, 400) for code in (99991400, 1310217, 1310235, 1310242, 1315201, 1503)),
        (90221, 200),
        (0, 502),
        (0, 403),
        (0, 413),
    ],
)
def test_a_refusal_that_says_nothing_of_the_token_asks_no_wiki(
    settings: Settings, door: FrontDoor, code: int, status: int
) -> None:
    door.answer("sheets/query", refusal(code) if code else b"<html></html>", status, times=None)
    assert fails(settings).code == code
    assert door.count("get_node") == 0


@pytest.mark.parametrize("code", [1310213, 1310249])
def test_a_token_that_has_opened_a_spreadsheet_is_none_of_a_wiki(
    feishu: FeishuStandIn, settings: Settings, door: FrontDoor, code: int
) -> None:
    for token in (feishu.spreadsheet_token, feishu.wiki_token):
        client = FeishuClient(replace(settings, feishu_spreadsheet_token=token))
        client.read_sheet()
        asked = door.count("get_node")
        door.answer("sheets/query", refusal(code), 400)
        with pytest.raises(FeishuError, match=str(code)):
            client.read_sheet()
        assert door.count("get_node") == asked
        assert len(client.read_rows()) == 6


def test_a_node_whose_spreadsheet_is_refused_as_well_is_asked_once(
    feishu: FeishuStandIn, settings: Settings, door: FrontDoor
) -> None:
    door.answer("sheets/query", refusal(1310213), 400, times=None)
    assert "添加文档应用" in fails(settings).wording.en
    assert door.count("get_node") == 1


@pytest.mark.parametrize("code", [131005, 131002, 131007, 4_242_424])
@pytest.mark.parametrize("first", [1310214, 1310213, 1310251])
def test_where_the_node_cannot_be_told_the_first_refusal_counts(
    settings: Settings, door: FrontDoor, first: int, code: int
) -> None:
    door.answer("sheets/query", refusal(first), 400)
    door.answer("get_node", refusal(code), 400)
    error = fails(settings)
    assert (error.code, error.remedy) == (first, Remedy.FINAL)
    assert first == 1310213 or "FEISHU_SPREADSHEET_TOKEN" in error.advice.zh
    assert str(code) not in error.wording.en


@pytest.mark.parametrize("first", [1310214, 1310213, 1310251])
def test_a_missing_scope_for_the_wiki_is_told_beside_the_first_refusal(
    settings: Settings, door: FrontDoor, first: int
) -> None:
    violations = [{"subject": "wiki:wiki"}, {"subject": "wiki:wiki:readonly"}]
    sent = {"permission_violations": violations, "helps": [{"url": LINK}]}
    door.answer("sheets/query", refusal(first), 400)
    door.answer("get_node", refusal(99991672, error=sent), 400)
    error = fails(settings)
    assert error.code == first
    for text in (error.wording.en, error.wording.zh):
        assert LINK in text
    assert (
        f"if its address has /wiki/ in it, open {LINK} (权限管理 → 开通权限) and add wiki:wiki:readonly;"
        in error.wording.en
    )
    assert f"如果网址里有 /wiki/，打开 {LINK} （权限管理 → 开通权限），开通 wiki:wiki:readonly；" in error.wording.zh


def test_without_a_link_the_scope_for_the_wiki_is_named_all_the_same(settings: Settings, door: FrontDoor) -> None:
    door.answer("sheets/query", refusal(1310213), 400)
    door.answer("get_node", refusal(99991672), 400)
    error = fails(settings)
    assert "needs the scope wiki:wiki:readonly" in error.wording.en
    assert "还需要权限 wiki:wiki:readonly" in error.wording.zh


def test_a_page_of_the_wiki_that_is_closed_to_the_app_is_named(settings: Settings, door: FrontDoor) -> None:
    door.answer("sheets/query", refusal(1310214), 400)
    door.answer("get_node", refusal(131006), 400)
    error = fails(settings)
    assert error.code == 1310214
    assert "open the wiki page" in error.wording.en
    assert "该知识库页面" in error.wording.zh


@pytest.mark.parametrize("code", [131001, 131009, 99991400, 1503])
def test_a_wiki_that_is_busy_is_asked_another_time(settings: Settings, door: FrontDoor, code: int) -> None:
    door.answer("sheets/query", refusal(1310214), 400)
    door.answer("get_node", refusal(code), 400)
    client = FeishuClient(settings)
    with pytest.raises(FeishuError) as caught:
        client.read_sheet()
    assert (caught.value.code, caught.value.remedy) == (code, Remedy.RETRY)
    assert len(client.read_rows()) == 6


def test_a_quota_that_ends_with_the_wiki_is_what_is_told(settings: Settings, door: FrontDoor) -> None:
    door.answer("sheets/query", refusal(1310214), 400)
    door.answer("get_node", refusal(99991403), 429)
    error = fails(settings)
    assert (error.code, error.concerns_all) == (99991403, True)


@pytest.mark.parametrize(
    ("kind", "zh"), [("bitable", "多维表格（暂不支持）"), ("docx", "文档"), ("file", "上传的文件")]
)
def test_a_page_that_is_no_spreadsheet_is_called_what_it_is(
    settings: Settings, door: FrontDoor, kind: str, zh: str
) -> None:
    door.answer("get_node", {"code": 0, "data": {"node": {"obj_type": kind, "obj_token": "bas1"}}})
    error = fails(settings)
    assert (error.remedy, error.concerns_all) == (Remedy.FINAL, True)
    assert zh in error.wording.zh
    assert "address of a spreadsheet" in error.wording.en


@pytest.mark.parametrize(
    "node", [None, {}, {"obj_type": 5}, {"obj_type": "sheet"}, {"obj_type": "sheet", "obj_token": ["x"]}]
)
def test_a_node_that_tells_nothing_leaves_the_first_refusal(settings: Settings, door: FrontDoor, node: Any) -> None:
    door.answer("get_node", {"code": 0, "data": {"node": node}})
    assert fails(settings).code == 1310214


def test_no_secret_is_in_what_is_told_of_a_wiki(feishu: FeishuStandIn, settings: Settings, door: FrontDoor) -> None:
    link = f"{LINK}&x={feishu.app_secret}&y={feishu.wiki_token}"
    door.answer("sheets/query", refusal(1310213), 400)
    door.answer("get_node", refusal(99991672, error={"helps": [{"url": link}]}), 400)
    error = fails(settings)
    assert feishu.app_secret not in f"{error!r} {error.wording}"
    assert feishu.wiki_token not in f"{error!r} {error.wording}"
