"""The plugin does as `extra_data.wfrecovery` names the publisher, and says in its record what it leaves to others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from plugin_support import Comfy, Start, failing, one_host, picture, row, until
from publishing_support import rows

from wfrecovery.bridge.feishu.client import FeishuClient
from wfrecovery.bridge.feishu.group_summary import BatchWatch
from wfrecovery.bridge.settings import load_settings
from wfrecovery.bridge.table.manager import DatabaseManager
from wfrecovery.bridge.table.records import Stage, TaskRecord
from wfrecovery.demo.feishu_host.stand_in import FeishuStandIn
from wfrecovery.server_routes.publishing.group import GroupReporter

MAIN = "3f2a91c0aaaabbbbccccddddeeeeffff"


@pytest.fixture
def feishu() -> Iterator[FeishuStandIn]:
    with FeishuStandIn(rows(4)) as stand_in:
        stand_in.limits.sheet_calls_per_second = None
        yield stand_in


def named(number: int, **more: Any) -> dict[str, Any]:
    """A row of the sheet."""
    return {**row(number), "product_name": f"产品{number - 1}", "model_name": f"模特{number - 1}", **more}


def delivery(comfy: Comfy, prompt_id: str) -> dict[str, Any]:
    found: dict[str, Any] = comfy.record(prompt_id)["metadata"]["feishu"]
    return found


def until_settled(comfy: Comfy, prompt_id: str) -> dict[str, Any]:
    comfy.finished(prompt_id)
    until(lambda: delivery(comfy, prompt_id)["state"] != "pending", what=comfy.log()[-2000:])
    return delivery(comfy, prompt_id)


@one_host
def test_it_delivers_what_names_it_or_nobody_and_leaves_the_rest(
    host: Any, start: Start, feishu: FeishuStandIn
) -> None:
    comfy = start(host, env=feishu.environment())
    ours = until(lambda: comfy.status()["table_id"])
    document = load_settings(environ=feishu.environment()).document
    assert comfy.status()["feishu"]["document"] == document
    told = {
        "nobody": named(2),
        "this table": named(3, publisher=ours, document=document, table=MAIN, batch="a-batch"),
        "another table": named(4, publisher=MAIN, document=document, table=MAIN),
        "another document": named(5, publisher=ours, document="0123456789abcdef", table=MAIN),
    }
    prompts = {
        name: comfy.queue(picture(f"row{tag['row_number']}", color=tag["row_number"]), tag)
        for name, tag in told.items()
    }
    settled = {name: until_settled(comfy, prompt_id) for name, prompt_id in prompts.items()}
    states = {name: entry["state"] for name, entry in settled.items()}
    assert states == {"nobody": "pushed", "this table": "pushed", "another table": "off", "another document": "off"}
    assert sorted(write.row for write in feishu.sheet.picture_writes) == [2, 3]
    for name in ("another table", "another document"):
        metadata = comfy.record(prompts[name])["metadata"]
        assert metadata["publisher"] == metadata["feishu"]["by"] == MAIN
        assert MAIN[:8] in metadata["feishu"]["last_error"]
        assert "main.py" in metadata["feishu"]["last_error_zh"]
    assert "another document" in settled["another document"]["last_error"]
    metadata = comfy.record(prompts["this table"])["metadata"]
    assert [metadata[name] for name in ("publisher", "document", "twin", "batch")] == [ours, document, MAIN, "a-batch"]
    assert not {"publisher", "document", "twin", "batch"} & comfy.record(prompts["nobody"])["metadata"].keys()


def test_what_is_left_to_others_is_final_and_out_of_the_way(start: Start, feishu: FeishuStandIn) -> None:
    """It waits for nobody here: neither the list of what is unfinished, nor the counts, nor the next start."""
    comfy = start(env=feishu.environment())
    prompt_id = comfy.queue(picture("left"), named(2, publisher=MAIN, table=MAIN))
    comfy.finished(prompt_id)
    until(lambda: not list(comfy.table.glob("active/*.json")))
    assert (comfy.status()["feishu"]["pending"], comfy.status()["attention"]) == (0, 0)
    comfy.crash()
    assert delivery(comfy, prompt_id)["state"] == "off"
    assert not feishu.sheet.picture_writes


@pytest.mark.parametrize("value", [7, "", "a b", "x" * 65, ["a"], {"a": 1}, None, "../.."])
def test_what_is_no_name_is_as_if_it_had_not_been_sent(shared: Any, value: Any) -> None:
    comfy = shared(6)
    tag = named(2, **dict.fromkeys(("publisher", "document", "batch", "table"), value))
    prompt_id = comfy.queue(picture("no-name"), tag)
    metadata = comfy.finished(prompt_id)["metadata"]
    assert not {"publisher", "document", "twin", "batch"} & metadata.keys()
    assert metadata["feishu"]["state"] == "pending"


def test_a_name_survives_a_tag_that_is_too_large(shared: Any) -> None:
    comfy = shared(6)
    tag = named(2, publisher=MAIN, table=MAIN, **{f"more{n}": "x" * 50_000 for n in range(12)})
    assert comfy.finished(comfy.queue(picture("large"), tag))["metadata"]["publisher"] == MAIN


def test_what_is_rendered_again_keeps_its_publisher(start: Start, feishu: FeishuStandIn) -> None:
    """After a crash, and by a person's wish; also where the record was lost with that."""
    comfy = start(env=feishu.environment())
    crashed = comfy.queue(picture("again", gate="again"), named(2, publisher=MAIN, table=MAIN))
    comfy.until_stage(crashed, "running")
    comfy.crash()
    comfy.open_gate("again")
    assert until_settled(comfy, crashed)["state"] == "off"
    retried = comfy.queue(failing("boom", "boom"), named(3, publisher=MAIN, table=MAIN))
    record = comfy.until_stage(retried, "failed")
    assert record["metadata"]["feishu"]["state"] == "off"
    assert comfy.act(record["task_id"], "retry").status_code == 202
    until(lambda: comfy.times(retried, "failed") == 2)
    assert comfy.record(retried)["metadata"]["publisher"] == MAIN
    rebuilt = comfy.queue(picture("rebuilt", gate="rebuilt"), named(4, publisher=MAIN, table=MAIN))
    record = comfy.until_stage(rebuilt, "running")
    comfy.kill()
    comfy.open_gate("rebuilt")
    (comfy.table / "active" / f"{record['task_id']}.json").write_text("{")
    comfy.start()
    comfy.recovered()
    assert until_settled(comfy, rebuilt)["by"] == MAIN
    assert comfy.record(rebuilt)["metadata"]["publisher"] == MAIN
    assert not feishu.sheet.picture_writes
    assert not feishu.sheet.cell_writes


