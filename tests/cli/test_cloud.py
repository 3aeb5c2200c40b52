"""The command line on a table whose tasks a cloud renders: told by the cloud's bill, the sheet, and who was asked."""

from __future__ import annotations

import json
import shlex
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_support import NOWHERE, ROOT, wfrecovery
from cloud_support import Cloud, Office

from wfrecovery.demo.feishu_host.stand_in import FeishuStandIn, Picture
from wfrecovery.demo.launch import ComfyProcess
from wfrecovery.demo.runninghub_host.stand_in import Workflow, shows

PICTURE, STATUS = "产品模特合成图", "图片是否已处理"
#: is rendered before anybody looks
AT_ONCE = Workflow(nodes={"6": ("text",), "10": ("image",)}, seconds=0.0)
CONFIG = """
[runninghub."图片合成"]
workflow_id = "101"
prompt = "6.text"
product_image = "10.image"
"""


class Firm:
    """A team's folder with main.py's table, its cloud, and a ComfyUI that nobody may ask."""

    def __init__(self, folder: Path, cloud: Cloud, door: socket.socket) -> None:
        self.folder, self.cloud, self._door = folder, cloud, door
        self.office = Office(cloud, folder / "output")
        self.url = f"http://127.0.0.1:{door.getsockname()[1]}"

    def wfrecovery(self, *arguments: str, url: str = "", **settings: str) -> subprocess.CompletedProcess[str]:
        """One command, with the engine that the settings name."""
        cloud = {"RUNNINGHUB_API_KEY": self.cloud.cloud.api_key, "RUNNINGHUB_URL": self.cloud.cloud.url}
        named = {"WFRECOVERY_ENGINE": "runninghub", "WFRECOVERY_CONFIG": str(self.folder / "config.toml"), **settings}
        return wfrecovery(*arguments, url=url or self.url, folder=self.folder, **cloud, **named)

    def json(self, *arguments: str, code: int, **settings: str) -> Any:
        """Its answer for a script."""
        ended = self.wfrecovery(*arguments, "--json", **settings)
        assert ended.returncode == code, (ended.stdout, ended.stderr)
        return json.loads(ended.stdout)

    def asks(self, *, accepted: bool) -> str:
        """A row was sent, and no answer came."""
        self.cloud.answer_lost(accepted=accepted)
        task_id = self.office.main_py().submits(2)
        assert self.office.task(task_id)["metadata"]["stage"] == "asking"
        return task_id

    @property
    def engine(self) -> str:
        return self.cloud.client().engine

    def assert_no_comfyui_was_asked(self) -> None:
        with pytest.raises(BlockingIOError):
            self._door.accept()


@pytest.fixture
def firm(tmp_path: Path) -> Iterator[Firm]:
    (tmp_path / "config.toml").write_text(CONFIG, "utf-8")
    with Cloud() as cloud, socket.create_server(("127.0.0.1", 0)) as door:
        door.setblocking(False)
        yield Firm(tmp_path, cloud, door)


@pytest.fixture
def feishu() -> Iterator[FeishuStandIn]:
    with FeishuStandIn([{"产品名": "产品2", "模特名": "模特", "提示词": "row 2", STATUS: "否"}]) as stand_in:
        yield stand_in


def in_sheet(feishu: FeishuStandIn, number: int) -> bool:
    """Whether the row's own picture and status stand there."""
    row = feishu.sheet.row(number)
    cell = row[PICTURE]
    return row[STATUS] == "已完成" and isinstance(cell, Picture) and shows(cell.data, f"row {number}")


def test_recover_fetches_from_the_cloud_into_the_sheet(firm: Firm, feishu: FeishuStandIn) -> None:
    task_id = firm.office.main_py().submits(2)
    firm.cloud.finish()
    answer = firm.json("recover", code=0, **feishu.environment())
    assert [task["task_id"] for task in answer["main"]] == [task_id]
    assert in_sheet(feishu, 2)
    assert firm.cloud.paid(2) == 1
    firm.assert_no_comfyui_was_asked()


def test_recover_sends_what_was_entered_and_never_sent(firm: Firm) -> None:
    firm.cloud.cloud.workflows["101"] = AT_ONCE
    firm.cloud.down()
    task_id = firm.office.main_py().submits(2)
    firm.cloud.up()
    answer = firm.json("recover", code=0)
    assert [task["status"] for task in answer["main"]] == ["已完成"], task_id
    assert firm.cloud.paid(2) == 1


def test_push_takes_a_cloud_s_result_into_the_sheet(firm: Firm, feishu: FeishuStandIn) -> None:
    run = firm.office.main_py()
    run.submits(2)
    firm.cloud.finish()
    run.recovers()
    assert not in_sheet(feishu, 2)
    answer = firm.json("push", code=0, **feishu.environment())
    assert len(answer["main"]["pushed"]) == 1
    assert in_sheet(feishu, 2)
    said = firm.wfrecovery("push", **feishu.environment()).stdout
    assert said == "pushed from main.py's table: nothing\n"
    firm.assert_no_comfyui_was_asked()


