"""One message to the group when a batch or recovery is over: no more, no less, whatever order the news comes in."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from plugin_support import until
from publishing_support import MP4

from wfrecovery.bridge.engines.comfyui import ComfyUIClient
from wfrecovery.bridge.engines.engine import Engine
from wfrecovery.bridge.engines.history import UNKNOWN, Sighting
from wfrecovery.bridge.feishu.client import FeishuClient
from wfrecovery.bridge.feishu.group_summary import (
    QUIET,
    BatchWatch,
    Summary,
    Trouble,
    send_summary,
    summary_text,
    tell_group,
)
from wfrecovery.bridge.recovery.manager import TaskRecoveryManager
from wfrecovery.bridge.settings import Settings, load_settings
from wfrecovery.bridge.table.manager import DatabaseManager
from wfrecovery.bridge.table.records import Stage, TaskRecord, WorkflowType
from wfrecovery.bridge.table.rows import RowData
from wfrecovery.bridge.table.values import FeishuState, Outbox, QueuePlace
from wfrecovery.bridge.wording import Wording
from wfrecovery.demo.feishu_host.stand_in import Fault, FeishuStandIn
from wfrecovery.server_routes.publishing.group import GroupReporter


class Clock:
    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


# When a batch is over


class Batch:
    """Tasks in a real table, and a watch that hears of each change."""

    def __init__(self, output_dir: Path, publishing: bool = True) -> None:
        self.clock = Clock()
        self.db = DatabaseManager(output_dir)
        self.watch = BatchWatch(self.clock, publishing=publishing)

    def add(self, row: int, kind: WorkflowType = WorkflowType.IMAGE_COMPOSITION) -> str:
        task_id = self.db.add_workflow_task(RowData(row, product_name="杯子", model_name=f"模特{row}"), kind)
        self.hear(task_id)
        return task_id

    def hear(self, task_id: str) -> TaskRecord:
        task = self.db.table.get(task_id)
        self.watch.saw(task)
        return task

    def change(self, task_id: str, change: Callable[[TaskRecord], TaskRecord]) -> None:
        self.db.table.update(task_id, change)
        self.hear(task_id)

    def enter(self, task_id: str, *stages: Stage, **fields: Any) -> None:
        for stage in stages:
            self.change(task_id, lambda task, stage=stage: task.entering(stage, **fields))

    def finish(self, task_id: str) -> None:
        self.db.complete_task(task_id, ["a.png"])
        self.hear(task_id)

    def outbox(self, task_id: str, state: FeishuState, reason: str | None = None) -> None:
        self.change(task_id, lambda task: task.with_outbox(state=state, last_error=reason, last_error_zh=reason))

    def done(self, task_id: str) -> None:
        self.finish(task_id)
        self.outbox(task_id, FeishuState.PUSHED)

    def over(self) -> Summary | None:
        """After the quiet time."""
        self.clock.now += QUIET
        return self.watch.over()


@pytest.fixture
def batch(tmp_path: Path) -> Batch:
    return Batch(tmp_path)


def test_a_batch_is_over_when_everything_is_in_the_sheet(batch: Batch) -> None:
    first, second = batch.add(1), batch.add(2)
    assert batch.over() is None, "both render"
    batch.done(first)
    assert batch.over() is None
    batch.finish(second)
    assert batch.over() is None, "it can still be pushed"
    batch.outbox(second, FeishuState.PUSHED)
    summary = batch.over()
    assert summary is not None
    assert (summary.finished, summary.recovered, summary.failed, summary.blocked) == (2, 0, (), ())
    assert summary.seconds == 3 * QUIET
    assert batch.over() is None, "once"


def test_rows_that_follow_soon_belong_to_the_same_batch(batch: Batch) -> None:
    """main.py may send the next row only when the last one is done: no message for each."""
    for row in (1, 2, 3):
        batch.done(batch.add(row))
        batch.clock.now += QUIET - 1
        assert batch.watch.over() is None
        assert batch.watch.seconds_left() == 1
    batch.clock.now += 1
    summary = batch.watch.over()
    assert summary is not None
    assert summary.finished == 3
    assert batch.watch.seconds_left() is None


def test_main_py_need_not_wait_for_the_quiet(batch: Batch) -> None:
    task = batch.add(1)
    assert batch.watch.over(at_once=True) is None
    batch.done(task)
    summary = batch.watch.over(at_once=True)
    assert summary == Summary(finished=1)


def test_what_failed_and_what_is_blocked_comes_with_its_reason(batch: Batch) -> None:
    failed, blocked = batch.add(7), batch.add(5, WorkflowType.IMAGE_TO_VIDEO)
    batch.db.mark_task_failed(failed, "KSampler (node 5): out of memory")
    batch.hear(failed)
    assert batch.over() is None, "失败 has to be written into the sheet"
    batch.outbox(failed, FeishuState.PUSHED)
    batch.finish(blocked)
    batch.outbox(blocked, FeishuState.BLOCKED, "no row has 杯子 · 模特5")
    assert batch.over() == Summary(
        failed=(Trouble(7, "杯子 · 模特7", "图片合成", Wording(*["KSampler (node 5): out of memory"] * 2)),),
        blocked=(Trouble(5, "杯子 · 模特5", "图生视频", Wording(*["no row has 杯子 · 模特5"] * 2)),),
        seconds=QUIET,
    )


def test_what_came_through_a_crash_counts_as_recovered(batch: Batch) -> None:
    lost, found, untouched, retried = (batch.add(row) for row in (1, 2, 3, 4))
    batch.enter(lost, Stage.QUEUED, Stage.RUNNING)
    batch.enter(lost, Stage.QUEUED, queue=QueuePlace("another"))
    batch.enter(found, Stage.QUEUED)
    batch.change(found, lambda task: replace(task, adopted=True))
    batch.enter(retried, Stage.QUEUED, Stage.ASKING, Stage.QUEUED)
    for task in (lost, found, untouched, retried):
        batch.done(task)
    summary = batch.over()
    assert summary is not None
    assert (summary.finished, summary.recovered) == (4, 2)


def test_what_asks_a_person_holds_nothing_up(batch: Batch) -> None:
    asking = batch.add(1)
    batch.done(batch.add(2))
    batch.enter(asking, Stage.QUEUED, Stage.ASKING)
    assert batch.over() == Summary(finished=1)
    batch.enter(asking, Stage.QUEUED)
    assert batch.over() is None, "it was queued: a batch of its own"
    batch.done(asking)
    summary = batch.over()
    assert summary is not None
    assert summary.finished == 1


def test_what_another_process_settled_is_found_by_looking_again(batch: Batch) -> None:
    task = batch.add(1)
    batch.db.complete_task(task, ["a.png"])
    batch.db.table.update(task, lambda record: record.with_outbox(state=FeishuState.PUSHED))
    assert batch.over() is None
    batch.watch.look_at(batch.db.table)
    assert batch.watch.open_tasks() == frozenset()
    assert batch.over() == Summary(finished=1, seconds=QUIET)


def test_a_task_whose_record_is_gone_holds_nothing_up(batch: Batch) -> None:
    done, gone = batch.add(1), batch.add(2)
    batch.done(done)
    (batch.db.table.active_folder / f"{gone}.json").unlink()
    assert batch.over() is None, "nobody has looked yet"
    batch.watch.look_at(batch.db.table)
    summary = batch.over()
    assert summary is not None
    assert (summary.finished, summary.failed) == (1, ())


def test_a_record_that_was_rebuilt_counts_from_one_again_and_is_heard(batch: Batch) -> None:
    task_id = batch.add(1)
    for attempt in range(1, 6):
        batch.enter(task_id, Stage.RUNNING, attempts=attempt)
    (batch.db.table.active_folder / f"{task_id}.json").unlink()
    rebuilt = batch.db.table.create(
        TaskRecord(
            task_id,
            row_number=1,
            workflow_type="图片合成",
            stage=Stage.QUEUED,
            rebuilt_at="2026-11-23T10:00:00+08:00",
            outbox=Outbox(FeishuState.PENDING),
        )
    )
    batch.watch.saw(rebuilt)
    batch.done(task_id)
    summary = batch.over()
    assert summary is not None
    assert summary.finished == 1


def test_nothing_to_tell(batch: Batch) -> None:
    cancelled = batch.add(1)
    batch.db.cancel_task(cancelled, "interrupted")
    batch.hear(cancelled)
    assert batch.over() is None
    assert batch.watch.over() is None


def test_prompts_without_a_row_are_not_the_groups_business(batch: Batch) -> None:
    task = TaskRecord("job_20261123_001", 1).entering(Stage.QUEUED)
    batch.watch.saw(task)
    batch.watch.saw(replace(task, revision=2).entering(Stage.FINISHED))
    assert batch.over() is None


def test_results_that_stay_blocked_at_each_start_are_no_news(batch: Batch) -> None:
    task = batch.add(1)
    batch.finish(task)
    batch.outbox(task, FeishuState.BLOCKED, "no such row")
    assert batch.over() is not None
    restarted = BatchWatch(batch.clock)
    for watch in (batch.watch, restarted):
        batch.watch = watch
        batch.outbox(task, FeishuState.PENDING)
        batch.outbox(task, FeishuState.BLOCKED, "no such row")
        assert batch.over() is None
    batch.outbox(task, FeishuState.PENDING)
    batch.outbox(task, FeishuState.PUSHED)
    assert batch.over() == Summary(finished=1), "mended: that is news"


def test_a_recovery_may_hear_only_of_the_end(batch: Batch) -> None:
    task = batch.add(1)
    batch.watch = BatchWatch(batch.clock)
    batch.db.mark_task_failed(task, "lost before it was submitted")
    batch.db.table.update(task, lambda record: record.with_outbox(state=FeishuState.OFF))
    batch.hear(task)
    summary = batch.over()
    assert summary is not None
    assert [trouble.reason.en for trouble in summary.failed] == ["lost before it was submitted"]


def test_without_a_publisher_a_task_is_over_when_it_is_rendered(tmp_path: Path) -> None:
    batch = Batch(tmp_path, publishing=False)
    batch.finish(batch.add(1))
    assert batch.over() == Summary(finished=1)


@pytest.mark.parametrize("seed", range(20))
def test_hearing_twice_late_or_after_the_summary_changes_nothing(tmp_path: Path, seed: int) -> None:
    """All news of a batch, some of it twice, and older news after newer: one summary, the same one."""
    batch, dice, news = Batch(tmp_path), random.Random(seed), []
    heard = batch.watch.saw
    batch.watch.saw = lambda task: (news.append(task), heard(task))[1]  # type: ignore[method-assign]
    ids = [batch.add(row) for row in range(1, 6)]
    for task in ids[:3]:
        batch.enter(task, Stage.QUEUED, Stage.RUNNING)
        batch.done(task)
    batch.db.mark_task_failed(ids[3], "x")
    batch.hear(ids[3])
    batch.outbox(ids[3], FeishuState.PUSHED)
    batch.finish(ids[4])
    batch.outbox(ids[4], FeishuState.BLOCKED, "y")
    expected = batch.over()
    assert expected is not None
    watch = BatchWatch(batch.clock)
    order = [task for task in news for _ in range(dice.randint(1, 2))]
    for place in range(len(order) - 1):
        if dice.random() < 0.3 and order[place].task_id != order[place + 1].task_id:
            order[place], order[place + 1] = order[place + 1], order[place]
    given = []
    for task in [*order, *dice.sample(news, len(news) // 2)]:
        watch.saw(task)
    batch.clock.now += QUIET
    given.append(watch.over())
    newest = {task.task_id: task for task in news}
    for task in [*newest.values(), *dice.sample(news, len(news) // 2)]:
        watch.saw(task)
    assert watch.open_tasks() == frozenset()
    batch.clock.now += QUIET
    given.append(watch.over())
    assert given == [replace(expected, seconds=0.0), None]


# What it says

TROUBLE = Trouble(67, "杯子 · 小林", "图片合成", Wording("out of\nmemory", "内存不足"))


def test_the_message_in_both_languages() -> None:
    summary = Summary(12, 3, (TROUBLE,), (TROUBLE,), 7500.0, "https://x.feishu.cn/sheets/s")
    assert summary_text(summary, "en") == (
        "wfrecovery: 12 done (3 of them recovered), 1 failed, 1 need you, in 2 h 5 min\n"
        "Failed:\n"
        "• row 67 杯子 · 小林 图片合成: out of memory\n"
        "Rendered, but not in the sheet:\n"
        "• row 67 杯子 · 小林 图片合成: out of memory\n"
        "Sheet: https://x.feishu.cn/sheets/s"
    )
    assert summary_text(summary, "zh") == (
        "wfrecovery：完成 12 个（其中恢复 3 个），失败 1 个，1 个需要处理，用时 2 小时 5 分钟\n"
        "失败：\n"
        "• 第 67 行 杯子 · 小林 图片合成：内存不足\n"
        "已生成，但没有写入表格：\n"
        "• 第 67 行 杯子 · 小林 图片合成：内存不足\n"
        "表格：https://x.feishu.cn/sheets/s"
    )
    assert summary_text(Summary(1), "zh") == "wfrecovery：完成 1 个"


@pytest.fixture
def feishu() -> Iterator[FeishuStandIn]:
    with FeishuStandIn(webhook_secret="demo") as standin:
        yield standin


def settings(feishu: FeishuStandIn, **changes: Any) -> Settings:
    given = Settings(feishu_webhook_url=feishu.webhook_url, feishu_webhook_secret="demo")
    return replace(given, **changes)


def test_it_is_sent_in_the_language_of_the_settings(feishu: FeishuStandIn) -> None:
    assert send_summary(settings(feishu), Summary(3)) is True
    assert send_summary(settings(feishu, language="en"), Summary(3)) is True
    assert [message["content"]["text"] for message in feishu.messages] == [
        "wfrecovery：完成 3 个",
        "wfrecovery: 3 done",
    ]


@pytest.mark.parametrize("letter", ["字", "😀", '"', "\x01", "\\", "<at"])
def test_any_summary_fits_into_a_message(feishu: FeishuStandIn, letter: str) -> None:
    trouble = Trouble(10**9, letter * 500, letter * 20, Wording(*[letter * 5000] * 2))
    troubles = (trouble,) * 5000
    for language in ("zh", "en"):
        sent = Summary(5000, 5000, troubles, troubles, 1e7, "https://x.feishu.cn/sheets/" + "t" * 60)
        assert send_summary(settings(feishu, language=language), sent)
    assert len(feishu.messages) == 2
    assert "4990" in feishu.messages[0]["content"]["text"], "how many are not listed"


# The plugin and main.py tell it


class Group:
    """A team with a sheet and a bot in its group."""

    def __init__(self, feishu: FeishuStandIn, output_dir: Path) -> None:
        settings = replace(load_settings(environ=feishu.environment()), feishu_webhook_url=feishu.webhook_url)
        self.bot, self.feishu, self.db = feishu, FeishuClient(settings), DatabaseManager(output_dir)

    def entered(self, row: int) -> TaskRecord:
        """A row's record."""
        task_id = self.db.add_workflow_task(RowData(row, product_name="杯子"), WorkflowType.IMAGE_COMPOSITION)
        return self.db.table.get(task_id)

    def done(self, row: int) -> TaskRecord:
        """A pushed result; the record."""
        return self.pushed(self.entered(row).task_id)

    def pushed(self, task_id: str) -> TaskRecord:
        """The same of a row that was entered."""
        self.db.complete_task(task_id, ["a.png"])
        return self.db.table.update(task_id, lambda task: task.with_outbox(state=FeishuState.PUSHED))

    def texts(self) -> list[str]:
        return [message["content"]["text"] for message in self.bot.messages]


