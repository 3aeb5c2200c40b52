"""Who delivers is named when a row is submitted: its picture is written once, whoever dies, and wherever."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import preloaded
import pytest
from PIL import Image
from plugin_support import until
from publishing_office import NOTHING, OTHER, OTHER_SHEET, SAME, DyingClient, MainPy, Office, in_the_sheet
from publishing_support import STATUS, rows

from wfrecovery import bridge
from wfrecovery.bridge.engines import in_use
from wfrecovery.bridge.engines.in_use import EngineInUse
from wfrecovery.bridge.recovery import delivering, plugin
from wfrecovery.bridge.recovery.plugin import Plugin
from wfrecovery.bridge.table.publishers import Naming
from wfrecovery.demo.feishu_host.stand_in import FeishuStandIn

TABLES = pytest.mark.parametrize("shared", [False, True], ids=["own table", "one table"])


@pytest.fixture
def feishu() -> Iterator[FeishuStandIn]:
    with FeishuStandIn(rows(3)) as stand_in:
        stand_in.limits.sheet_calls_per_second = None
        yield stand_in


def agree(main: MainPy, office: Office, row: int = 2) -> None:
    """Both records of a prompt name the same publisher and document, and the same sheet."""
    theirs = office.theirs(row)["metadata"]
    ours = main.record(row)
    assert (theirs["publisher"], theirs["document"]) == (ours.publisher, ours.document)
    assert theirs["sheet"] == ours.sheet == main.settings.sheet is not None
    assert ours.document == main.settings.document


# ------------------------------------------------------------------ ComfyUI dies


@TABLES
def test_comfyui_dies_just_after_main_py_has_fetched_the_result(
    feishu: FeishuStandIn, tmp_path: Path, shared: bool
) -> None:
    """With one table nothing is fetched, and who of the two lives delivers."""
    with Office(tmp_path, feishu, shared=shared) as office:
        main = office.main_py(comfy=None if shared else DyingClient(office, before=False))
        main.does(left_behind(main, office))
        if shared:
            main.until_pushed()
        main.does(main.recovery.publish())
        assert office.writes() == (1 if shared else 0), "what names the plugin is the plugin's"
        office.restart()
        assert office.settled()["metadata"]["feishu"]["state"] == "pushed"
        main.until_pushed()
        agree(main, office)
        office.assert_delivered_once()


@TABLES
def test_comfyui_dies_before_main_py_can_fetch_the_result(feishu: FeishuStandIn, tmp_path: Path, shared: bool) -> None:
    with Office(tmp_path, feishu, shared=shared) as office:
        main = office.main_py(comfy=None if shared else DyingClient(office, before=True))

        async def story() -> None:
            task_id = await main.enters(feishu_leaves=True)
            following = asyncio.create_task(main.recovery.finish(task_id))
            await asyncio.to_thread(until, lambda: office.theirs()["metadata"]["stage"] == "finished")
            await asyncio.to_thread(until, lambda: shared or not office.comfy.running)
            await asyncio.to_thread(office.comfy.kill)
            feishu.start()
            main.comfy.__class__ = bridge.ComfyUIClient  # it kills no more
            await asyncio.to_thread(office.restart)
            await following
            await main.recovery.wait_until_done()

        main.does(story())
        office.settled()
        main.until_pushed()
        agree(main, office)
        office.assert_delivered_once()


@TABLES
def test_comfyui_dies_as_soon_as_the_plugin_has_written_the_picture(
    feishu: FeishuStandIn, tmp_path: Path, shared: bool
) -> None:
    """Before it can note that, or write the status."""
    with Office(tmp_path, feishu, shared=shared) as office:
        main = office.main_py()

        async def story() -> None:
            feishu.faults.add("SLOW", match="values_image", seconds=60.0)
            task_id = await main.enters()
            await asyncio.to_thread(until, in_the_sheet(office))
            await asyncio.to_thread(office.comfy.kill)
            feishu.faults.clear()
            assert main.db.get_task(task_id) is not None

        main.does(story())
        assert feishu.sheet.row(2)[STATUS] == "否"
        main.does(main.recovery.check_and_recover_tasks())
        office.restart()
        main.does(main.recovers())
        office.settled()
        main.until_pushed()
        agree(main, office)
        office.assert_delivered_once()


def test_main_py_delivers_when_the_plugin_was_out_of_reach_for_minutes_and_the_plugin_then_leaves_it(
    feishu: FeishuStandIn, tmp_path: Path
) -> None:
    with Office(tmp_path, feishu) as office:
        main = office.main_py(comfy=DyingClient(office, before=False))
        main.does(left_behind(main, office))
        main.does(main.time_goes_by(delivering.OUT_OF_REACH_SECONDS - 1))
        assert office.writes() == 0
        office.clock.now += 1
        main.does(main.recovery.publish())
        assert office.writes() == 1
        office.restart()
        record = office.settled()
        assert record["metadata"]["feishu"]["state"] == "pushed"
        assert record["metadata"]["feishu"]["by"] == main.db.table.table_id
        agree(main, office)
        office.assert_delivered_once()


async def left_behind(main: MainPy, office: Office, **options: Any) -> None:
    """A row is rendered and fetched, ComfyUI is dead, nothing is in the sheet."""
    task_id = await main.enters(**options, feishu_leaves=True)
    await main.recovery.finish(task_id)
    await asyncio.to_thread(office.comfy.kill)
    office.feishu.start()
    assert main.record().status.value == "已完成"


async def rendered_while_feishu_is_away(main: MainPy) -> None:
    """A row is rendered and fetched, ComfyUI lives, nothing is in the sheet."""
    task_id = await main.enters(feishu_leaves=True)
    await main.recovery.finish(task_id)
    main.office.feishu.start()


@pytest.mark.parametrize("read", [True, False], ids=["read", "typed in"])
def test_what_the_plugin_had_written_before_it_died_main_py_does_not_write_again(
    feishu: FeishuStandIn, tmp_path: Path, read: bool
) -> None:
    """The picture alone: it died before the status. Also where nobody has told what the row showed before."""
    with Office(tmp_path, feishu) as office:
        main = office.main_py()

        async def story() -> None:
            feishu.faults.add("SLOW", match="values_image", seconds=60.0)
            task_id = await main.enters(read=read)
            await main.recovery.finish(task_id)
            await asyncio.to_thread(until, in_the_sheet(office))
            await asyncio.to_thread(office.comfy.kill)
            feishu.faults.clear()
            await main.time_goes_by()

        main.does(story())
        assert main.record().feishu_state.value == "pushed"
        assert main.record().outbox.by == main.record().twin
        office.assert_delivered_once()
        office.restart()
        office.settled()
        agree(main, office)
        office.assert_delivered_once()


@pytest.mark.parametrize("read", [True, False], ids=["read", "typed in"])
def test_a_row_that_shows_the_picture_of_an_earlier_day_is_not_taken_for_delivered(
    feishu: FeishuStandIn, tmp_path: Path, read: bool
) -> None:
    feishu.sheet.set("G2", old_picture())
    with Office(tmp_path, feishu) as office:
        main = office.main_py(comfy=DyingClient(office, before=False))
        main.does(left_behind(main, office, read=read))
        main.does(main.time_goes_by())
        assert office.writes() == 1
        office.restart()
        office.settled()
        office.assert_delivered_once()


def old_picture() -> bytes:
    """Another one than any that is rendered here."""
    file = BytesIO()
    Image.new("RGB", (5, 5), (9, 9, 9)).save(file, "PNG")
    return file.getvalue()


def test_main_py_waits_at_its_end_for_a_comfyui_that_does_not_come_back(
    feishu: FeishuStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Office(tmp_path, feishu) as office:
        main = office.main_py(comfy=DyingClient(office, before=False))
        main.does(left_behind(main, office))

        async def passing(seconds: float) -> None:
            office.clock.now += 20 * seconds

        monkeypatch.setattr(delivering.asyncio, "sleep", passing)
        main.does(main.recovery.wait_until_done())
        monkeypatch.undo()
        assert main.record().feishu_state.value == "pushed"
        office.restart()
        office.settled()
        office.assert_delivered_once()


# ------------------------------------------------------------------ who is set to what


@TABLES
@pytest.mark.parametrize("plugin", [OTHER, NOTHING])
def test_main_py_delivers_where_the_plugin_is_not_set_to_the_row_s_document(
    feishu: FeishuStandIn, tmp_path: Path, shared: bool, plugin: str
) -> None:
    """Also after a crash, and while Feishu was away; and when the plugin is set to the same document later."""
    with Office(tmp_path, feishu, shared=shared, plugin=plugin) as office:
        main = office.main_py()

        main.does(rendered_while_feishu_is_away(main))
        agree(main, office)
        office.restart(plugin)
        assert office.writes() == 0
        if not shared:
            declined = office.theirs()["metadata"]["feishu"]
            assert declined["state"] == "off"
            assert declined["by"] == main.record().publisher == main.db.table.table_id
            assert "main.py" in declined["last_error"]
            assert "main.py" in declined["last_error_zh"]
        main.until_pushed()
        office.restart(SAME)
        office.comfy.recovered()
        office.settled()
        agree(main, office)
        office.assert_delivered_once()


@pytest.mark.parametrize("plugin", [OTHER, NOTHING])
def test_a_plugin_that_was_named_and_is_set_to_something_else_later_declines(
    feishu: FeishuStandIn, tmp_path: Path, plugin: str
) -> None:
    with Office(tmp_path, feishu) as office:
        main = office.main_py(comfy=DyingClient(office, before=False))
        main.does(left_behind(main, office))
        assert main.record().publisher == office.theirs()["metadata"]["publisher"] != main.db.table.table_id
        office.restart(plugin)
        assert office.settled()["metadata"]["feishu"]["state"] == "off"
        again = office.main_py()
        again.until_pushed()
        agree(again, office)
        office.restart(SAME)
        assert office.theirs()["metadata"]["feishu"]["state"] == "off"
        office.assert_delivered_once()


def test_a_main_py_without_settings_leaves_it_to_the_plugin_and_learns_how_that_went(
    feishu: FeishuStandIn, tmp_path: Path
) -> None:
    with Office(tmp_path, feishu) as office:
        main = office.main_py(configured=False)
        main.does(main.renders())
        office.settled()
        main.does(main.recovery.publish())
        assert main.record().feishu_state.value == "pushed"
        assert main.record().publisher == office.theirs()["metadata"]["publisher"]
        office.assert_delivered_once()


# ------------------------------------------------------------------ main.py dies


@TABLES
def test_another_main_py_goes_on_where_the_first_has_died(feishu: FeishuStandIn, tmp_path: Path, shared: bool) -> None:
    with Office(tmp_path, feishu, shared=shared) as office:
        first = office.main_py()
        first.does(first.enters())
        first.db.owners.close()
        second = office.main_py()
        second.does(second.recovers())
        office.settled()
        second.until_pushed()
        agree(second, office)
        office.assert_delivered_once()


def test_another_main_py_delivers_what_names_their_table(feishu: FeishuStandIn, tmp_path: Path) -> None:
    with Office(tmp_path, feishu, plugin=NOTHING) as office:
        first = office.main_py()
        first.does(rendered_while_feishu_is_away(first))
        first.db.owners.close()
        office.restart(SAME)  # it has settings by now, and has not been named
        second = office.main_py()
        second.until_pushed()
        office.comfy.crash()
        agree(second, office)
        office.assert_delivered_once()


# ------------------------------------------------------------------ rendered again


def test_what_is_queued_again_after_a_crash_keeps_its_publisher(feishu: FeishuStandIn, tmp_path: Path) -> None:
    with Office(tmp_path, feishu, plugin=OTHER) as office:
        main = office.main_py()

        async def story() -> None:
            task_id = await main.enters(seconds=3.0)
            await asyncio.to_thread(until, lambda: office.theirs()["metadata"]["stage"] == "running")
            await asyncio.to_thread(office.restart, SAME)
            await main.recovery.finish(task_id)

        main.does(story())
        assert main.record().publisher == main.db.table.table_id
        main.until_pushed()
        agree(main, office)
        office.assert_delivered_once()


# ------------------------------------------------------------------ a person says so


def test_a_click_makes_the_plugin_the_publisher_where_main_py_is_gone(feishu: FeishuStandIn, tmp_path: Path) -> None:
    """And a main.py that comes back after all does not write it a second time."""
    with Office(tmp_path, feishu, plugin=NOTHING) as office:
        main = office.main_py()
        main.does(rendered_while_feishu_is_away(main))
        task_id = office.theirs()["task_id"]
        refused = office.comfy.act(task_id, "push")
        assert refused.status_code == 409
        assert "wfrecovery push --local" in refused.json()["error"]["message"]
        office.restart(SAME)
        many = office.comfy.call("POST", "/wfrecovery/tasks/push", json={"task_ids": [task_id]}).json()
        assert list(many["refused"]) == [task_id]
        assert office.comfy.act(task_id, "push").status_code == 202
        record = office.settled()
        assert record["metadata"]["publisher"] == office.comfy.status()["table_id"]
        office.assert_delivered_once()
        again = office.main_py()
        again.until_pushed()
        agree(again, office)
        office.assert_delivered_once()


def test_a_main_py_without_the_plugin_s_word_does_not_write_what_a_click_has_delivered(
    feishu: FeishuStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ComfyUI is down again when main.py comes back: the row shows it."""
    with Office(tmp_path, feishu, plugin=NOTHING) as office:
        main = office.main_py()
        main.does(rendered_while_feishu_is_away(main))
        office.restart(SAME)
        assert office.comfy.act(office.theirs()["task_id"], "push").status_code == 202
        office.settled()
        office.comfy.kill()
        again = office.main_py()
        again.until_pushed()
        assert again.record().outbox.by == office.theirs()["metadata"]["publisher"]
        office.assert_delivered_once()


