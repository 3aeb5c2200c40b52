"""`doctor` of a cloud: each thing is broken at its stand-in, one check says so, and nothing is paid for."""

from __future__ import annotations

import dataclasses
import json
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_support import wfrecovery

from wfrecovery.bridge.doctor.report import Check, Report, report
from wfrecovery.bridge.settings import Settings
from wfrecovery.demo.feishu_host.stand_in import FeishuStandIn
from wfrecovery.demo.runninghub_host.stand_in import Fault, RunningHubStandIn, Workflow

#: No four letters of it stand in any message for another reason.
KEY = "Zq7Xk2Vw9RtJ4Yp8"
IMAGE = {"workflow_id": "101", "product_image": "10.image", "prompt": "6.text"}
VIDEO = {"workflow_id": "202", "composite_image": "12.image"}
CLOUD_CHECKS = [
    "cloud",
    "cloud_key",
    "cloud_account",
    "image_workflow",
    "image_inputs",
    "video_workflow",
    "video_inputs",
]


@dataclasses.dataclass
class Office:
    """A set-up in which all is well, until a test breaks something; and a ComfyUI that nobody may ask."""

    cloud: RunningHubStandIn
    feishu: FeishuStandIn
    folder: Path
    door: socket.socket

    def settings(self, **changes: Any) -> Settings:
        settings = Settings(
            feishu_app_id=self.feishu.app_id,
            feishu_app_secret=self.feishu.app_secret,
            feishu_spreadsheet_token=self.feishu.spreadsheet_token,
            feishu_sheet_name=self.feishu.sheet_title,
            feishu_domain=self.feishu.url,
            engine="runninghub",
            runninghub_api_key=KEY,
            runninghub_url=self.cloud.url,
            runninghub={"图片合成": IMAGE, "图生视频": VIDEO},
            comfyui_url=f"http://127.0.0.1:{self.door.getsockname()[1]}",
            output_dir=str(self.folder),
        )
        return dataclasses.replace(settings, **changes)

    def examine(self, **changes: Any) -> Report:
        """The report: nothing was paid for, no ComfyUI was asked, and no part of the key is shown."""
        found = report(self.settings(**changes), self.folder)
        assert not self.cloud.tasks
        assert set(self.cloud.calls) <= {"account", "workflow"}
        self.assert_no_comfyui_was_asked()
        shown = json.dumps([found.to_json("en"), found.to_json("zh")], ensure_ascii=False)
        assert [KEY[start : start + 4] for start in range(len(KEY) - 3) if KEY[start : start + 4] in shown] == []
        return found

    def assert_no_comfyui_was_asked(self) -> None:
        with pytest.raises(BlockingIOError):
            self.door.accept()


@pytest.fixture
def office(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Office]:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "output").mkdir()
    workflows = {"101": Workflow(nodes={"6": ("text",), "10": ("image",)}), "202": Workflow(nodes={"12": ("image",)})}
    row = {"产品名": "杯子", "模特名": "小林", "图片是否已处理": "否"}
    with (
        RunningHubStandIn(workflows, api_key=KEY) as cloud,
        FeishuStandIn([row]) as feishu,
        socket.create_server(("127.0.0.1", 0)) as door,
    ):
        door.setblocking(False)
        yield Office(cloud, feishu, tmp_path / "output", door)


def answers(found: Report) -> dict[str, bool | None]:
    return {check.id: check.ok for check in found.checks}


def only_wrong(found: Report, name: str, *, unasked: list[str] | None = None) -> Check:
    """The one check that fails; these could not be asked."""
    wrong = [check for check in found.checks if check.ok is False]
    assert [check.id for check in wrong] == [name], found.text("en")
    assert [check.id for check in found.checks if check.ok is None] == (unasked or []), found.text("en")
    assert wrong[0].detail.zh != wrong[0].detail.en
    assert wrong[0].advice.zh != wrong[0].advice.en
    return wrong[0]


def after(name: str) -> list[str]:
    return CLOUD_CHECKS[CLOUD_CHECKS.index(name) + 1 :]


def test_a_good_setup_is_found_well_without_any_comfyui(office: Office) -> None:
    found = office.examine()
    assert found.ok, found.text("en")
    told = answers(found)
    assert [name for name in told if name in ("engine", *CLOUD_CHECKS)] == ["engine", *CLOUD_CHECKS]
    assert all(told.values())
    assert not {"comfyui", "plugin", "publisher", "same_table"} & told.keys()
    assert office.cloud.calls == {"account": 1, "workflow": 2}
    details = {check.id: check.detail.en for check in found.checks}
    assert details["cloud_account"] == "coins 1000; tasks under way 0"
    assert details["video_inputs"] == "composite_image → 12.image"


