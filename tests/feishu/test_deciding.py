"""A result that cannot be delivered by itself: nothing is stuck for good, and nothing is paid for twice unasked."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from publishing_support import MP4, PICTURE, STATUS, Image, Team

from wfrecovery import bridge
from wfrecovery.bridge.feishu.deciding import choices, give_file, leave, write_anyway
from wfrecovery.bridge.results.by_hand import candidates
from wfrecovery.bridge.table.records import TaskError, TaskRecord
from wfrecovery.bridge.table.values import FeishuState, Sent
from wfrecovery.demo.feishu_host.stand_in import Picture

IMAGE = bridge.WorkflowType.IMAGE_COMPOSITION
PROMPT = "提示词"


def changed(team: Team, row: int, **cells: str) -> str:
    """A result whose row a person has changed meanwhile; it is blocked."""
    task_id = team.finished(row)
    for title, text in cells.items():
        team.feishu.sheet.set(f"{team.feishu.sheet.find(title)}{row}", text)
    assert task_id in team.publisher.flush().blocked
    return task_id


def to_do(team: Team) -> list[int]:
    rows = bridge.FeishuClient(team.settings).read_rows()
    recovery = bridge.TaskRecoveryManager(team.db, bridge.ComfyUIClient("http://127.0.0.1:9"), settings=team.settings)
    return [row.row_number for row in recovery.rows_to_do([row for row in rows if row.status == "否"], IMAGE)]


@pytest.mark.parametrize("cells", [{PROMPT: "新的提示词"}, {"产品名": "改正的名字"}, {"模特名": "改正的名字"}])
def test_a_row_that_was_changed_waits_and_is_not_rendered_again_by_itself(team: Team, cells: dict[str, str]) -> None:
    task_id = changed(team, 3, **cells)
    assert 3 not in to_do(team)
    assert team.db.add_workflow_task(team.row_data(3), IMAGE) == task_id
    assert not team.feishu.sheet.picture_writes


def test_it_is_written_there_all_the_same(team: Team) -> None:
    task_id = changed(team, 3, **{PROMPT: "新的提示词"})
    write_anyway(team.db, team.publisher._feishu, task_id)
    assert team.publisher.flush().pushed == [task_id]
    team.assert_delivered(task_id)
    assert 3 not in to_do(team)


def test_after_it_is_left_the_next_batch_renders_what_the_row_says_now(team: Team) -> None:
    task_id = changed(team, 3, **{PROMPT: "新的提示词"})
    leave(team.db, task_id)
    assert team.publisher.flush().pushed == []
    assert 3 in to_do(team)
    assert team.db.add_workflow_task(team.row_data(3), IMAGE) != task_id
    assert team.feishu.sheet.row(3)[PICTURE] is None
    with pytest.raises(TaskError, match="no result that waits"):
        leave(team.db, task_id)


def test_of_several_rows_a_person_names_one(team: Team) -> None:
    """Three rows that their prompt alone tells apart; the task came without it."""
    for row in (3, 4, 5):
        team.feishu.sheet.set(f"B{row}", "裙子")
        team.feishu.sheet.set(f"D{row}", "模特A")
    data = {"row_number": 4, "product_name": "裙子", "model_name": "模特A"}
    task_id = team.db.add_workflow_task(data, IMAGE)
    Image.new("RGB", (4, 4), (4, 5, 6)).save(team.folder / "made.png")
    assert team.db.complete_task(task_id, ["made.png"])
    assert "several rows (3, 4, 5)" in team.publisher.flush().blocked[task_id]
    feishu = team.publisher._feishu
    with pytest.raises(TaskError, match="say which row: 3, 4, 5"):
        write_anyway(team.db, feishu, task_id)
    with pytest.raises(TaskError, match="no row 99"):
        write_anyway(team.db, feishu, task_id, 99)
    write_anyway(team.db, feishu, task_id, 5)
    assert team.publisher.flush().pushed == [task_id]
    pictures = {row: team.feishu.sheet.row(row)[PICTURE] for row in (3, 4, 5)}
    assert isinstance(pictures[5], Picture)
    assert pictures[3] is pictures[4] is None
    assert team.feishu.sheet.row_texts(5)[STATUS] == "已完成"


def test_without_a_row_s_number_nothing_is_written_over_the_row_below_a_deleted_one(team: Team) -> None:
    """One model and one 提示词 for all products: that row has the number, and most of what the task's row said."""
    sheet, feishu = team.feishu.sheet, team.publisher._feishu
    for number in range(2, sheet.last_row + 1):
        sheet.set(f"{sheet.find('模特名')[0]}{number}", "小林")
        sheet.set(f"{sheet.find(PROMPT)[0]}{number}", "棚拍")
    task_id = team.finished(3)
    sheet.delete_row(3)
    assert "row 3 now has '产品3' · '小林'" in team.publisher.flush().blocked[task_id]
    with pytest.raises(TaskError, match=r"say which row: 3 .'产品3' · '小林'"):
        write_anyway(team.db, feishu, task_id)
    assert not team.publisher.flush().pushed
    write_anyway(team.db, feishu, task_id, 3)
    assert team.publisher.flush().pushed == [task_id]
    assert [number for number in range(2, sheet.last_row + 1) if sheet.row(number)[PICTURE] is not None] == [3]