@pytest.fixture
def group(tmp_path: Path) -> Iterator[Group]:
    with FeishuStandIn([{"产品名": "杯子"}]) as feishu:
        yield Group(feishu, tmp_path)


def test_the_group_is_told_with_the_sheet_s_address(group: Group) -> None:
    assert tell_group(group.feishu, Summary(finished=2)) is None
    (text,) = group.texts()
    assert text.startswith("wfrecovery：完成 2 个")
    assert group.feishu.sheet_url() in text


def test_a_busy_bot_is_asked_again_and_an_unknown_outcome_is_not(group: Group) -> None:
    pauses: list[float] = []
    group.bot.faults.add(Fault.BOT_LIMITED_11232, "bot_hook", times=2)
    assert tell_group(group.feishu, Summary(finished=2), pause=pauses.append) is None
    assert (len(pauses), len(group.texts())) == (2, 1)
    group.bot.faults.add(Fault.RESET_AFTER, "bot_hook")
    error = tell_group(group.feishu, Summary(finished=3), pause=pauses.append)
    assert error is not None
    assert error.outcome_unknown
    assert (len(pauses), len(group.texts())) == (2, 2), "it had arrived, and is not sent twice"


def test_a_bot_that_is_gone_is_said_and_nothing_fails(group: Group, caplog: pytest.LogCaptureFixture) -> None:
    group.feishu.settings = replace(group.feishu.settings, feishu_webhook_url=f"{group.bot.webhook_url}gone")
    assert tell_group(group.feishu, Summary(finished=2)) is not None
    assert "FEISHU_WEBHOOK_URL" in caplog.text
    assert group.bot.webhook_url not in caplog.text