def test_status_and_tasks_say_whose_engine_a_task_is(firm: Firm) -> None:
    firm.office.main_py().submits(2)
    status = firm.wfrecovery("status")
    assert status.returncode == 0, status.stderr
    assert f"{firm.engine} renders 1 unfinished task" in status.stdout
    assert firm.json("status", code=0)["main"]["engines"] == {firm.engine: 1}
    titles, line = firm.wfrecovery("tasks").stdout.splitlines()
    assert (titles.split()[-1], line.split()[-1]) == ("ENGINE", firm.engine)
    assert f"{firm.engine} 有 1 个未完成的任务" in firm.wfrecovery("status", "--lang", "zh").stdout
    firm.assert_no_comfyui_was_asked()


def test_without_the_setting_a_cloud_s_tasks_are_left_alone(firm: Firm, tmp_path: Path) -> None:
    task_id = firm.office.main_py().submits(2)
    before, calls = firm.office.task(task_id), sum(firm.cloud.cloud.calls.values())
    hint = f"1 task is {firm.engine}'s: set WFRECOVERY_ENGINE to work on it"
    with ComfyProcess(tmp_path / "comfyui") as comfy:  # without the plugin
        for command in ("recover", "status"):
            ended = firm.wfrecovery(command, url=comfy.url, WFRECOVERY_ENGINE="")
            assert ended.returncode == (1 if command == "recover" else 2), ended.stderr
            assert hint in ended.stdout
            ended = firm.wfrecovery(command, "--lang", "zh", url=comfy.url, WFRECOVERY_ENGINE="")
            assert f"有 1 个任务属于 {firm.engine}：请设置 WFRECOVERY_ENGINE，才能处理" in ended.stdout
    ended = firm.wfrecovery("recover", url=NOWHERE, WFRECOVERY_ENGINE="")
    assert ended.returncode == 2
    assert hint in ended.stderr
    assert hint in firm.wfrecovery("status", url=NOWHERE, WFRECOVERY_ENGINE="").stdout
    assert firm.office.task(task_id) == before
    assert sum(firm.cloud.cloud.calls.values()) == calls


def test_in_a_table_that_a_comfyui_shares_they_are_left_alone_as_well(firm: Firm, tmp_path: Path) -> None:
    with ComfyProcess(tmp_path / "comfyui", plugins=[ROOT]) as comfy:
        office = Office(firm.cloud, comfy.output)
        task_id = office.main_py().submits(2)
        firm.cloud.answer_lost(accepted=False)
        asking = office.main_py().submits(3)
        before = office.task(task_id)
        shared = {"url": comfy.url, "WFRECOVERY_ENGINE": "", "WFRECOVERY_OUTPUT": str(comfy.output)}
        for command in ("recover", "status"):
            ended = firm.wfrecovery(command, **shared)
            assert ended.returncode == 1, ended.stderr
            assert f"2 tasks are {firm.engine}'s: set WFRECOVERY_ENGINE to work on them" in ended.stdout
            assert f"wfrecovery decide {asking} again --local" in ended.stdout
        assert office.task(task_id) == before


def test_with_another_account_s_key_they_are_left_alone(firm: Firm) -> None:
    task_id = firm.office.main_py().submits(2)
    before = firm.office.task(task_id)
    firm.cloud.cloud.accounts.add("another-key")
    mine = firm.engine
    firm.cloud.cloud.api_key = "another-key"
    ended = firm.wfrecovery("recover")
    assert ended.returncode == 1, ended.stderr
    assert f"1 task is {mine}'s: set the key of that account to work on it" in ended.stdout
    assert firm.office.task(task_id) == before


@pytest.mark.parametrize(
    ("decision", "paid", "ends"),
    [("again", 2, "finished"), ("arrived", 1, "finished"), ("leave", 1, "cancelled")],
)
def test_what_asks_is_listed_with_commands_that_cost_what_they_say(
    firm: Firm, decision: str, paid: int, ends: str
) -> None:
    firm.cloud.cloud.workflows["101"] = AT_ONCE
    task_id = firm.asks(accepted=True)
    assert firm.json("recover", code=1)["asking"][0]["task_id"] == task_id
    assert firm.cloud.paid(2) == 1
    listed = [firm.wfrecovery(command, "--lang", "en") for command in ("tasks", "status", "recover")]
    assert [ended.returncode for ended in listed] == [0, 1, 1]
    lines = [line for line in listed[0].stdout.splitlines() if f" decide {task_id} {decision}" in line]
    assert all(lines[0] in ended.stdout.splitlines() for ended in listed)
    command, _, cost = lines[0].strip().partition("  ")
    assert cost.strip().startswith("costs nothing" if paid == 1 else "costs one more render, maybe paid twice")
    words = [firm.cloud.ids_there()[0] if word == "ID" else word for word in shlex.split(command)]
    ended = firm.wfrecovery(*words[1:])
    assert ended.returncode == 0, ended.stderr
    assert firm.cloud.paid(2) == 1, "until it is sent again"
    ended = firm.wfrecovery("recover")
    assert ended.returncode == 0, ended.stdout
    assert firm.cloud.paid(2) == paid
    assert firm.office.task(task_id)["metadata"]["stage"] == ends
    firm.assert_no_comfyui_was_asked()