def test_results_of_a_sheet_that_was_renamed_go_into_it_under_its_new_title(
    feishu: FeishuStandIn, tmp_path: Path
) -> None:
    """Although it was never delivered to: which sheet a row is read from stands in the task."""
    with Office(tmp_path, feishu, plugin=NOTHING) as office:
        main = office.main_py()
        main.does(rendered_while_feishu_is_away(main))
        feishu.sheet.title = feishu.sheet_title = "改了名"
        office.main_py().until_pushed()
        office.assert_delivered_once()


def test_results_of_another_sheet_wait_until_a_person_says_so(feishu: FeishuStandIn, tmp_path: Path) -> None:
    with Office(tmp_path, feishu, plugin=NOTHING) as office:
        main = office.main_py()
        main.does(rendered_while_feishu_is_away(main))
        feishu.sheet_title = OTHER_SHEET
        again = office.main_py()
        again.does(again.recovery.publish(), again.recovery.publish())
        task = again.record()
        assert (office.writes(), task.feishu_state.value) == (0, "pending")
        assert "another document" in str(task.outbox.last_error)
        assert "另一个表格" in str(task.outbox.last_error_zh)
        again.db.deliver_here(task.task_id, again.settings.document or "")
        again.until_pushed()
        other = feishu.spreadsheet.by_title(OTHER_SHEET)
        assert other is not None
        assert (office.writes(), len(other.picture_writes)) == (0, 1)
        assert other.row(2)[STATUS] == "已完成"