def test_the_plugin_tells_each_batch_once(group: Group) -> None:
    reporter = GroupReporter(group.db, group.feishu, BatchWatch(quiet=0.3))
    reporter.start()
    entered = [group.entered(row) for row in (2, 3, 4)]
    for task in entered:  # before any of them is done: it is one batch, however long each takes
        reporter.changed(task)
    for task in entered:
        reporter.changed(group.pushed(task.task_id))
    until(group.texts, what="the first summary")
    reporter.changed(group.done(5))
    until(lambda: len(group.texts()) > 1, what="the second summary")
    assert [text.splitlines()[0] for text in group.texts()] == ["wfrecovery：完成 3 个", "wfrecovery：完成 1 个"]


class Nowhere(ComfyUIClient):
    """A ComfyUI without the plugin, which has finished nothing."""

    async def plugin_status(self) -> None:
        return None

    async def look_up(self, prompt_id: str) -> Sighting:
        return UNKNOWN


def test_the_last_push_of_a_run_waits_out_a_busy_feishu_and_then_the_group_hears(group: Group) -> None:
    task_id = group.db.add_workflow_task(RowData(2, product_name="杯子"), WorkflowType.IMAGE_TO_VIDEO)
    (group.db.output_dir / "a.mp4").write_bytes(MP4)
    group.db.complete_task(task_id, ["a.mp4"])
    group.bot.faults.add(Fault.RATE_LIMIT_429, "values_batch_update", reset="1")

    async def run() -> None:
        recovery = TaskRecoveryManager(group.db, Nowhere("http://127.0.0.1:9"), group.feishu)
        await recovery.finish(task_id)
        assert group.db.table.get(task_id).feishu_state is FeishuState.PENDING
        await recovery.wait_until_done()

    asyncio.run(run())
    assert group.db.table.get(task_id).feishu_state is FeishuState.PUSHED
    assert [text.startswith("wfrecovery：完成 1 个") for text in group.texts()] == [True]