def test_the_command_says_it(office: Office) -> None:
    config = office.folder.parent / "config.toml"
    tables = (
        f'[runninghub."{kind}"]\n' + "".join(f'{name} = "{value}"\n' for name, value in table.items())
        for kind, table in office.settings().runninghub.items()
    )
    config.write_text('engine = "runninghub"\n' + "".join(tables), "utf-8")
    config.chmod(0o600)
    run = {"url": office.settings().comfyui_url, "folder": office.folder.parent, "WFRECOVERY_CONFIG": str(config)}
    run |= {"RUNNINGHUB_API_KEY": KEY, "RUNNINGHUB_URL": office.cloud.url, **office.feishu.environment()}
    ended = wfrecovery("doctor", **run)
    assert ended.returncode == 0, ended.stdout
    office.cloud.limits.runs = 0
    ended = wfrecovery("doctor", "--lang", "zh", **run)
    assert ended.returncode == 1
    assert "✗ RunningHub 账户" in ended.stdout
    assert "充值" in ended.stdout
    config.write_text(config.read_text("utf-8") + "\nnobody = [", "utf-8")
    ended = wfrecovery("doctor", "--json", **run, WFRECOVERY_ENGINE="runninghub")
    assert ended.returncode == 1
    told = {check["id"]: check["ok"] for check in json.loads(ended.stdout)["checks"]}
    assert told["config"] is False
    assert {told[name] for name in ("engine", *CLOUD_CHECKS)} == {None}
    assert "comfyui" not in told
    office.assert_no_comfyui_was_asked()


@pytest.mark.parametrize("code", [802, 806, 811])
def test_a_key_that_is_not_known(office: Office, code: Any) -> None:
    office.cloud.switches.wrong_key_code = code
    office.cloud.accounts.clear()
    check = only_wrong(office.examine(), "cloud_key", unasked=after("cloud_key"))
    assert "copy the key into RUNNINGHUB_API_KEY" in check.advice.en
    assert "复制密钥到 RUNNINGHUB_API_KEY" in check.advice.zh


def test_an_account_without_money(office: Office) -> None:
    office.cloud.limits.runs = 0
    check = only_wrong(office.examine(), "cloud_account")
    assert check.detail.en == "coins 0; tasks under way 0"
    assert "recharge" in check.advice.en


def test_an_account_that_may_not(office: Office) -> None:
    office.cloud.faults.add(Fault.PARAMS_301, match="account")
    found = office.examine()
    check = only_wrong(found, "cloud_account", unasked=["cloud_key", *after("cloud_account")])
    assert "PARAMS_INVALID (code 301)" in check.detail.en


def test_an_account_of_which_it_does_not_say(office: Office) -> None:
    office.cloud.faults.add(Fault.NULL_DATA, match="account")
    found = office.examine()
    assert found.ok
    assert [check.id for check in found.checks if check.ok is None] == ["cloud_account"]


@pytest.mark.parametrize("code", [380, 810])
def test_a_workflow_that_is_not_known(office: Office, code: Any) -> None:
    office.cloud.switches.wrong_workflow_code = code
    del office.cloud.workflows["202"]
    check = only_wrong(office.examine(), "video_workflow", unasked=["video_inputs"])
    assert "202" in check.detail.en
    assert "图生视频" in check.advice.en


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("11.image", "product_image: there is no node 11"),
        ("10.picture", "product_image: node 10 (Input) has no picture"),
        ("10", "product_image = '10' is no node.field"),
    ],
)
def test_an_input_that_has_no_place_there(office: Office, place: str, said: str) -> None:
    check = only_wrong(
        office.examine(runninghub={"图片合成": {**IMAGE, "product_image": place}, "图生视频": VIDEO}), "image_inputs"
    )
    assert check.detail.en == said
    assert check.advice.en.endswith("this workflow has: 6.text, 10.image")
    assert '[runninghub."图片合成"]' in check.advice.zh