def test_what_was_never_blocked_can_be_moved_as_well_but_not_without_a_result(team: Team) -> None:
    task_id = team.db.add_workflow_task(team.row_data(2), IMAGE)
    with pytest.raises(TaskError, match="no result to push"):
        write_anyway(team.db, team.publisher._feishu, task_id, 2)
    assert team.record(task_id).feishu_state is FeishuState.PENDING


@pytest.mark.parametrize("number", [3, 5])
def test_a_failure_is_not_written_over_what_is_done_and_that_is_said(team: Team, number: int) -> None:
    """Its own row, which a person has done by hand, or another's."""
    task_id, sheet = team.failed(3), team.feishu.sheet
    team.publisher.flush()
    sheet.set(f"{sheet.find(STATUS)[0]}{number}", "已完成")
    with pytest.raises(TaskError, match=f"row {number} says 已完成: 失败 is not written over that"):
        write_anyway(team.db, team.publisher._feishu, task_id, number)
    assert team.record(task_id).row_number == 3
    assert not team.publisher.flush().pushed
    assert sheet.row_texts(number)[STATUS] == "已完成"
    write_anyway(team.db, team.publisher._feishu, task_id, 4)
    team.publisher.flush()
    assert sheet.row_texts(4)[STATUS] == "失败"


# ------------------------------------------------------------------ the row is named before it is decided


def test_the_rows_are_shown_that_a_result_may_be_meant_for(team: Team) -> None:
    feishu = team.publisher._feishu
    task_id = changed(team, 3, **{PROMPT: "新的提示词"})
    (row,) = choices(team.db, feishu, task_id)
    assert (row.row_number, row.product_name, row.model_name, row.prompt) == (3, "产品2", "模特2", "新的提示词")
    (other,) = choices(team.db, feishu, task_id, 5)
    assert (other.row_number, other.product_name) == (5, "产品4")
    with pytest.raises(TaskError, match="no row 99"):
        choices(team.db, feishu, task_id, 99)
    team.feishu.sheet.delete_row(3)
    assert choices(team.db, feishu, task_id) == []


def test_it_goes_into_the_row_that_was_shown_or_nowhere(team: Team) -> None:
    """Between the look and the click a colleague inserts a row above."""
    task_id = changed(team, 3, **{PROMPT: "新的提示词"})
    feishu = team.publisher._feishu
    (row,) = choices(team.db, feishu, task_id)
    team.feishu.sheet.insert_row(2, {"产品名": "新品", "模特名": "新人", STATUS: "否"})
    with pytest.raises(TaskError, match="look again"):
        write_anyway(team.db, feishu, task_id, row.row_number, row.seen)
    assert not team.publisher.flush().pushed
    (row,) = choices(team.db, feishu, task_id)
    assert row.row_number == 4
    write_anyway(team.db, feishu, task_id, row.row_number, row.seen)
    assert team.publisher.flush().pushed == [task_id]
    team.assert_delivered(task_id)