# ------------------------------------------------------------------ older programs


class OlderPlugin(bridge.ComfyUIClient):
    """Its status and records are those of a version that knows nothing of publishers."""

    async def plugin_status(self) -> Any:
        status = dict(await super().plugin_status() or {})
        del status["table_id"]
        status["feishu"] = {name: value for name, value in status["feishu"].items() if name != "document"}
        return status

    async def submit_workflow(self, workflow: Any, *, prompt_id: Any = None, task: Any = None) -> str:
        metadata = {name: value for name, value in task["metadata"].items() if name not in ("publisher", "document")}
        return await super().submit_workflow(workflow, prompt_id=prompt_id, task={**task, "metadata": metadata})


def test_with_an_older_plugin_all_is_as_it_was(feishu: FeishuStandIn, tmp_path: Path) -> None:
    """It delivers what it has a record of, named or not; main.py learns that from its records, and waits for it."""
    with Office(tmp_path, feishu) as office:
        main = office.main_py(comfy=OlderPlugin(office.comfy.url, poll_seconds=0.2))

        async def story() -> None:
            task_id = await main.enters(feishu_leaves=True)
            await main.recovery.finish(task_id)
            await asyncio.to_thread(office.comfy.kill)
            feishu.start()
            await main.time_goes_by(10 * delivering.OUT_OF_REACH_SECONDS)

        main.does(story())
        assert main.record().publisher is None
        assert office.writes() == 0
        office.restart()
        assert office.settled()["metadata"]["feishu"]["state"] == "pushed"
        main.until_pushed()
        office.assert_delivered_once()


