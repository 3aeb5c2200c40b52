"""The stand-in Feishu: faults to order. A fact, a test; real HTTP, no sleeps."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from feishu_caller import PNG, Client
from plugin_support import until

from wfrecovery.demo.feishu_host.stand_in import RETRYABLE, Fault, FaultPlan, FeishuStandIn


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
    answer = client.update_records({"record_id": "recstandin1", "fields": {}})
    assert (answer.status_code, answer.json()["code"]) == (200, 1254291)


def test_a_late_answer_about_a_token_that_is_no_longer_used(client: Client, feishu: FeishuStandIn) -> None:
    """While the answer is held back, the client has long fetched a newer token: the old news must not spoil it."""
    held, leave = threading.Event(), threading.Event()

    def hold(seconds: float) -> None:
        held.set()
        leave.wait(120)

    feishu._gate.pause = hold  # type: ignore[method-assign]
    feishu.faults.add(Fault.TOKEN_REVOKED_LATE, "values_get")
    other = Client(feishu)
    with ThreadPoolExecutor() as threads, other.session:
        late = threads.submit(client.raw_v2, "GET", "values/sid001")
        assert held.wait(120)
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
            timeout=(120, 0.2),
        )
    until(lambda: feishu.calls[-1].ended, what="the write")
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
