"""The cell for the link of a film: what a person has put there is not written over."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from publishing_support import MP4, VIDEO, Team

from wfrecovery.bridge.feishu.client import FeishuClient
from wfrecovery.bridge.table.changes import new_task, sent_once_more
from wfrecovery.bridge.table.records import Stage
from wfrecovery.demo.feishu_host.stand_in import FeishuStandIn


@pytest.fixture
def films(feishu: FeishuStandIn, tmp_path: Path) -> Team:
    """A sheet with a column for links."""
    pytest.importorskip("lark_oapi")
    feishu.sheet.set("I1", "视频链接")
    return Team(feishu, tmp_path, video_link_column="视频链接", video_folder_token=feishu.folder_token)


THEIRS = ["剪辑师手工版", "https://disk/final_v3.mp4", {"type": "url", "text": "final", "link": "https://disk/f.mp4"}]


def film_of(team: Team, row: int) -> str:
    """A film whose row was read whole when it was entered."""
    (read,) = (found for found in FeishuClient(team.settings).read_rows() if found.row_number == row)
    assert team.db.add_workflow_task(read, "图生视频")
    return team.filmed(row)


@pytest.mark.parametrize("theirs", THEIRS, ids=["words", "an address", "a link"])
def test_a_link_that_a_person_has_put_there_is_theirs(films: Team, theirs: Any) -> None:
    film, other = film_of(films, 3), film_of(films, 4)
    films.feishu.sheet.set("I3", theirs)
    report = films.publisher.flush()
    assert (report.pushed, list(report.blocked)) == ([other], [film])
    assert (films.feishu.sheet.row(3)["视频链接"], films.feishu.sheet.row(3)[VIDEO]) == (theirs, "否")
    outbox = films.record(film).outbox
    assert f"wfrecovery decide {film} write" in (outbox.last_error or "")
    assert "不会" in (outbox.last_error_zh or "")
    assert films.db.push_again(film)
    assert films.publisher.flush().pushed == [film]
    assert films.feishu.sheet.row(3)["视频链接"]["text"] == f"{film}.mp4"
    assert films.feishu.count("upload_all") == 2, "what is uploaded already is not uploaded again"


@pytest.mark.parametrize("before", THEIRS, ids=["words", "an address", "a link"])
def test_a_link_from_before_its_row_was_entered_is_replaced(films: Team, before: Any) -> None:
    films.feishu.sheet.set("I3", before)
    film = film_of(films, 3)
    assert films.publisher.flush().pushed == [film]
    assert films.feishu.sheet.row(3)["视频链接"]["text"] == f"{film}.mp4"


@pytest.mark.parametrize("same_task", [True, False])
def test_a_link_of_a_former_film_of_the_row_is_replaced(films: Team, same_task: bool) -> None:
    """Rendered again; nobody has read the row since the first one was linked."""
    film = film_of(films, 3)
    assert films.publisher.flush().pushed == [film]
    former = films.feishu.sheet.row(3)["视频链接"]
    if same_task:
        films.db.table.update(film, lambda task: replace(task, stage=Stage.RUNNING))
    else:
        newer = new_task(films.db.table.claim_id("图生视频"), Stage.QUEUED, workflow_type="图生视频", row_number=3)
        told = films.record(film)
        names = {name: getattr(told, name) for name in ("product_name", "model_name", "row", "row_data")}
        film = films.db.table.create(replace(newer, **names)).task_id
    (films.folder / "anew.mp4").write_bytes(MP4 + b"\0\0\0\x08free")
    assert films.db.complete_task(film, ["anew.mp4"])
    films.db.try_again(film)
    assert films.publisher.flush().pushed == [film]
    link = films.feishu.sheet.row(3)["视频链接"]
    assert (link["text"], link["link"] != former["link"]) == ("anew.mp4", True)


@pytest.mark.parametrize("again", range(3))
def test_of_rows_that_look_the_same_a_film_goes_where_its_link_stands(films: Team, again: int) -> None:
    """Rendered again, after a row was inserted."""
    sheet = films.feishu.sheet
    for title in ("产品名", "模特名", "提示词"):
        for row in (2, 3, 4):
            sheet.set(f"{sheet.find(title)}{row}", "same")
    sheet.set("J1", "备注")
    tasks = []
    for number, read in enumerate(FeishuClient(films.settings).read_rows()[:3]):
        sheet.set(f"J{read.row_number}", f"mark {number}")
        tasks.append(films.db.add_workflow_task(read, "图生视频"))
        (films.folder / f"film{number}.mp4").write_bytes(MP4 + bytes([0, 0, 0, 8]) + b"free" * (number + 1))
        assert films.db.complete_task(tasks[-1], [f"film{number}.mp4"])
    assert sorted(films.publisher.flush().pushed) == sorted(tasks)
    sheet.insert_row(2, {"产品名": "新品", "模特名": "新人", "提示词": "新"})
    films.db.table.update(tasks[again], sent_once_more)
    (films.folder / "anew.mp4").write_bytes(MP4 + b"\0\0\0\x08free")
    assert films.db.complete_task(tasks[again], ["anew.mp4"])
    films.db.push_again(tasks[again])
    assert films.publisher.flush().pushed == [tasks[again]]
    names = {str(sheet.row(row)["备注"]): sheet.row(row)["视频链接"]["text"] for row in (3, 4, 5)}
    expected = {f"mark {number}": f"film{number}.mp4" for number in range(3)}
    assert names == {**expected, f"mark {again}": "anew.mp4"}