# ------------------------------------------------------------------ what is named

MINE, OURS = "mine", "our document"
NEW = {"table_id": "theirs", "feishu": {"configured": True, "document": OURS}}
ELSEWHERE = {"table_id": "theirs", "feishu": {"configured": True, "document": "another"}}
BARE = {"table_id": "theirs", "feishu": {"configured": False, "document": None}}
OLDER = {"table_id": "theirs", "feishu": {"configured": True}}
NAMED: dict[str, tuple[Any, str | None, Naming]] = {
    "set to the same": (NEW, OURS, Naming("theirs", OURS, "theirs")),
    "nothing is set here": (NEW, None, Naming("theirs", OURS, "theirs")),
    "set to another": (ELSEWHERE, OURS, Naming(MINE, OURS, "theirs")),
    "nothing is set there": (BARE, OURS, Naming(MINE, OURS, "theirs")),
    "nothing is set anywhere": (BARE, None, Naming(None, None, "theirs")),
    "one table": ({**NEW, "table_id": MINE}, OURS, Naming(MINE, OURS)),
    "one table, another document": ({**ELSEWHERE, "table_id": MINE}, OURS, Naming(MINE, OURS)),
    "one table, nothing is set there": ({**BARE, "table_id": MINE}, OURS, Naming(MINE, OURS)),
    "an older one": (OLDER, OURS, Naming(None, OURS)),
    "an older one without settings": ({"feishu": {"configured": False}}, OURS, Naming(MINE, OURS)),
    "it has no table yet": ({**NEW, "table_id": None}, OURS, Naming(MINE, OURS)),
    "no plugin": (None, OURS, Naming(MINE, OURS)),
}