def test_main_py_tells_the_whole_run_once_and_what_waits_another_time(group: Group) -> None:
    async def run() -> None:
        recovery = TaskRecoveryManager(group.db, Nowhere("http://127.0.0.1:9"), group.feishu)
        await recovery.check_and_recover_tasks()
        for row in (3, 4):
            await recovery.finish(group.done(row).task_id)
        await recovery.wait_until_done()
        await recovery.wait_until_done()

    row = RowData(2, product_name="还在等")
    group.db.add_workflow_task(row, WorkflowType.IMAGE_COMPOSITION, "0a4e6c3e-5a0b-4d4c-9a60-000000000001")
    asyncio.run(run())
    (text,) = group.texts()
    assert text.splitlines()[0].startswith("wfrecovery：完成 2 个")


class LosesAnswers(Engine):
    """A cloud that takes everything, and of whose answers none arrives."""

    engine = "cloud"

    def submit(self, workflow: Any, task: Any) -> Any:
        raise ConnectionResetError("reset")

    def look_up(self, job_id: str) -> Sighting:
        return UNKNOWN


def test_what_a_cloud_has_not_answered_is_told_once(group: Group) -> None:
    async def run(*rows: RowData) -> None:
        recovery = TaskRecoveryManager(group.db, LosesAnswers(), group.feishu)
        await recovery.check_and_recover_tasks()
        for row in rows:
            task_id = group.db.add_workflow_task(row, WorkflowType.IMAGE_COMPOSITION)
            await recovery.submit(task_id, {"workflowId": "1"})
            await recovery.finish(task_id)
        await recovery.wait_until_done()

    asyncio.run(run(RowData(2, product_name="杯子", model_name="小林"), RowData(3, product_name="帽子")))
    asyncio.run(run())
    (text,) = group.texts()
    assert text.splitlines()[0].startswith("wfrecovery：完成 0 个，2 个需要处理")
    assert "等待你的决定：\n• 第 2 行 杯子 · 小林 图片合成：已发送但没有收到应答" in text
    assert "wfrecovery decide" in text