def test_a_dry_run_asks_the_cloud_and_pays_for_nothing(firm: Firm) -> None:
    asks = firm.asks(accepted=True)
    runs = firm.office.main_py().submits(3)
    paid, created = firm.cloud.paid(2) + firm.cloud.paid(3), firm.cloud.cloud.calls["create"]
    told = firm.json("recover", "--dry-run", code=1)
    assert {task["task_id"]: task["action"] for task in told["tasks"]} == {asks: "ask", runs: "follow"}
    assert (told["renders"], told["asking"]) == (0, 1)
    said = firm.wfrecovery("recover", "--dry-run", "--lang", "zh").stdout
    assert "decide again：计费 1 次（如果已经生成过，就是第二次）" in said
    assert (firm.cloud.paid(2) + firm.cloud.paid(3), firm.cloud.cloud.calls["create"]) == (paid, created)
    firm.assert_no_comfyui_was_asked()


def test_without_the_setting_what_asks_can_be_decided_all_the_same(firm: Firm) -> None:
    task_id = firm.asks(accepted=False)
    ended = firm.wfrecovery("tasks", "--local", "--lang", "zh", url=NOWHERE, WFRECOVERY_ENGINE="")
    line = next(line for line in ended.stdout.splitlines() if f" decide {task_id} leave" in line)
    command, _, cost = line.strip().partition("  ")
    assert cost.strip().startswith("不产生费用")
    ended = firm.wfrecovery("decide", task_id, "leave", url=NOWHERE, WFRECOVERY_ENGINE="")
    assert ended.returncode == 2
    assert "In main.py's table it waits for this: add --local" in ended.stderr
    ended = firm.wfrecovery(*shlex.split(command)[1:], url=NOWHERE, WFRECOVERY_ENGINE="")
    assert ended.returncode == 0, ended.stderr
    assert firm.office.task(task_id)["metadata"]["stage"] == "cancelled"
    assert firm.cloud.paid(2) == 0


def test_many_that_ask_are_counted(firm: Firm) -> None:
    for number in range(2, 9):
        firm.cloud.answer_lost(accepted=False)
        firm.office.main_py().submits(number)
    said = firm.wfrecovery("status", "--lang", "en").stdout
    assert said.count(" again ") == 5
    assert "… and 2 more: wfrecovery tasks --local --stage asking" in said


def test_a_cloud_out_of_reach_leaves_all_as_it_is(firm: Firm) -> None:
    task_id = firm.office.main_py().submits(2)
    firm.cloud.down()
    ended = firm.wfrecovery("recover")
    assert ended.returncode == 2
    assert f"1 task is left as it is: {firm.engine} did not answer" in ended.stdout
    assert firm.office.task(task_id)["metadata"]["stage"] == "queued"
    assert firm.wfrecovery("status").returncode == 0, "no ComfyUI is missing"
    firm.cloud.up()
    firm.cloud.finish()
    assert firm.wfrecovery("recover").returncode == 0
    assert firm.cloud.paid(2) == 1


def test_where_there_is_no_table_it_is_said(firm: Firm) -> None:
    for command in ("status", "tasks", "recover", "push"):
        ended = firm.wfrecovery(command)
        assert ended.returncode == 2
        assert "WFRECOVERY_OUTPUT" in ended.stderr
    firm.assert_no_comfyui_was_asked()


def test_the_team_s_own_client(firm: Firm) -> None:
    task_id = firm.office.main_py().submits(2)
    firm.cloud.finish()
    (firm.folder / "office.py").write_text(
        "from wfrecovery import bridge\n"
        "def client(settings):\n"
        "    return bridge.RunningHubClient(settings.runninghub_api_key, base_url=settings.runninghub_url)\n",
        "utf-8",
    )
    ended = firm.wfrecovery("recover", WFRECOVERY_ENGINE="office:client")
    assert ended.returncode == 0, ended.stderr
    assert firm.office.task(task_id)["metadata"]["stage"] == "finished"
    ended = firm.wfrecovery("recover", "--lang", "zh", WFRECOVERY_ENGINE="office:nobody")
    assert ended.returncode == 2
    assert ended.stderr == "wfrecovery: WFRECOVERY_ENGINE：office 里没有 nobody\n"
    firm.assert_no_comfyui_was_asked()
