"""What ComfyUI's plugin will do at the next start is told before it, and is what happens then."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from plugin_support import Comfy, picture, row, until
from test_bill import contents

from wfrecovery.bridge.cli.main import main
from wfrecovery.bridge.recovery.next_start import UNKNOWABLE
from wfrecovery.bridge.table.manager import DatabaseManager

AGAIN, ASKS = "rendered (lost when ComfyUI ended; queued again)", "asks you (lost when ComfyUI ended"


def dry_run(capsys: pytest.CaptureFixture[str], url: str, output: Path, *options: str) -> str:
    capsys.readouterr()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COMFYUI_URL", url)
        patch.setenv("WFRECOVERY_OUTPUT", str(output))
        main(["recover", "--dry-run", *options])
    said = capsys.readouterr()
    return said.out or said.err


def reasons(told: str) -> dict[int | None, str]:
    found: list[dict[str, Any]] = json.loads(told)["tasks"]
    return {task["row_number"]: task["reason"] for task in found}


def test_it_is_told_and_it_happens(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Comfy(tmp_path / "comfyui") as comfy:
        running = comfy.queue(picture("a", seconds=600), row(2))
        waiting = comfy.queue(picture("b"), row(3))
        comfy.queue(picture("c"))
        until(lambda: comfy.tasks(stage="running"))
        by_http = reasons(dry_run(capsys, comfy.url, tmp_path / "none", "--json"))
        beside_it = reasons(dry_run(capsys, comfy.url, comfy.output, "--json"))
        assert "ComfyUI" in beside_it[2].partition("; ")[0]  # it is at work on it, and lives
        until(lambda: "recording to" in comfy.log(), what="its folder is tried, and nothing of that is left")
        comfy.kill()
        before = contents(comfy.output)
        told = reasons(dry_run(capsys, comfy.url, comfy.output, "--json"))
        assert contents(comfy.output) == before
        for said in (by_http, beside_it, told):
            assert {number: AGAIN in reason for number, reason in said.items()} == {2: True, 3: True, None: False}
            assert ASKS in said[None]
        lines = dry_run(capsys, comfy.url, comfy.output, "--lang", "zh")
        assert "ComfyUI 下次启动时：" in lines
        assert UNKNOWABLE.zh in lines
        nowhere = dry_run(capsys, comfy.url, tmp_path / "none")
        assert "there is no task table in" in nowhere
        assert "COMFYUI_URL" in nowhere
        comfy.start()
        assert comfy.recovered()["total"] == 3
        assert set(comfy.pending()) == {running, waiting}
        assert [task["row_number"] for task in comfy.tasks(stage="asking")] == [None]


def test_records_that_cannot_be_read_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The next start rebuilds them, and may render them."""
    db = DatabaseManager(tmp_path)
    task_id = db.add_workflow_task({"row_number": 2, "product_name": "杯"}, "图片合成")
    db.owners.close()
    path = db.table.files.active_path(task_id)
    path.write_text("{")
    before = contents(tmp_path)
    told = json.loads(dry_run(capsys, "http://127.0.0.1:9", tmp_path, "--json"))
    assert (told["tasks"], len(told["unreadable"])) == ([], 1)
    assert task_id in told["unreadable"][0]
    assert "1 record cannot be read: the next start rebuilds what it can from their graphs, and may" in (
        dry_run(capsys, "http://127.0.0.1:9", tmp_path)
    )
    assert contents(tmp_path) == before