@pytest.mark.parametrize(("status", "document", "naming"), NAMED.values(), ids=NAMED.keys())
def test_who_is_named(status: Any, document: str | None, naming: Naming) -> None:
    assert delivering.name(MINE, document, Plugin.of(status or {})) == naming


def test_where_comfyui_does_not_answer_main_py_names_itself() -> None:
    assert delivering.name(MINE, OURS, None) == Naming(MINE, OURS)
    assert delivering.name(MINE, None, None) == Naming()
    assert delivering.name(None, OURS, Plugin.of(NEW)) == Naming(None, OURS)


class Unsure(bridge.ComfyUIClient):
    """Its plugin does not answer what it is asked, as often as that is said."""

    deaf = 0

    async def plugin_status(self) -> Any:
        self.deaf -= 1
        if self.deaf >= 0:
            raise bridge.ComfyUIUnreachableError("no answer")
        return await super().plugin_status()


def test_a_plugin_that_did_not_answer_at_submission_obeys_all_the_same(feishu: FeishuStandIn, tmp_path: Path) -> None:
    with Office(tmp_path, feishu) as office:
        comfy = Unsure(office.comfy.url, poll_seconds=0.2)
        main = office.main_py(comfy=comfy)
        comfy.deaf = 1
        main.does(main.renders())
        main.until_pushed()
        assert main.record().publisher == main.db.table.table_id
        assert office.settled()["metadata"]["feishu"]["state"] == "off"
        office.comfy.crash()
        agree(main, office)
        office.assert_delivered_once()


@pytest.mark.parametrize("known", [True, False], ids=["asked before", "asked after"])
def test_a_click_there_is_heard_of_also_where_nobody_was_told_of_the_plugin(
    feishu: FeishuStandIn, tmp_path: Path, known: bool
) -> None:
    """It did not answer when main.py submitted. Where main.py has asked since, it need not answer again."""
    with Office(tmp_path, feishu) as office:
        comfy = Unsure(office.comfy.url, poll_seconds=0.2)
        main = office.main_py(comfy=comfy)

        async def story() -> None:
            comfy.deaf = 1
            task_id = await main.enters(feishu_leaves=True)
            comfy.deaf = 0 if known else 1000
            await main.recovery.finish(task_id)
            feishu.start()

        main.does(story())
        assert main.record().twin == (office.comfy.status()["table_id"] if known else None)
        assert office.comfy.act(office.theirs()["task_id"], "push").status_code == 202
        assert office.settled()["metadata"]["feishu"]["state"] == "pushed"
        comfy.deaf = 0
        if known:
            office.comfy.kill()
        office.main_py(comfy=comfy).until_pushed()
        office.assert_delivered_once()