def test_a_sheet_without_our_columns_is_said_so(team: Team) -> None:
    task_id = changed(team, 3, **{PROMPT: "新的提示词"})
    for column in "ABCDEFGHIJ":
        team.feishu.sheet.set(f"{column}1", "?")
    for ask in (choices, write_anyway):
        with pytest.raises(TaskError, match="titles"):
            ask(team.db, team.publisher._feishu, task_id)


# ------------------------------------------------------------------ what another table was to deliver


def left_to_another(team: Team, task_id: str, **shown: str | None) -> None:
    """Another table was to deliver it, and is gone for good. `shown`: by its row when it was entered."""
    before: dict[str, str | None] = {"composite_image": None, "status": "否", **shown}

    def change(task: TaskRecord) -> TaskRecord:
        data = {**task.row_data, **before}
        return replace(task, publisher="theirs", twin="theirs", document=team.settings.document, row_data=data)

    team.db.table.update(task_id, change)


@pytest.mark.parametrize("row", [None, 2, 3], ids=["its row", "its row by number", "another row"])
@pytest.mark.parametrize("put", [(200, 1, 1), None], ids=["a draft", "nothing"])
def test_what_a_person_has_decided_is_written_whoever_was_to_deliver_it(
    team: Team, row: int | None, put: tuple[int, int, int] | None
) -> None:
    for number in (2, 3):
        if put is not None:
            saved(team.folder / "draft.png", put)
            team.feishu.sheet.set(f"G{number}", (team.folder / "draft.png").read_bytes())
    task_id = team.finished(2)
    left_to_another(team, task_id)
    write_anyway(team.db, team.publisher._feishu, task_id, row)
    team.db.deliver_here(task_id, str(team.settings.document))
    assert team.publisher.flush().pushed == [task_id]
    made = hashlib.sha256((team.folder / team.record(task_id).output_files[0]).read_bytes()).hexdigest()
    assert in_row(team, row or 2) == made
    assert team.feishu.sheet.row(row or 2)[STATUS] == "已完成"
    assert len(team.feishu.sheet.picture_writes) == 1


@pytest.mark.parametrize("put", [(200, 1, 1), None], ids=["a draft", "nothing"])
def test_a_file_that_a_person_names_is_written_whoever_was_to_deliver_it(
    team: Team, put: tuple[int, int, int] | None
) -> None:
    task_id = team.failed(2)
    left_to_another(team, task_id)
    if put is not None:
        saved(team.folder / "draft.png", put)
        team.feishu.sheet.set("G2", (team.folder / "draft.png").read_bytes())
    mark = saved(team.folder / "good.png", (9, 99, 199))
    give_file(team.db, task_id, "good.png", team.settings.document)
    assert team.publisher.flush().pushed == [task_id]
    assert (in_row(team, 2), team.feishu.sheet.row(2)[STATUS]) == (mark, "已完成")


def test_what_is_pushed_by_its_name_is_looked_for_first_and_written_when_it_is_pushed_again(team: Team) -> None:
    task_id = team.finished(2)
    left_to_another(team, task_id)
    mark = saved(team.folder / "draft.png", (200, 1, 1))
    team.feishu.sheet.set("G2", (team.folder / "draft.png").read_bytes())
    for state, times in ((FeishuState.BLOCKED, 0), (FeishuState.PUSHED, 1)):
        team.db.deliver_here(task_id, str(team.settings.document))
        team.publisher.flush()
        assert (team.state(task_id), len(team.feishu.sheet.picture_writes)) == (state, times)
    assert in_row(team, 2) != mark


