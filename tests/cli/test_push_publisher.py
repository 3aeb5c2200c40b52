"""`wfrecovery push` speaks of the right publisher, and writes nothing that another one delivers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_support import wfrecovery
from plugin_support import until
from publishing_office import NOTHING, SAME, MainPy, Office
from publishing_support import Team, rows

from wfrecovery.bridge.table.values import FeishuState
from wfrecovery.bridge.wording import Wording
from wfrecovery.demo.feishu_host.stand_in import FeishuStandIn


@pytest.fixture
def feishu() -> Iterator[FeishuStandIn]:
    with FeishuStandIn(rows(3)) as stand_in:
        stand_in.limits.sheet_calls_per_second = None
        yield stand_in


def push(office: Office, *arguments: str, code: int, language: str = "en") -> dict[str, Any]:
    """Its answer for a script; the exit code is as expected."""
    environ = office.feishu.environment()
    words = ("push", *arguments, "--json", "--lang", language)
    ended = wfrecovery(*words, url=office.comfy.url, folder=office.base, **environ)
    assert ended.returncode == code, (ended.stdout, ended.stderr)
    answer: dict[str, Any] = json.loads(ended.stdout)
    return answer


def rendered(office: Office) -> MainPy:
    """A row is rendered and fetched, and nothing is in the sheet yet."""
    main = office.main_py()

    async def story() -> None:
        task_id = await main.enters(feishu_leaves=True)
        await main.recovery.finish(task_id)

    main.does(story())
    main.db.owners.close()
    return main


def test_what_main_py_delivers_is_pushed_there(feishu: FeishuStandIn, tmp_path: Path) -> None:
    with Office(tmp_path, feishu, plugin=NOTHING) as office:
        main = rendered(office)
        feishu.start()
        task_id = office.theirs()["task_id"]
        answer = push(office, task_id, code=0)
        assert answer["main"]["pushed"] == [main.record().task_id]
        assert answer["comfyui"] == []
        assert answer["elsewhere"][task_id].startswith("main.py delivers it")
        office.restart(SAME)
        office.assert_delivered_once()


def test_where_main_py_s_table_is_not_here_comfyui_delivers_it_from_then_on(
    feishu: FeishuStandIn, tmp_path: Path
) -> None:
    with Office(tmp_path, feishu, plugin=NOTHING) as office:
        rendered(office)
        feishu.start()
        task_id = office.theirs()["task_id"]
        office.folder.rename(tmp_path / "away")
        assert "wfrecovery push --local" in push(office, task_id, code=1)["refused"][task_id]
        assert "由 main.py" in push(office, task_id, code=1, language="zh")["refused"][task_id]
        office.restart(SAME)
        assert push(office, task_id, code=0)["comfyui"] == [task_id]
        assert office.settled()["metadata"]["publisher"] == office.comfy.status()["table_id"]
        office.assert_delivered_once()


def test_what_comfyui_delivers_is_not_written_from_main_py_s_table(feishu: FeishuStandIn, tmp_path: Path) -> None:
    """It answers: then it is pushed there. It is gone: then only who names the task gets it written from here."""
    with Office(tmp_path, feishu) as office:
        main = rendered(office)
        task_id = main.record().task_id
        office.comfy.kill()
        feishu.start()
        left = push(office, code=1)["main"]["left"]
        assert left[task_id].startswith("ComfyUI delivers it: push it there")
        assert office.writes() == 0
        answer = push(office, "--local", task_id, code=0)
        assert answer["main"]["pushed"] == [task_id]
        office.restart()
        assert office.settled()["metadata"]["feishu"]["by"] == main.db.table.table_id
        office.assert_delivered_once()


def test_a_local_push_of_what_a_living_comfyui_delivers_is_done_there(feishu: FeishuStandIn, tmp_path: Path) -> None:
    with Office(tmp_path, feishu) as office:
        main = rendered(office)
        task_id = main.record().task_id
        until(lambda: office.theirs()["metadata"]["feishu"]["attempts"])
        answer = push(office, "--local", task_id, code=0)  # before Feishu is back: else it goes in by itself
        feishu.start()
        assert answer["comfyui"] == [office.theirs()["task_id"]]
        assert answer["elsewhere"] == {task_id: "ComfyUI delivers it"}
        assert answer["main"] is None
        office.settled()
        main.until_pushed()
        office.assert_delivered_once()


def test_what_has_spoiled_another_row_is_told_and_not_pushed_with_the_others(
    feishu: FeishuStandIn, tmp_path: Path
) -> None:
    """A person puts that right in the sheet, and pushes it by its name."""
    team = Team(feishu, tmp_path / "output")
    task_id, other = team.failed(2), team.failed(3)
    why = Wording("a cell of another row was written over", "另一行的单元格被覆盖")
    told = {"state": FeishuState.BLOCKED, "last_error": why.en, "last_error_zh": why.zh}
    team.db.table.update(task_id, lambda task: task.with_outbox(spoiled=True, **told))
    team.db.table.update(other, lambda task: task.with_outbox(**told))
    words = {**feishu.environment(), "WFRECOVERY_OUTPUT": str(team.folder)}
    ended = wfrecovery("push", "--local", "--json", url="http://127.0.0.1:9", folder=tmp_path, **words)
    assert ended.returncode == 1, ended.stderr
    main = json.loads(ended.stdout)["main"]
    assert (main["pushed"], main["blocked"]) == ([other], {task_id: why.en})
    named = wfrecovery("push", task_id, "--local", "--json", url="http://127.0.0.1:9", folder=tmp_path, **words)
    assert json.loads(named.stdout)["main"]["pushed"] == [task_id], named.stderr
    refused = wfrecovery("push", "", "--local", url="http://127.0.0.1:9", folder=tmp_path, **words)
    assert (refused.returncode, "'' is no task id" in refused.stderr) == (2, True)
