"""Two ComfyUIs in one folder: what the status says of the other one, and how a person takes over."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from plugin_support import Comfy, picture, row, until

from wfrecovery import bridge


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Comfy, Comfy]]:
    """Both save to the folder of the first."""
    base = tmp_path_factory.mktemp("two")
    with Comfy(base / "first") as first:
        (base / "second").mkdir()
        (base / "second" / "output").symlink_to(first.output, target_is_directory=True)
        with Comfy(base / "second") as second:
            until(lambda: len(second.status()["owners"]) == 2, what="both owners")
            until(lambda: second.status()["recovery"]["finished_at"], what="the second one's start")
            yield first, second


def take_over(comfy: Comfy, owner: Any, language: str = "en") -> tuple[int, dict[str, Any]]:
    answer = comfy.call("POST", f"/wfrecovery/recover?lang={language}", json={"take_over": owner})
    return answer.status_code, answer.json()


def test_each_tells_the_other_by_its_address(two: tuple[Comfy, Comfy]) -> None:
    first, second = two
    [other] = [owner for owner in second.status()["owners"] if owner["boot"] != second.status()["owner"]]
    assert other["boot"] == first.status()["owner"]
    assert other["name"] == other["name_zh"] == f"ComfyUI {first.url.removeprefix('http://')}"
    assert (other["kind"], other["life"], other["tasks"]) == ("comfyui", "alive", 0)
    assert first.status()["table_id"] == second.status()["table_id"]


@pytest.mark.parametrize("owner", [None, 7, True, "", "abc", "x" * 65, ["abcd"], {"boot": "abcd"}])
def test_what_names_no_owner_is_refused_in_both_languages(two: tuple[Comfy, Comfy], owner: Any) -> None:
    status, answer = take_over(two[1], owner)
    assert (status, answer["error"]["type"]) == (400, "bad_owner")
    assert "first 4 characters" in answer["error"]["message"]
    assert "至少写前 4 位" in take_over(two[1], owner, "zh")[1]["error"]["message"]


def test_nobody_oneself_and_several_cannot_be_taken_over(two: tuple[Comfy, Comfy]) -> None:
    _, second = two
    for boot in ("abcd1111", "abcd2222"):
        (second.table / "owners" / f"{boot}.json").write_text('{"kind": "main", "name": "a third"}')
    for owner, english, chinese in (
        ("ffffffff", "no owner is known as 'ffffffff'", "没有名为 'ffffffff' 的所有者"),
        (second.status()["owner"], "its tasks are its own already", "就是要接管的程序本身"),
        (second.status()["owner"][:8], "its tasks are its own already", "就是要接管的程序本身"),
        ("abcd", "2 owners: abcd1111, abcd2222", "2 个所有者：abcd1111, abcd2222"),
    ):
        status, answer = take_over(second, owner)
        assert (status, answer["error"]["type"]) == (409, "not_possible")
        assert english in answer["error"]["message"]
        assert chinese in take_over(second, owner, "zh")[1]["error"]["message"]


def test_what_waits_in_a_living_one_is_rendered_by_who_takes_over(two: tuple[Comfy, Comfy]) -> None:
    first, second = two
    runs = first.queue(picture("runs", seconds=600), row(2))
    waits = [first.queue(picture(f"waits{n}"), row(n)) for n in (3, 4)]
    first.until_stage(runs, "running")
    boot = first.status()["owner"]

    def told() -> int:
        return next(owner["tasks"] for owner in second.status()["owners"] if owner["boot"] == boot)

    until(lambda: told() == 3, what="its three tasks")
    status, answer = take_over(second, boot[:8])
    assert (status, answer["taken_over"]) == (202, 3)
    until(lambda: second.times(runs, "started") == 2, what="a start where it was taken over")
    assert second.record(runs)["metadata"]["attempts"] == 1  # nobody has gone down
    second.call("POST", "/interrupt", json={})
    for prompt in waits:
        second.finished(prompt)
    until(lambda: told() == 0, what="no task")
    first.call("POST", "/interrupt", json={})
    until(lambda: not first.pending(), what="an idle ComfyUI")
    for prefix in ("waits3", "waits4"):  # what waited there did not start
        assert len(second.whole_pictures(f"{prefix}_*.png")) == 1


def test_what_was_taken_over_while_a_recovery_ran_is_recovered_too(two: tuple[Comfy, Comfy]) -> None:
    first, second = two
    held = first.queue(picture("held", seconds=600), row(6))
    first.until_stage(held, "running")
    waits = first.queue(picture("later", seconds=600), row(7))
    second.call("POST", "/wfrecovery/recover", json={})
    assert take_over(second, first.status()["owner"])[0] == 202
    # in whatever order: of what changes hands just then the recovery may see one before the other
    until(lambda: sorted(second.pending()) == sorted([held, waits]), what="both in the other queue")
    second.idle()
    first.idle()


def test_what_the_command_line_has_taken_to_another_comfyui_neither_starts_nor_ends_here(
    two: tuple[Comfy, Comfy],
) -> None:
    first, _ = two
    runs, waits = first.queue(picture("here", gate="here"), row(8)), first.queue(picture("there"), row(9))
    first.until_stage(runs, "running")
    command_line = bridge.DatabaseManager(first.output)
    assert command_line.take_over(first.status()["owner"]) == 2
    first.open_gate("here")
    until(lambda: not first.pending(), what="an idle ComfyUI")
    until(lambda: "does not run here" in first.log(), what="a word of what does not start")
    assert [first.record(prompt)["metadata"]["owner"]["boot"] for prompt in (runs, waits)] == [
        command_line.owners.me.boot
    ] * 2
    assert [first.record(prompt)["status"] for prompt in (runs, waits)] == ["在处理中"] * 2
    assert first.times(waits, "started") == 0
    command_line.owners.close()  # it has ended: who is left takes over, and adopts what is whole
    assert [first.finished(prompt)["status"] for prompt in (runs, waits)] == ["已完成"] * 2
    assert [first.times(prompt, "started") for prompt in (runs, waits)] == [1, 1]