def test_what_a_row_shows_when_it_is_decided_is_what_it_showed_before(team: Team) -> None:
    """Another row's former picture is replaced; what somebody puts there after it was delivered is theirs."""
    saved(team.folder / "former.png", (200, 1, 1))
    team.feishu.sheet.set("G3", (team.folder / "former.png").read_bytes())
    task_id = team.finished(2)
    left_to_another(team, task_id)
    write_anyway(team.db, team.publisher._feishu, task_id, 3)
    team.db.deliver_here(task_id, str(team.settings.document))
    assert team.publisher.flush().pushed == [task_id]
    mark = saved(team.folder / "theirs.png", (1, 200, 1))
    team.feishu.sheet.set("G3", (team.folder / "theirs.png").read_bytes())
    assert team.db.try_again(task_id)
    team.publisher.flush()
    assert (team.state(task_id), in_row(team, 3)) == (FeishuState.BLOCKED, mark)


def _by_name(team: Team, task_id: str) -> None:
    team.db.deliver_here(task_id, str(team.settings.document))


def _put_back(team: Team, task_id: str) -> None:
    team.db.put_back(task_id)


def _written_anyway(team: Team, task_id: str) -> None:
    write_anyway(team.db, team.publisher._feishu, task_id, 2)


@pytest.mark.parametrize("wish", [_by_name, _put_back, _written_anyway])
@pytest.mark.parametrize("refused", [1, 3])
def test_what_a_person_put_there_after_his_wish_was_refused_is_theirs(
    team: Team, wish: Callable[[Team, str], None], refused: int
) -> None:
    """He waits no longer, puts a picture of his own there, and the cell is opened afterwards."""
    sheet = team.feishu.sheet
    sheet.protect("G2:G2")
    task_id = team.db.add_workflow_task(team.publisher._feishu.read_rows()[0], IMAGE)
    saved(team.folder / "made.png", (7, 7, 7))
    assert team.db.complete_task(task_id, ["made.png"])
    team.publisher.flush()
    for _ in range(refused):
        wish(team, task_id)
        assert task_id in team.publisher.flush().blocked
    sheet.unprotect()
    mark = saved(team.folder / "theirs.png", (1, 200, 1))
    sheet.set("G2", (team.folder / "theirs.png").read_bytes())
    sheet.set(f"{sheet.find(STATUS)}2", "已完成")
    for _ in range(2):
        team.publisher = team.new_publisher()
        team.publisher.unblock()
        team.publisher.flush()
        assert (team.state(task_id), in_row(team, 2)) == (FeishuState.BLOCKED, mark)
    wish(team, task_id)
    assert team.publisher.flush().pushed == [task_id], "he has looked, and wants it all the same"
    assert in_row(team, 2) != mark


# ------------------------------------------------------------------ this file belongs to this row


