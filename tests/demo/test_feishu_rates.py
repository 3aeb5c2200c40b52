"""The stand-in Feishu: how often, and one after the other. A fact, a test; real HTTP, no sleeps."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from feishu_caller import Client, Clock

from wfrecovery.demo.feishu_host.stand_in import Fault, FeishuStandIn


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
        leave.wait(120)

    feishu._gate.pause = hold  # type: ignore[method-assign]
    feishu.faults.add(Fault.SLOW_BEFORE, "values_image")
    with ThreadPoolExecutor() as threads:
        slow = threads.submit(Client.image, client, "sid001!G2:G2")
        assert entered.wait(120)
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
        leave.wait(120)

    feishu._gate.pause = hold  # type: ignore[method-assign]
    feishu.faults.add(Fault.SLOW_BEFORE, "records_batch_update")
    record = {"record_id": "recstandin1", "fields": {"状态": "已完成"}}
    other = Client(feishu)
    with ThreadPoolExecutor() as threads, other.session:
        slow = threads.submit(client.update_records, record)
        assert entered.wait(120)
        other.token = client.token
        answer = other.update_records(record)
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
