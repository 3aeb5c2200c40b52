"""Single calls to Feishu, over real HTTP: every answer's code counts, one token for all, no secret in an error."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from plugin_support import until
from publishing_support import PATIENCE

from wfrecovery.bridge.feishu.client import FeishuClient
from wfrecovery.bridge.feishu.errors import FeishuError, FeishuNotConfiguredError, Remedy, refused
from wfrecovery.bridge.settings import Settings, load_settings
from wfrecovery.demo.feishu_host.stand_in import Fault, FeishuStandIn

STATUS, VIDEO = "图片是否已处理", "视频是否已实现"
PNG = (
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\0\0\0\0:~\x9bU"
    b"\0\0\0\nIDATx\x9cc\xf8\x0f\0\x01\x01\x01\0\x1b\xb6\xeeV\0\0\0\0IEND\xaeB`\x82"
)


@pytest.fixture
def feishu() -> Iterator[FeishuStandIn]:
    rows = [{"产品名": f"产品{n}", "模特名": f"模特{n}", STATUS: "否", VIDEO: "否"} for n in range(1, 31)]
    with FeishuStandIn(rows) as stand_in:
        stand_in.limits.sheet_calls_per_second = None
        yield stand_in


@pytest.fixture
def client(feishu: FeishuStandIn) -> FeishuClient:
    return FeishuClient(load_settings(environ=feishu.environment()), timeout=(PATIENCE, PATIENCE))


# ------------------------------------------------------------------ the table of errors


@pytest.mark.parametrize(
    ("code", "status", "remedy"),
    [
        (99991400, 429, Remedy.RETRY),
        (99991400, 400, Remedy.RETRY),
        (99991663, 400, Remedy.REFRESH),
        (99991663, 200, Remedy.REFRESH),
        (99991664, 400, Remedy.REFRESH),
        (99991661, 400, Remedy.REFRESH),
        (99991671, 400, Remedy.REFRESH),
        (1061005, 401, Remedy.REFRESH),
        (90221, 200, Remedy.SPLIT),
        (90227, 200, Remedy.SPLIT),
        *((code, 200, Remedy.RETRY) for code in (90203, 90217, 90228, 90235, 90242, 1061001, 1061006, 1061045)),
        *((code, 400, Remedy.RETRY) for code in (1310217, 1310235, 1310242)),
        *((code, 500, Remedy.RETRY) for code in (1315201, 1315203, 1315210)),
        *((code, 200, Remedy.RETRY) for code in (1500, 1663, 1668, 2200, 5000, 55001, 131009, 95201, 95209, 96403)),
        *((code, 200, Remedy.FINAL) for code in (90202, 90204, 90213, 90214, 90215, 90218, 10014, 99991543)),
        *((code, 400, Remedy.FINAL) for code in (99991672, 99991679, 99991401, 99991662, 99992402, 9499, 91403)),
        (99991668, 400, Remedy.FINAL),
        (99991677, 400, Remedy.FINAL),
        (0, 500, Remedy.RETRY),
        (0, 502, Remedy.RETRY),
        (0, 429, Remedy.RETRY),
        (0, 403, Remedy.FINAL),
        (4_242_424, 503, Remedy.RETRY),
        (4_242_424, 429, Remedy.RETRY),
        (4_242_424, 400, Remedy.FINAL),
        (10014, 500, Remedy.FINAL),
    ],
)
def test_each_error_has_its_remedy(code: int, status: int, remedy: Remedy) -> None:
    assert refused(code, "msg", status, None).remedy is remedy


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (10015, "FEISHU_APP_SECRET"),
        (10014, "版本管理与发布"),
        (99991672, "权限管理"),
        (99991401, "IP 白名单"),
        (90213, "添加文档应用"),
        (1310213, "添加文档应用"),
        (90214, "FEISHU_SPREADSHEET_TOKEN"),
        (90215, "FEISHU_SHEET_NAME"),
        (90218, "protected"),
    ],
)
def test_what_a_person_must_do_is_said_in_plain_words(code: int, words: str) -> None:
    assert words in str(refused(code, "msg", 200, None))


# ------------------------------------------------------------------ settings and tokens


def test_without_settings_a_client_exists_and_each_call_says_what_is_missing(tmp_path: Path) -> None:
    client = FeishuClient.from_settings(Settings(feishu_app_id="cli_1"))
    assert not client.configured
    for call in (client.read_rows, client.read_sheet, lambda: client.write_cells({"s!A1:A1": "x"})):
        with pytest.raises(FeishuNotConfiguredError, match="FEISHU_APP_SECRET, FEISHU_SPREADSHEET_TOKEN"):
            call()


def test_many_threads_fetch_one_token(feishu: FeishuStandIn, client: FeishuClient) -> None:
    feishu.faults.add(Fault.SLOW, "tenant_access_token", seconds=0.2)
    threads = [threading.Thread(target=client.read_rows) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert feishu.tokens.fetches == 1
    assert feishu.count("values_get", 0) == 8


def test_tokens_revoked_by_an_administrator_are_renewed_once(feishu: FeishuStandIn, client: FeishuClient) -> None:
    client.read_rows()
    feishu.tokens.revoke_all()
    assert len(client.read_rows()) == 30
    assert feishu.tokens.fetches == 2


def test_a_late_answer_about_an_old_token_does_not_evict_a_newer_one(
    feishu: FeishuStandIn, client: FeishuClient
) -> None:
    client.read_rows()
    feishu.faults.add(Fault.TOKEN_REVOKED_LATE, "sheets_query", seconds=1.0)
    first = threading.Thread(target=client.read_rows)
    first.start()
    late = Fault.TOKEN_REVOKED_LATE.value
    until(lambda: any(call.fault == late and call.ended for call in feishu.calls))  # revoked; the answer is on its way
    assert len(client.read_rows()) == 30, "this one fetches a new token"
    assert feishu.tokens.fetches == 2
    first.join(PATIENCE)
    assert feishu.tokens.fetches == 2, "the late answer was about the old one"


def test_header_names_in_lower_case_are_understood(feishu: FeishuStandIn, client: FeishuClient) -> None:
    feishu.switches.lowercase_headers = True
    assert len(client.read_rows()) == 30
    feishu.faults.add(Fault.RATE_LIMIT_429, "sheets_query", reset="7")
    with pytest.raises(FeishuError) as caught:
        client.read_sheet()
    assert (caught.value.wait, caught.value.code, caught.value.status) == (7.0, 99991400, 429)


@pytest.mark.parametrize("reset", ["", "soon", "-5"])
def test_a_strange_wait_of_the_server_is_no_wait(feishu: FeishuStandIn, client: FeishuClient, reset: str) -> None:
    feishu.faults.add(Fault.RATE_LIMIT_400, "sheets_query", reset=reset)
    with pytest.raises(FeishuError) as caught:
        client.read_sheet()
    assert not caught.value.wait


@pytest.mark.parametrize("address", ["{}", "https://team.feishu.cn/wiki/{}?sheet=sid001"])
def test_a_spreadsheet_that_lives_in_a_wiki_is_found_by_its_node(feishu: FeishuStandIn, address: str) -> None:
    environ = {**feishu.environment(), "FEISHU_SPREADSHEET_TOKEN": address.format(feishu.wiki_token)}
    client = FeishuClient(load_settings(environ=environ))
    assert len(client.read_rows()) == 30
    client.write_cells({f"{feishu.sheet.sheet_id}!F2:F2": "已完成"})
    assert feishu.sheet.row(2)[STATUS] == "已完成"
    assert feishu.spreadsheet_token in client.sheet_url()
    assert feishu.count("wiki_get_node") == 1


def test_a_wiki_that_cannot_be_asked_now_is_no_wrong_token(feishu: FeishuStandIn) -> None:
    environ = {**feishu.environment(), "FEISHU_SPREADSHEET_TOKEN": "nothing-of-this-name"}
    feishu.faults.add(Fault.HTML_502, "wiki_get_node")
    with pytest.raises(FeishuError) as caught:
        FeishuClient(load_settings(environ=environ)).read_sheet()
    assert caught.value.remedy is Remedy.RETRY


def test_a_token_that_names_nothing_is_said_so(feishu: FeishuStandIn) -> None:
    environ = {**feishu.environment(), "FEISHU_SPREADSHEET_TOKEN": "nothing-of-this-name"}
    with pytest.raises(FeishuError, match="FEISHU_SPREADSHEET_TOKEN names no spreadsheet") as caught:
        FeishuClient(load_settings(environ=environ)).read_rows()
    assert "/wiki/" in caught.value.wording.zh


def test_the_domain_may_be_larks(feishu: FeishuStandIn) -> None:
    settings = load_settings(environ={**feishu.environment(), "FEISHU_DOMAIN": feishu.url + "/"})
    assert len(FeishuClient(settings).read_rows()) == 30


@pytest.mark.parametrize("kind", list(Fault))
def test_no_error_shows_a_secret_or_the_sheets_token(feishu: FeishuStandIn, client: FeishuClient, kind: Fault) -> None:
    if kind in (Fault.SLOW, Fault.SLOW_BEFORE):
        return
    feishu.faults.add(kind, times=None)
    texts = []
    for call in (client.read_sheet, lambda: client.write_cells({"sid001!F2:F2": "已完成"})):
        try:
            call()
        except FeishuError as error:
            texts.append(f"{error} {error!r}")
    shown = " ".join(texts)
    for secret in (feishu.app_secret, feishu.spreadsheet_token, *feishu.tokens.issued):
        assert secret not in shown


def test_an_address_where_nobody_listens_does_not_show_the_sheets_token(feishu: FeishuStandIn) -> None:
    client = FeishuClient(load_settings(environ=feishu.environment()))
    client.read_rows()
    feishu.stop()
    with pytest.raises(FeishuError, match="no answer from Feishu") as caught:
        client.read_sheet()
    assert caught.value.remedy is Remedy.RETRY
    assert not caught.value.outcome_unknown, "reading changes nothing"
    assert feishu.spreadsheet_token not in str(caught.value)
    with pytest.raises(FeishuError) as caught:
        client.write_cells({"sid001!F2:F2": "x"})
    assert caught.value.outcome_unknown
    feishu.start()


# ------------------------------------------------------------------ calls


def test_a_sheet_is_known_by_title_or_id(feishu: FeishuStandIn, client: FeishuClient) -> None:
    feishu.add_sheet("另一个", [{"产品名": "x", "模特名": "y"}])
    for name in ("另一个", "sid002"):
        other = FeishuClient(replace(client.settings, feishu_sheet_name=name))
        assert [row.product_name for row in other.read_rows()] == ["x"]
    missing = FeishuClient(replace(client.settings, feishu_sheet_name="无"))
    with pytest.raises(FeishuError, match="it has: 商品表, 另一个"):
        missing.read_rows()


def test_an_answer_that_would_be_too_large_is_read_in_parts(feishu: FeishuStandIn, client: FeishuClient) -> None:
    feishu.sheet.insert_row(180, {"产品名": "far below", "模特名": "x"})
    whole = [(row.row_number, row.product_name) for row in client.read_rows()]
    assert whole[-1] == (180, "far below")
    values = FeishuClient._values
    asked: list[str] = []

    def limited(self: FeishuClient, cell_range: str) -> Any:
        asked.append(cell_range)
        first, last = (int("".join(filter(str.isdigit, end))) for end in cell_range.partition("!")[2].split(":"))
        if last - first > 60:
            raise refused(90221, "answer too large", 200, None)
        read, revision = values(self, cell_range)
        while read and not any(read[-1]):
            read.pop()  # blank rows at the end may be left out
        return read, revision

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FeishuClient, "_values", limited)
        assert [(row.row_number, row.product_name) for row in client.read_rows()] == whole
    assert len(asked) > 3


def test_many_statuses_are_written_in_few_calls_and_split_where_they_are_too_large(
    feishu: FeishuStandIn, client: FeishuClient
) -> None:
    cells = {f"sid001!F{row}:F{row}": f"已完成{row}" for row in range(2, 252)}
    client.write_cells(cells)
    assert feishu.count("values_batch_update") == 3
    assert [feishu.sheet.text(f"F{row}") for row in range(2, 252)] == [f"已完成{row}" for row in range(2, 252)]
    feishu.limits.body_bytes = 2000
    client.write_cells(dict.fromkeys(cells, "又"))
    assert {feishu.sheet.text(f"F{row}") for row in range(2, 252)} == {"又"}
    assert feishu.overlaps == 0


def test_nothing_to_write_asks_nobody(feishu: FeishuStandIn, client: FeishuClient) -> None:
    client.write_cells({})
    assert not feishu.calls


def test_a_written_picture_is_read_back_and_downloaded(
    feishu: FeishuStandIn, client: FeishuClient, tmp_path: Path
) -> None:
    client.write_picture("sid001!G2:G2", "合成.png", PNG)
    cell = client.read_cell("sid001!G2:G2")
    assert cell["type"] == "embed-image"
    client.download_media(cell["fileToken"], tmp_path / "图.png")
    assert (tmp_path / "图.png").read_bytes() == PNG
    assert [path.name for path in tmp_path.iterdir()] == ["图.png"]
    assert client.read_cell("sid001!G3:G3") is None


def test_an_error_that_drive_sends_with_http_200_is_not_saved_as_the_picture(
    feishu: FeishuStandIn, client: FeishuClient, tmp_path: Path
) -> None:
    client.write_picture("sid001!G2:G2", "a.png", PNG)
    token = client.read_cell("sid001!G2:G2")["fileToken"]
    feishu.faults.add(Fault.TOKEN_REVOKED_200, "media_download", times=2)
    with pytest.raises(FeishuError, match="99991663"):
        client.download_media(token, tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits, not waited."""
    waits: list[float] = []
    monkeypatch.setattr("wfrecovery.bridge.feishu.client.time.sleep", waits.append)
    return waits