def test_the_group_hears_of_it_from_who_delivers(feishu: FeishuStandIn, tmp_path: Path) -> None:
    db, watch = DatabaseManager(tmp_path), BatchWatch()
    ours = db.table.keep_table_id()
    settings = load_settings(environ={**feishu.environment(), "FEISHU_WEBHOOK_URL": feishu.webhook_url})
    reporter = GroupReporter(db, FeishuClient(settings), watch)
    done = TaskRecord("img_20261123_001", revision=1, row_number=2, stage=Stage.FINISHED)
    for number, (publisher, told) in enumerate(((MAIN, 0), (ours, 1), (None, 1)), 1):
        reporter.changed(replace(done, publisher=publisher, task_id=f"img_20261123_00{number}"))
        summary = watch.over(at_once=True)
        assert (summary.finished if summary else 0) == told, publisher


def test_older_records_are_delivered_as_ever(start: Start, feishu: FeishuStandIn) -> None:
    """Of schema 1 and 2, without the fields; they stay without."""
    comfy = start(env=feishu.environment())
    feishu.stop()
    prompts = [comfy.queue(picture(f"old{number}"), named(number)) for number in (2, 3)]
    records = [comfy.finished(prompt_id) for prompt_id in prompts]
    comfy.kill()
    for schema, record in enumerate(records, 1):
        path = comfy.table / "active" / f"{record['task_id']}.json"
        text = path.read_text("utf-8")
        assert '"publisher"' not in text
        path.write_text(text.replace('"schema": 2', f'"schema": {schema}'), "utf-8")
    feishu.start()
    comfy.start()
    assert [until_settled(comfy, prompt_id)["state"] for prompt_id in prompts] == ["pushed", "pushed"]
    assert sorted(write.row for write in feishu.sheet.picture_writes) == [2, 3]
    assert "publisher" not in comfy.record(prompts[0])["metadata"]