class Hung(bridge.ComfyUIClient):
    async def plugin_status(self) -> Any:
        await asyncio.sleep(3600)


def test_a_plugin_that_takes_questions_and_answers_none_is_out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_use, "ASK_SECONDS", 0.05)
    assert asyncio.run(plugin.plugin_of(EngineInUse(Hung("http://127.0.0.1:9")).plugin_status)) is None


# ------------------------------------------------------------------ the plugin has lost its record


def test_a_plugin_that_has_no_record_of_it_is_out_of_reach_for_it(feishu: FeishuStandIn, tmp_path: Path) -> None:
    """Somebody has emptied its folder. As long as it says that changes are not on disk yet, it is waited for."""
    with Office(tmp_path, feishu) as office:
        comfy = Behind(office.comfy.url, poll_seconds=0.2)
        main = office.main_py(comfy=comfy)

        async def story() -> None:
            task_id = await main.enters(feishu_leaves=True)
            await main.recovery.finish(task_id)
            await asyncio.to_thread(until, lambda: office.theirs()["status"] == "已完成")  # else it makes it anew
            for path in office.comfy.table.glob("active/*.json"):
                path.unlink()
            feishu.start()

        main.does(story())
        comfy.changes = 1
        main.does(main.time_goes_by(2 * delivering.OUT_OF_REACH_SECONDS))
        assert main.record().publisher != main.db.table.table_id
        comfy.changes = 0
        main.does(main.time_goes_by(delivering.OUT_OF_REACH_SECONDS - 1))
        assert main.record().publisher != main.db.table.table_id
        office.clock.now += 1
        main.does(main.recovery.publish())
        assert main.record().publisher == main.db.table.table_id
        main.until_pushed()
        office.assert_delivered_once()


class Behind(bridge.ComfyUIClient):
    """Its plugin tells of changes that are still to be written."""

    changes = 0

    async def plugin_status(self) -> Any:
        return {**(await super().plugin_status() or {}), "unwritten": {"changes": self.changes}}


# ------------------------------------------------------------------ main.py is killed while it delivers

#: Takes over at once what its ComfyUI does not answer for, and is killed as soon as the picture is written.
TAKES_OVER = """
import asyncio, os, signal, sys
from wfrecovery import bridge
from wfrecovery.bridge.engines import in_use
from wfrecovery.bridge.engines.in_use import EngineInUse
from wfrecovery.bridge.recovery import delivering, plugin
from wfrecovery.bridge.recovery.plugin import Plugin
from wfrecovery.bridge.table.publishers import Naming

delivering.OUT_OF_REACH_SECONDS = 0.0
db, comfy = bridge.DatabaseManager(sys.argv[2]), bridge.ComfyUIClient(sys.argv[1])
feishu = bridge.FeishuClient(bridge.load_settings())
write = feishu.write_picture

def written(*given):
    write(*given)
    os.kill(os.getpid(), signal.SIGKILL)

feishu.write_picture = written
asyncio.run(bridge.TaskRecoveryManager(db, comfy, feishu).publish())
"""


@pytest.mark.parametrize("first", ["plugin", "main.py"])
def test_main_py_is_killed_as_soon_as_it_has_written_the_picture_in_the_plugin_s_place(
    feishu: FeishuStandIn, tmp_path: Path, first: str
) -> None:
    with Office(tmp_path, feishu) as office:
        main = office.main_py(comfy=DyingClient(office, before=False))
        main.does(left_behind(main, office))
        command = [sys.executable, "-c", TAKES_OVER, office.comfy.url, str(office.folder)]
        killed = preloaded.run(command, env={**os.environ, **feishu.environment()})
        assert killed.returncode == -signal.SIGKILL
        assert (office.writes(), feishu.sheet.row(2)[STATUS]) == (1, "否")
        again = office.main_py()
        if first == "main.py":
            again.until_pushed()
        office.restart()
        office.settled()
        again.until_pushed()
        agree(again, office)
        office.assert_delivered_once()