def test_reading_rows_waits_out_a_busy_feishu(feishu: FeishuStandIn, client: FeishuClient, slept: list[float]) -> None:
    feishu.faults.add(Fault.RATE_LIMIT_429, "sheets_query", reset="52")
    feishu.faults.add(Fault.HTML_502, "values_get")
    feishu.faults.add(Fault.RATE_LIMIT_400, "values_get", reset="86400")
    assert len(client.read_rows()) == 30
    assert slept == [52.0, 1.0, 300.0]


def test_reading_rows_gives_up_after_some_tries_and_at_once_where_waiting_does_not_help(
    feishu: FeishuStandIn, client: FeishuClient, slept: list[float]
) -> None:
    feishu.faults.add(Fault.HTML_502, "sheets_query", times=None)
    with pytest.raises(FeishuError, match="502"):
        client.read_rows()
    assert slept == [0.5, 1.0, 2.0, 4.0, 8.0]
    wrong = FeishuClient(replace(client.settings, feishu_app_secret="wrong"))
    with pytest.raises(FeishuError, match="FEISHU_APP_SECRET"):
        wrong.read_rows()
    assert len(slept) == 5


def test_a_download_that_fails_leaves_no_file(feishu: FeishuStandIn, client: FeishuClient, tmp_path: Path) -> None:
    with pytest.raises(FeishuError, match="1061003"):
        client.download_media("../nothing", tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []


def test_a_picture_without_an_ending_is_refused_with_advice(feishu: FeishuStandIn, client: FeishuClient) -> None:
    with pytest.raises(FeishuError, match="90204") as caught:
        client.write_picture("sid001!G2:G2", "picture", PNG)
    assert caught.value.remedy is Remedy.FINAL


@pytest.mark.parametrize("status", [200, 400])
def test_a_code_counts_whatever_the_http_status(feishu: FeishuStandIn, client: FeishuClient, status: int) -> None:
    feishu.switches.sheet_error_status = status
    with pytest.raises(FeishuError) as caught:
        client.write_cells({"nosuch!F2:F2": "x"})
    assert (caught.value.code, caught.value.status, caught.value.remedy) == (90215, status, Remedy.FINAL)


@pytest.mark.parametrize("kind", [Fault.RESET_AFTER, Fault.HALF_BODY, Fault.HTML_502_AFTER])
def test_after_a_lost_answer_to_a_write_the_outcome_is_called_unknown(
    feishu: FeishuStandIn, client: FeishuClient, kind: Fault
) -> None:
    feishu.faults.add(kind, "values_batch_update")
    with pytest.raises(FeishuError) as caught:
        client.write_cells({"sid001!F2:F2": "已完成"})
    assert caught.value.outcome_unknown
    assert caught.value.remedy is Remedy.RETRY
    assert feishu.sheet.text("F2") == "已完成"