def test_a_workflow_without_inputs_and_one_that_is_not_set(office: Office) -> None:
    found = office.examine(runninghub={"图片合成": {"workflow_id": "101"}})
    assert found.ok
    told = {check.id: check for check in found.checks if check.ok is None}
    assert list(told) == ["image_inputs", "video_workflow"]
    assert "every row would give the same" in told["image_inputs"].detail.en
    assert '[runninghub."图生视频"]' in told["video_workflow"].advice.en


def test_no_workflow_at_all(office: Office) -> None:
    wrong = [check.id for check in office.examine(runninghub={}).checks if check.ok is False]
    assert wrong == ["image_workflow", "video_workflow"]


def test_settings_that_make_no_client(office: Office) -> None:
    check = only_wrong(office.examine(runninghub_api_key=""), "engine", unasked=CLOUD_CHECKS)
    assert "RUNNINGHUB_API_KEY is not set" in check.detail.en
    found = office.examine(runninghub={"图片合成": {"workflow_id": "my workflow"}})
    assert "the long number in the address" in only_wrong(found, "engine", unasked=CLOUD_CHECKS).detail.en
    assert not office.cloud.calls


def test_a_cloud_out_of_reach(office: Office) -> None:
    office.cloud.stop()
    check = only_wrong(office.examine(), "cloud", unasked=after("cloud"))
    assert "no connection" in check.detail.en
    assert "RUNNINGHUB_URL" in check.advice.zh


def test_a_cloud_that_hangs_costs_ten_seconds_once(office: Office) -> None:
    office.cloud.faults.add(Fault.HANG_BEFORE, times=None)
    began = time.monotonic()
    check = only_wrong(office.examine(), "cloud", unasked=after("cloud"))
    assert "no answer in time" in check.detail.en
    assert time.monotonic() - began < 2 * 10  # Feishu and the folder are asked as well
    assert sum(office.cloud.calls.values()) == 1


@pytest.mark.parametrize(("fault", "status"), [(Fault.HTML_502, 502), (Fault.HTML_200, 200)])
def test_something_else_answers(office: Office, fault: Fault, status: int) -> None:
    office.cloud.faults.add(fault, match="account")
    check = only_wrong(office.examine(), "cloud", unasked=after("cloud"))
    assert f"not as RunningHub does (HTTP {status})" in check.detail.en


def test_what_breaks_off_later_is_said_where_it_broke(office: Office) -> None:
    office.cloud.faults.add(Fault.RESET_BEFORE, match="workflow", after=1, times=None)
    only_wrong(office.examine(), "video_workflow", unasked=["video_inputs"])


def test_of_a_team_s_own_client_only_its_name_is_known(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    module = office.folder.parent / "doctors_office.py"
    module.write_text("class Client:\n    engine = 'ours:1'\n    def submit(self, workflow, task): ...\n", "utf-8")
    monkeypatch.chdir(module.parent)
    monkeypatch.setattr(sys, "path", list(sys.path))
    found = office.examine(engine="doctors_office:Client")
    assert found.ok
    assert {check.id: check.detail.en for check in found.checks}["engine"] == "ours:1"
    assert not set(CLOUD_CHECKS) & answers(found).keys()
    assert not office.cloud.calls


def test_a_key_without_the_engine_gives_a_hint(office: Office) -> None:
    found = report(office.settings(engine="", comfyui_url="http://127.0.0.1:9"), office.folder)
    check = next(check for check in found.checks if check.id == "engine")
    assert check.ok is None
    assert "WFRECOVERY_ENGINE=runninghub" in check.advice.en
    assert "comfyui" in answers(found)
    assert not office.cloud.calls


def test_the_key_of_a_team_s_own_program_is_not_shown_either(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    key = "Hq6Vn3Xw8KdJ5Zt2"
    office.cloud.accounts.add(key)
    module = office.folder.parent / "doctors_own.py"
    module.write_text(
        "from wfrecovery import bridge\n"
        "def client(settings):\n"
        f"    pasted = bridge.CloudWorkflow('{key}')\n"
        f"    return bridge.RunningHubClient('{key}', {{'图片合成': pasted}}, base_url=settings.runninghub_url)\n",
        "utf-8",
    )
    monkeypatch.chdir(module.parent)
    monkeypatch.setattr(sys, "path", list(sys.path))
    found = office.examine(engine="doctors_own:client", runninghub={})
    assert "does not know [hidden]" in {check.id: check.detail.en for check in found.checks}["image_workflow"]
    assert key not in found.text("en") + found.text("zh")