def saved(path: Path, colour: tuple[int, int, int]) -> str:
    """A picture that somebody has made; the digest of its bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (6, 5), colour).save(path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def in_row(team: Team, row: int) -> str | None:
    """The digest of the picture that a row shows."""
    cell = team.feishu.sheet.row(row)[PICTURE]
    return cell.sha256 if isinstance(cell, Picture) else None


@pytest.mark.parametrize("became", ["missing", "replaced", "failed", "told", "no picture"])
def test_a_file_that_a_person_names_goes_into_the_tasks_row(team: Team, became: str) -> None:
    if became in ("failed", "told"):
        task_id = team.failed(3)
        if became == "told":
            assert team.publisher.flush().pushed == [task_id]
            assert team.feishu.sheet.row(3)[STATUS] == "失败"
    elif became == "no picture":
        task_id = team.entered(3)
        (team.folder / "notes.txt").write_text("no picture")
        assert team.db.complete_task(task_id, ["notes.txt"])
        assert task_id in team.publisher.flush().blocked
    else:
        task_id = team.finished(3)
        file = team.folder / team.record(task_id).output_files[0]
        file.unlink() if became == "missing" else saved(file, (200, 1, 1))
        assert task_id in team.publisher.flush().blocked
    mark = saved(team.folder / "by hand" / "裙子.png", (9, 99, 199))
    give_file(team.db, task_id, "by hand/裙子.png", team.settings.document)
    assert team.publisher.flush().pushed == [task_id]
    assert in_row(team, 3) == mark
    team.assert_delivered(task_id)
    record = team.record(task_id)
    assert record.output_files == ("by hand/裙子.png",)
    assert (record.stage.value, record.error_message) == ("finished", None)
    (told,) = [line for line in record.story if line.what == "given"]
    assert told.text == "by hand/裙子.png"
    assert 3 not in to_do(team)


def test_an_absolute_path_means_the_same_and_the_file_is_known_by_its_content(team: Team) -> None:
    task_id = team.failed(3)
    file = team.folder / "made.png"
    saved(file, (9, 99, 199))
    give_file(team.db, task_id, str(file), team.settings.document)
    kept = team.db.table.files.kept_path(task_id)
    assert kept.read_bytes() == file.read_bytes(), "a copy is kept while it waits"
    kept.unlink()
    saved(file, (1, 1, 1))
    assert "replaced by another file" in team.publisher.flush().blocked[task_id]
    assert in_row(team, 3) is None


def test_the_file_takes_the_place_of_a_picture_that_was_sent_before(team: Team) -> None:
    """Its first picture stands in the row, and nobody knows it, for no answer came; then its file is gone, and a person
    names another one."""
    task_id = team.finished(3)
    assert team.publisher.flush().pushed == [task_id]
    (name,) = team.record(task_id).output_files
    sent = Sent(team.feishu.sheet.picture_writes[-1].cell, None, str(in_row(team, 3)))
    team.db.table.update(task_id, lambda record: record.with_outbox(file=name, writing=sent))
    (team.folder / name).unlink()
    mark = saved(team.folder / "better.png", (9, 99, 199))
    give_file(team.db, task_id, "better.png", team.settings.document)
    assert team.publisher.flush().pushed == [task_id]
    assert in_row(team, 3) == mark


def test_what_is_no_result_is_refused_in_words_and_nothing_changes(
    team: Team, tmp_path_factory: pytest.TempPathFactory
) -> None:
    task_id = team.failed(3)
    outside = tmp_path_factory.mktemp("outside") / "a.png"
    saved(outside, (1, 2, 3))
    (team.folder / "link.png").symlink_to(outside)
    saved(team.folder / "cut.png", (1, 2, 3))
    whole = (team.folder / "cut.png").read_bytes()
    (team.folder / "cut.png").write_bytes(whole[:-8])
    (team.folder / "film.mp4").write_bytes(MP4)
    saved(team.db.table.files.folder / "kept" / "a.png", (1, 2, 3))
    (team.folder / "into").symlink_to(team.db.table.files.folder, target_is_directory=True)
    (team.folder / "deeper").symlink_to(team.db.table.files.folder / "kept", target_is_directory=True)
    (team.folder / "folder.png").mkdir()
    before = team.record(task_id)
    for name, words in (
        (str(outside), "does not lie inside the output folder"),
        (os.path.relpath(outside, team.folder), "does not lie inside the output folder"),
        ("link.png", "does not lie inside the output folder"),
        ("", "does not lie inside the output folder"),
        (".", "does not lie inside the output folder"),
        ("wfrecovery/kept/a.png", "a file of the task table"),
        ("into/kept/a.png", "a file of the task table"),
        ("deeper/a.png", "a file of the task table"),
        ("gone.png", "there is no file gone.png"),
        ("folder.png", "there is no file folder.png"),
        ("cut.png", "cut.png is not whole"),
        ("film.mp4", "film.mp4 is no picture"),
    ):
        with pytest.raises(TaskError, match=words) as refused:
            give_file(team.db, task_id, name, team.settings.document)
        assert refused.value.wording.zh != refused.value.wording.en, name
        assert team.record(task_id) == before, name


def test_only_what_has_no_result_gets_a_file(team: Team) -> None:
    saved(team.folder / "made.png", (9, 99, 199))

    def refused(task_id: str, words: str) -> None:
        before = team.record(task_id)
        with pytest.raises(TaskError, match=words):
            give_file(team.db, task_id, "made.png", team.settings.document)
        assert team.record(task_id) == before
        assert not team.db.table.files.kept_path(task_id).exists() or before.feishu_state is FeishuState.PENDING

    refused(team.entered(2), "is created and cannot become finished")
    cancelled = team.entered(3)
    assert team.db.cancel_task(cancelled, "not wanted")
    refused(cancelled, "is cancelled")
    there = team.finished(4)
    refused(there, "its result is there")
    assert there in team.publisher.flush().pushed
    refused(there, "its result is there")


def test_a_video_is_wanted_where_the_workflow_makes_one(team: Team) -> None:
    task_id = team.entered(3, "图生视频")
    assert team.db.mark_task_failed(task_id, "KSampler: boom")
    saved(team.folder / "made.png", (9, 99, 199))
    with pytest.raises(TaskError, match="is no video"):
        give_file(team.db, task_id, "made.png", team.settings.document)
    (team.folder / "film.mp4").write_bytes(MP4)
    give_file(team.db, task_id, "film.mp4", team.settings.document)
    assert team.publisher.flush().pushed == [task_id]
    assert team.feishu.sheet.row(3)["视频是否已实现"] == "已完成"


def test_the_likeliest_files_come_first(team: Team) -> None:
    (team.folder / "img").mkdir()
    task_id = team.finished(3, "img/coat_00007_.png")
    record = team.record(task_id)
    ended = (team.folder / "img/coat_00007_.png").stat().st_mtime
    for name, away in (("far.png", 9000.0), ("near.png", 3.0), ("img/coat_00008_.png", 5000.0)):
        saved(team.folder / name, (1, 2, 3))
        os.utime(team.folder / name, (ended + away, ended + away))
    saved(team.folder / "img/coat_00007_.png", (200, 1, 1))
    (team.folder / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n but no more of it")
    (team.folder / "film.mp4").write_bytes(MP4)
    saved(team.db.table.files.folder / "kept" / "a.png", (1, 2, 3))
    found = candidates(team.folder, record)
    assert [file.path for file in found] == ["img/coat_00007_.png", "img/coat_00008_.png", "near.png", "far.png"]
    assert {file.kind.value for file in found} == {"picture"}
    (team.folder / "cut.png").unlink()
    for number in range(30):
        saved(team.folder / f"more/{number}.png", (1, 2, 3))
    assert len(candidates(team.folder, record)) == 12


@pytest.mark.parametrize("moment", ["read", "told", "written"])
def test_a_file_that_is_named_while_the_failure_is_being_told_comes_into_the_row(team: Team, moment: str) -> None:
    """失败 is on its way; the row says so for a while, or not at all, and never 已完成 without the picture."""
    task_id = team.failed(3)
    Image.new("RGB", (4, 4), (3, 5, 8)).save(team.folder / "by-hand.png")
    feishu, done, seen = team.publisher._feishu, list[str](), list[tuple[str, bool]]()

    def named() -> None:
        if not done:
            done.append(task_id)
            give_file(team.db, task_id, "by-hand.png", team.settings.document)

    read, write = feishu.read_sheet, feishu.write_cells

    def reading() -> Any:
        found = read()
        if moment == "read":
            named()
        return found

    def writing(cells: Any) -> Any:
        if moment == "told":
            named()
        answer = write(cells)
        seen.append((team.feishu.sheet.row_texts(3)[STATUS], team.feishu.sheet.row(3)[PICTURE] is not None))
        if moment == "written":
            named()
        return answer

    feishu.read_sheet, feishu.write_cells = reading, writing  # type: ignore[method-assign,assignment]
    team.flush_until_quiet()
    assert team.state(task_id) is FeishuState.PUSHED
    assert team.feishu.sheet.row_texts(3)[STATUS] == "已完成"
    shown = team.feishu.sheet.row(3)[PICTURE]
    assert isinstance(shown, Picture)
    assert shown.data == (team.folder / "by-hand.png").read_bytes()
    assert ("已完成", False) not in seen
