"""The stand-in Feishu: `revision` as the page tells it and as it might be, and reads that come late. Real HTTP."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from feishu_caller import PNG, Client, Clock

from wfrecovery.demo.feishu_host.stand_in import FeishuStandIn


def read(client: Client, sheet: str = "sid001") -> int | None:
    """The number that a read carries."""
    data = client.v2("GET", f"values/{sheet}!A1:A1")["data"]
    assert data.get("revision") == data["valueRange"].get("revision")
    return data.get("revision")


def wrote(client: Client, cell: str = "sid001!F2:F2", text: str = "已完成") -> int | None:
    return client.put(cell, [[text]])["data"].get("revision")


def pictured(client: Client) -> int | None:
    return client.image("sid001!G2:G2").json()["data"].get("revision")


@pytest.mark.parametrize(
    ("how", "values", "picture", "person"),
    [("one", 1, 1, 1), ("pictures two", 1, 2, 1), ("two", 2, 2, 1), ("still", 0, 0, 0)],
)
def test_by_how_much_it_goes_up(
    client: Client, feishu: FeishuStandIn, how: Any, values: int, picture: int, person: int
) -> None:
    feishu.switches.revision = how
    at = read(client)
    assert at is not None
    assert wrote(client) == at + values
    assert read(client) == at + values
    assert pictured(client) == at + values + picture
    feishu.sheet.set("E2", "新")
    assert read(client) == at + values + picture + person


def test_several_ranges_are_one_change(client: Client, feishu: FeishuStandIn) -> None:
    feishu.switches.revision = "two"
    at = read(client)
    assert at is not None
    ranges = [{"range": f"sid001!F{n}:F{n}", "values": [["已完成"]]} for n in (2, 3)]
    answer = client.v2("POST", "values_batch_update", json={"valueRanges": ranges})
    assert answer["data"]["revision"] == at + 2


def test_each_sheet_may_have_its_own(client: Client, feishu: FeishuStandIn) -> None:
    feishu.add_sheet("第二张")
    feishu.switches.revision = "by sheet"
    first, second = read(client), read(client, "sid002")
    assert first is not None
    assert second is not None
    assert wrote(client) == first + 1
    assert read(client, "sid002") == second
    assert wrote(client, "sid002!A2:A2") == second + 1
    ranges = [{"range": f"sid00{n}!F2:F2", "values": [["否"]]} for n in (2, 1)]
    answer = client.v2("POST", "values_batch_update", json={"valueRanges": ranges})["data"]
    assert answer["revision"] == second + 2, "that of the first range"
    assert (read(client), read(client, "sid002")) == (first + 2, second + 2)
    query = {"ranges": "sid001!A1:A1,sid002!A1:A1"}
    both = client.v2("GET", "values_batch_get", params=query)["data"]["valueRanges"]
    assert [part["revision"] for part in both] == [first + 2, second + 2]


def test_it_may_be_missing_everywhere(client: Client, feishu: FeishuStandIn) -> None:
    feishu.switches.revision = "missing"
    body = {"valueRange": {"range": "sid001!B9:B9", "values": [["鞋"]]}}
    ranges = {"valueRanges": [{"range": "sid001!F2:F2", "values": [["x"]]}]}
    for answer in (
        client.v2("GET", "values/sid001"),
        client.v2("GET", "values_batch_get", params={"ranges": "sid001"}),
        client.put("sid001!F2:F2", [["x"]]),
        client.v2("POST", "values_batch_update", json=ranges),
        client.v2("POST", "values_append", json=body),
        client.v2("POST", "values_prepend", json=body),
        client.image("sid001!G2:G2").json(),
    ):
        assert answer["code"] == 0
        assert '"revision"' not in str(answer).replace("'", '"')


def test_it_may_go_up_by_itself(client: Client, feishu: FeishuStandIn) -> None:
    """Before every third call: so some reads find more than the last write said, and some writes add two."""
    feishu.switches.revision = "restless"
    numbers = [read(client) or 0 for _ in range(9)]
    assert [number - numbers[0] for number in numbers] == [0, 0, 1, 1, 1, 2, 2, 2, 3]
    written = [wrote(client, text=str(n)) or 0 for n in range(6)]
    assert [number - numbers[-1] for number in written] == [1, 2, 4, 5, 6, 8]


# Late


def test_so_many_reads_do_not_know_of_a_write(client: Client, feishu: FeishuStandIn) -> None:
    feishu.switches.late_reads = 2
    assert client.put("sid001!F2:F3", [["已完成"], ["失败"]])["code"] == 0
    assert feishu.sheet.text("F2") == "已完成", "a person sees it at once"
    seen = [client.read("sid001!F2:F3") for _ in range(3)]
    assert seen == [[["否"], ["否"]], [["否"], ["否"]], [["已完成"], ["失败"]]]


def test_so_many_seconds_a_read_does_not_know_of_a_write(client: Client, feishu: FeishuStandIn, clock: Clock) -> None:
    feishu.switches.late_seconds = 5
    client.image("sid001!G2:G2")
    clock.now += 4.9
    assert [client.read("sid001!G2:G2") for _ in range(3)] == [[[None]]] * 3
    clock.now += 0.1
    assert client.read("sid001!G2:G2")[0][0]["type"] == "embed-image"


def test_of_two_late_writes_into_one_cell_the_older_shows_first(client: Client, feishu: FeishuStandIn) -> None:
    feishu.switches.late_reads = 2
    client.put("sid001!F2:F2", [["处理中"]])
    assert client.read("sid001!F2:F2") == [["否"]]
    client.put("sid001!F2:F2", [["已完成"]])
    seen = [client.read("sid001!F2:F2")[0][0] for _ in range(3)]
    assert seen == ["否", "处理中", "已完成"]


def test_what_is_late_moves_with_its_row_and_what_people_do_shows_at_once(
    client: Client, feishu: FeishuStandIn
) -> None:
    feishu.switches.late_reads = 100
    client.put("sid001!F2:F3", [["已完成"], ["失败"]])
    feishu.sheet.insert_row(2, {"产品名": "新品", "图片是否已处理": "新"})
    assert client.read("sid001!F2:F4") == [["新"], ["否"], ["否"]]
    feishu.sheet.sort("产品名", reverse=True)
    assert [row[0] for row in client.read("sid001!B2:B4")] == ["杯子", "新品", "帽子"]
    assert client.read("sid001!F2:F4") == [["否"], ["新"], ["否"]]
    feishu.sheet.set("F2", "人工")
    assert client.read("sid001!F2:F2") == [["人工"]]
    feishu.switches.late_reads = 0
    client.put("sid001!H2:H2", [["已完成"]])
    assert client.read("sid001!H2:H2") == [["已完成"]]


@pytest.mark.parametrize("how", ["new", "old"])
def test_the_number_of_a_late_read(client: Client, feishu: FeishuStandIn, how: Literal["new", "old"]) -> None:
    feishu.switches.late_reads, feishu.switches.late_revision = 2, how
    before = read(client)
    assert before is not None
    assert wrote(client) == before + 1
    numbers = [read(client) for _ in range(3)]
    assert numbers == ([before + 1] * 3 if how == "new" else [before, before, before + 1])


def test_a_persons_change_raises_the_number_of_a_late_read(client: Client, feishu: FeishuStandIn) -> None:
    feishu.switches.late_reads, feishu.switches.late_revision = 5, "old"
    before = read(client)
    assert before is not None
    wrote(client)
    feishu.sheet.set("G3", PNG)
    assert read(client) == before + 2
    assert client.read("sid001!F2:F2") == [["否"]], "the write is still late"
