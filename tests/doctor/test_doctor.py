"""`doctor` on broken set-ups: each is broken for real, one check says so, and its advice names what to click or set."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import preloaded
import pytest

from wfrecovery.bridge.doctor.feishu_questions import TITLES as FEISHU_TITLES
from wfrecovery.bridge.doctor.report import Check, Report, report
from wfrecovery.bridge.settings import Columns, Settings
from wfrecovery.bridge.table.folder_test import FolderTest
from wfrecovery.bridge.table.manager import DatabaseManager
from wfrecovery.bridge.version import VERSION
from wfrecovery.demo.feishu_host.stand_in import Fault, FeishuStandIn
from wfrecovery.demo.launch import ComfyProcess
from wfrecovery.demo.serving.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
#: No four letters of these stand in any message for another reason.
APP_SECRET = "Zq7Xk2Vw9RtJ4Yp8"
SPREADSHEET_TOKEN = "QwJx8Zk3Vb6HnQ1f"
WEBHOOK_SECRET = "Xw3Jq9Zv7Kf2Gd5h"
FOLDER_TOKEN = "Vk2Jz8Qx6Wf4Yh9d"


@pytest.fixture(scope="module")
def comfy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyProcess]:
    with ComfyProcess(tmp_path_factory.mktemp("comfyui"), plugins=[ROOT]) as process:
        yield process


@pytest.fixture(scope="module")
def bare_comfy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyProcess]:
    """An old ComfyUI without the plugin."""
    with ComfyProcess(tmp_path_factory.mktemp("bare"), args=["--version", "0.3.63"]) as process:
        yield process


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def feishu() -> Iterator[FeishuStandIn]:
    with FeishuStandIn(
        [{"产品名": "杯子", "模特名": "小林", "图片是否已处理": "否"}],
        app_secret=APP_SECRET,
        spreadsheet_token=SPREADSHEET_TOKEN,
        webhook_secret=WEBHOOK_SECRET,
    ) as service:
        yield service


@dataclasses.dataclass
class Office:
    """A set-up in which all is well, until a test breaks something."""

    comfy: ComfyProcess
    feishu: FeishuStandIn
    folder: Path

    def settings(self, **changes: Any) -> Settings:
        settings = Settings(
            feishu_app_id=self.feishu.app_id,
            feishu_app_secret=APP_SECRET,
            feishu_spreadsheet_token=SPREADSHEET_TOKEN,
            feishu_sheet_name=self.feishu.sheet_title,
            feishu_domain=self.feishu.url,
            feishu_webhook_url=self.feishu.webhook_url,
            feishu_webhook_secret=WEBHOOK_SECRET,
            video_folder_token=FOLDER_TOKEN,
            comfyui_url=self.comfy.url,
            output_dir=str(self.folder),
        )
        return dataclasses.replace(settings, **changes)

    def examine(self, settings: Settings | None = None, **options: Any) -> Report:
        """The report, in which no part of a secret may stand."""
        settings = settings or self.settings()
        found = report(settings, settings.output_dir or self.folder, **options)
        shown = json.dumps([found.to_json("en"), found.to_json("zh")], ensure_ascii=False)
        shown += found.text("en") + found.text("zh")
        hidden = (APP_SECRET, SPREADSHEET_TOKEN, WEBHOOK_SECRET, FOLDER_TOKEN)
        for secret in (*hidden, settings.feishu_spreadsheet_token, settings.feishu_app_secret):
            parts = {secret[start : start + 4] for start in range(len(secret) - 3)}
            assert [part for part in parts if part in shown] == []
        assert "hook-" not in shown  # the last part of the bot's address
        return found

    def environment(self) -> dict[str, str]:
        """The same for a process."""
        hidden = ("FEISHU_", "WFRECOVERY_", "COMFYUI_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
        return {
            **kept,
            **self.feishu.environment(),
            "COMFYUI_URL": self.comfy.url,
            "WFRECOVERY_OUTPUT": str(self.folder),
        }


@pytest.fixture
def office(comfy: ComfyProcess, feishu: FeishuStandIn, tmp_path: Path) -> Office:
    folder = tmp_path / "output"
    folder.mkdir()
    return Office(comfy, feishu, folder)


def run(office: Office, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "wfrecovery.bridge.cli", "doctor", *arguments]
    return preloaded.run(command, env={**office.environment(), **environment}, cwd=office.folder.parent)


def only_wrong(found: Report, name: str, en: str = "", zh: str = "") -> Check:
    """The one check that fails; its advice has these words, and there is no other report of failure."""
    wrong = [check for check in found.checks if check.ok is False]
    assert [check.id for check in wrong] == [name], found.text("en")
    assert not found.ok
    assert en in wrong[0].advice.en
    assert zh in wrong[0].advice.zh
    assert wrong[0].detail.zh
    return wrong[0]


def unasked(found: Report) -> set[str]:
    """What could not be checked."""
    return {check.id for check in found.checks if check.ok is None} - {"bot"}


def after(name: str) -> set[str]:
    """The questions to Feishu after this one, apart from those that need no answer to it."""
    names = [*itertools.dropwhile(lambda other: other != name, FEISHU_TITLES)][1:]
    return set(names) - {"clock", "bot", "scope_drive", "video_sdk", "video_folder"}


# ---------------------------------------------------------------------- well


def test_a_good_setup_is_found_well_and_nothing_is_changed(office: Office) -> None:
    revision = office.feishu.spreadsheet.revision
    found = office.examine()
    assert found.ok
    assert unasked(found) == set(), found.text("en")
    assert "All is well" in found.text("en")
    assert "一切正常" in found.text("zh")
    assert office.feishu.spreadsheet.revision == revision
    assert {call.method for call in office.feishu.calls if call.operation != "tenant_access_token"} == {"GET"}
    assert office.feishu.messages == []
    assert list(office.folder.iterdir()) == []


def test_inside_comfyui_nothing_is_asked_over_http(office: Office) -> None:
    status = office.comfy.get("/wfrecovery/status")
    found = office.examine(office.settings(comfyui_url="http://127.0.0.1:9"), inside=status)
    assert found.ok
    assert {"comfyui", "plugin", "plugin_version", "worker"} <= {check.id for check in found.checks if check.ok}


def test_the_plugins_route_tells_the_same_to_the_page(office: Office) -> None:
    told = office.comfy.get("/wfrecovery/doctor?lang=zh")
    assert told["ok"] is False
    checks = {check["id"]: check for check in told["checks"]}
    assert [name for name, check in checks.items() if check["ok"] is False] == ["credentials"]
    assert checks["folder"]["detail"] == str(office.comfy.output)
    assert "凭证与基础信息" in checks["credentials"]["advice"]


def test_the_command_says_it_in_both_languages_and_exits_with_0(office: Office) -> None:
    assert "一切正常" in run(office, "--lang", "zh").stdout
    ended = run(office, "--json", "--lang", "en")
    assert ended.returncode == 0, ended.stdout
    told = json.loads(ended.stdout)
    assert told["ok"] is True
    assert set(told["checks"][0]) == {"id", "ok", "title", "detail", "advice"}


def test_a_secret_that_somebody_pasted_into_the_sheet_is_not_shown(office: Office) -> None:
    office.feishu.sheet.set("J1", f"token {SPREADSHEET_TOKEN}")
    office.feishu.add_sheet(APP_SECRET)
    assert "[hidden]" in office.examine().text("en")
    only_wrong(office.examine(office.settings(feishu_sheet_name="三月")), "sheet", "[hidden]", "[hidden]")


# ---------------------------------------------------------------------- credentials and app


def test_no_credentials(office: Office) -> None:
    found = office.examine(Settings(comfyui_url=office.comfy.url, output_dir=str(office.folder)))
    check = only_wrong(found, "credentials", "凭证与基础信息", "凭证与基础信息")
    assert "FEISHU_SHEET_NAME" in check.advice.zh
    assert unasked(found) == after("credentials") | {"clock"}


def test_a_wrong_secret(office: Office) -> None:
    found = office.examine(office.settings(feishu_app_secret="Kx5Wq8Zj1Vf6Hy3b"))
    check = only_wrong(found, "token", "copy App ID and App Secret anew", "重新复制 App ID 和 App Secret")
    assert "FEISHU_APP_SECRET" in check.advice.zh
    assert unasked(found) == after("token")


def test_an_app_that_nobody_knows(office: Office) -> None:
    found = office.examine(office.settings(feishu_app_id="cli_of_nobody"))
    assert "FEISHU_APP_ID" in only_wrong(found, "token", "look at FEISHU_APP_ID").advice.zh


def test_an_app_of_lark_asked_at_feishu(office: Office) -> None:
    with FeishuStandIn() as other:
        settings = office.settings(feishu_domain=other.url, feishu_webhook_url="")
        found = office.examine(settings, domains=(other.url, office.feishu.url))
        only_wrong(found, "domain", f"FEISHU_DOMAIN to {office.feishu.url}", f"FEISHU_DOMAIN 设为 {office.feishu.url}")
        assert unasked(found) == after("domain")
    assert office.feishu.tokens.issued == []  # it was asked without the secret


def test_a_domain_that_is_not_feishus(office: Office) -> None:
    found = office.examine(office.settings(feishu_domain=office.comfy.url, feishu_webhook_url=""))
    only_wrong(found, "domain", "https://open.feishu.cn or https://open.larksuite.com", "https://open.feishu.cn")


def test_a_disabled_app(office: Office) -> None:
    office.feishu.switches.app_enabled = False
    found = office.examine()
    only_wrong(found, "app", "版本管理与发布", "应用管理 → 启用")
    assert unasked(found) == after("app")


def test_an_address_that_is_not_on_the_apps_list(office: Office) -> None:
    office.feishu.switches.denied_ip = "203.0.113.7"
    found = office.examine()
    check = only_wrong(found, "address", "安全设置 → IP 白名单", "IP 白名单")
    assert "203.0.113.7" in check.detail.zh
    assert unasked(found) == after("address")


@pytest.mark.parametrize(
    ("granted", "missing"),
    [
        ({"sheets:spreadsheet:readonly"}, "scope_write"),
        ({"sheets:spreadsheet:write_only", "docs:permission.member:auth"}, "scope_read"),
    ],
)
def test_a_missing_scope(office: Office, granted: set[str], missing: str) -> None:
    office.feishu.switches.scopes = frozenset(granted)
    found = office.examine()
    check = only_wrong(found, missing, "权限管理 → 开通权限", "创建版本")
    link, _, added = check.advice.zh.partition(" ")[2].partition(" ")
    assert f"/app/{office.feishu.app_id}/auth?q=" in link
    assert "sheets:spreadsheet" in link
    assert "开通 sheets:spreadsheet；" in added
    assert unasked(found) == ({"edit"} if missing == "scope_write" else after("scope_write"))


def test_a_scope_that_is_new_to_us_does_for_reading_where_feishu_lets_us_read(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wfrecovery.bridge.doctor.feishu_app.READ_SCOPES", frozenset())
    assert office.examine().ok


def test_what_feishu_does_not_tell_of_scopes_is_not_guessed(office: Office) -> None:
    office.feishu.faults.add(Fault.HTTP_500_JSON, match="app_scopes", times=None)
    found = office.examine()
    assert found.ok
    assert unasked(found) == {"scope_write"}


def with_videos(office: Office, **changes: Any) -> Settings:
    office.feishu.sheet.set("I1", "视频链接")
    folder = next(iter(office.feishu.drive.folders))
    return office.settings(**{"video_link_column": "视频链接", "video_folder_token": folder, **changes})


def test_what_videos_need_is_asked_only_where_the_sheet_has_a_column_for_them(office: Office) -> None:
    videos = {"scope_drive", "video_sdk", "video_folder"}
    assert not videos & {check.id for check in office.examine().checks}
    found = office.examine(with_videos(office))
    assert videos <= {check.id for check in found.checks if check.ok}, found.text("en")


def test_a_missing_scope_for_drive(office: Office) -> None:
    office.feishu.switches.scopes = frozenset({"sheets:spreadsheet"})
    found = office.examine(with_videos(office))
    only_wrong(found, "scope_drive", "drive:file:upload", "drive:file:upload")
    assert unasked(found) == {"video_folder"}


def test_a_folder_for_videos_that_the_app_cannot_see(office: Office) -> None:
    only_wrong(office.examine(with_videos(office, video_folder_token=FOLDER_TOKEN)), "video_folder", "share", "共享给")
    found = office.examine(with_videos(office, video_folder_token=""))
    only_wrong(found, "video_folder", "WFRECOVERY_VIDEO_FOLDER", "WFRECOVERY_VIDEO_FOLDER")


def test_videos_without_feishus_sdk(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lark_oapi", None)  # as where it is not installed
    only_wrong(office.examine(with_videos(office)), "video_sdk", "pip install lark-oapi", "pip install lark-oapi")


# ---------------------------------------------------------------------- document and sheet


def test_an_app_that_was_not_added_to_the_document(office: Office) -> None:
    office.feishu.switches.document_access = "none"
    found = office.examine()
    only_wrong(found, "document", "更多 → 添加文档应用", "更多 → 添加文档应用")
    assert unasked(found) == after("document")


def test_an_app_that_may_only_read_the_document(office: Office) -> None:
    office.feishu.switches.document_access = "view"
    found = office.examine()
    only_wrong(found, "edit", "可编辑", "可编辑")
    assert unasked(found) == set()


@pytest.mark.parametrize("token", ["Ky4Zw9Jx2QvH7f", "https://Ky4Zw9Jx2.QvH7f/sheets/Ky4Zw9?x=1"])
def test_a_wrong_spreadsheet_token(office: Office, token: str) -> None:
    found = report(office.settings(feishu_spreadsheet_token=token), office.folder)
    only_wrong(found, "spreadsheet", "after /sheets/", "/sheets/ 之后")
    assert unasked(found) == after("spreadsheet")
    assert token not in found.text("zh")


def test_a_spreadsheet_in_a_wiki_is_found_by_its_node(office: Office) -> None:
    found = report(office.settings(feishu_spreadsheet_token=office.feishu.wiki_token), office.folder)
    assert {check.ok for check in found.checks if check.id in ("spreadsheet", "document", "edit", "columns")} == {True}
    assert office.feishu.count("wiki_get_node") >= 1
    assert office.feishu.wiki_token not in found.text("zh")


def test_a_wrong_sheet_name(office: Office) -> None:
    office.feishu.add_sheet("二月")
    found = office.examine(office.settings(feishu_sheet_name="三月"))
    only_wrong(
        found, "sheet", "FEISHU_SHEET_NAME to one of: 商品表, 二月", "FEISHU_SHEET_NAME 设为其中之一：商品表, 二月"
    )
    assert unasked(found) == after("sheet")


def test_a_missing_column(office: Office) -> None:
    found = office.examine(office.settings(columns=Columns(model_name="模特儿姓名")))
    check = only_wrong(found, "columns", "[columns]", "[columns]")
    assert "模特儿姓名" in check.detail.zh
    assert "产品模特合成图" in check.detail.en  # what is there


def test_the_column_for_task_numbers_is_recommended_and_not_required(office: Office) -> None:
    found = office.examine()
    (check,) = [check for check in found.checks if check.id == "columns"]
    assert (check.ok, found.ok) == (True, True)
    assert "I1, and type 任务号" in check.advice.en
    assert "单元格 I1，输入 任务号" in check.advice.zh
    office.feishu.sheet.set("I1", "任务号")
    (check,) = [check for check in office.examine().checks if check.id == "columns"]
    assert (check.ok, check.advice.en) == (True, "")
    (check,) = [
        check for check in office.examine(office.settings(columns=Columns(task_id=""))).checks if check.id == "columns"
    ]
    assert (check.ok, check.advice.en) == (True, "")


def test_a_sheet_without_any_of_the_titles(office: Office) -> None:
    office.feishu.add_sheet("笔记", header=["备注", "日期"])
    found = office.examine(office.settings(feishu_sheet_name="笔记"))
    assert "备注" in only_wrong(found, "columns", "header row", "表头行").detail.en


def test_two_columns_of_the_same_title(office: Office) -> None:
    office.feishu.sheet.set("I1", "图片是否已处理")
    check = only_wrong(office.examine(), "titles", "rename all but one", "只保留一个")
    assert "图片是否已处理: F, I" in check.detail.zh


# ---------------------------------------------------------------------- clock, net, bot


def test_a_clock_that_is_off(office: Office) -> None:
    office.feishu.switches.date_shift = -7200
    check = only_wrong(office.examine(), "clock", "timedatectl", "自动设置时间")
    assert "120 min ahead" in check.detail.en
    assert "签名" in check.detail.zh  # the bot's would be refused
    office.feishu.switches.date_shift = 90
    check = only_wrong(office.examine(), "clock", "Set time automatically", "自动校时")
    assert "behind" in check.detail.en
    assert "签名" not in check.detail.zh


def test_feishu_that_cannot_be_reached(office: Office) -> None:
    found = office.examine(office.settings(feishu_domain=f"http://127.0.0.1:{free_port()}", feishu_webhook_url=""))
    only_wrong(found, "feishu", "HTTPS_PROXY", "浏览器能否打开")
    assert unasked(found) == after("feishu") | {"clock"}


def test_feishu_that_stops_answering_half_way(office: Office) -> None:
    office.feishu.faults.add(Fault.HTML_502, match="sheets_query", times=None)
    found = office.examine()
    only_wrong(found, "spreadsheet", "try again", "再试")
    assert unasked(found) == after("spreadsheet")


def test_a_short_trouble_of_feishus_is_waited_out(office: Office) -> None:
    office.feishu.faults.add(Fault.HTML_502, match="sheets_query")
    office.feishu.faults.add(Fault.RATE_LIMIT_429, match="app_scopes")
    assert office.examine().ok


def test_an_address_that_is_no_bots(office: Office) -> None:
    found = office.examine(office.settings(feishu_webhook_url="https://open.feishu.cn/somewhere/else"))
    only_wrong(found, "bot", "群机器人", "群机器人")


# ---------------------------------------------------------------------- ComfyUI


def test_comfyui_that_does_not_run(office: Office) -> None:
    found = office.examine(office.settings(comfyui_url=f"http://127.0.0.1:{free_port()}"))
    only_wrong(found, "comfyui", "COMFYUI_URL", "启动 ComfyUI")
    later = {"comfyui_version", "plugin", "plugin_version", "worker", "recording", "same_table", "publisher"}
    assert unasked(found) == later


def test_something_else_where_comfyui_should_be(office: Office) -> None:
    check = only_wrong(office.examine(office.settings(comfyui_url=office.feishu.url)), "comfyui", "COMFYUI_URL")
    assert "不是 ComfyUI" in check.detail.zh


def test_an_old_comfyui_without_the_plugin(office: Office, bare_comfy: ComfyProcess) -> None:
    found = office.examine(office.settings(comfyui_url=bare_comfy.url))
    wrong = {check.id: check for check in found.checks if check.ok is False}
    assert wrong.keys() == {"comfyui_version", "plugin"}
    assert "0.3.64" in wrong["comfyui_version"].advice.zh
    assert "custom_nodes" in wrong["plugin"].advice.en
    assert "重启 ComfyUI" in wrong["plugin"].advice.zh
    assert unasked(found) == {"plugin_version", "worker", "recording", "same_table", "publisher"}


@pytest.mark.parametrize(
    ("change", "wrong", "en", "zh"),
    [
        ({"version": "0.0.9"}, "plugin_version", "pip install", "较新的版本"),
        ({"comfyui": {"version": "0.33.0", "worker_alive": False}}, "worker", "start ComfyUI again", "重启 ComfyUI"),
        ({"last_error": "no hook"}, "recording", "ComfyUI's log", "日志"),
    ],
)
def test_what_the_plugin_says_of_itself(
    office: Office, change: Mapping[str, Any], wrong: str, en: str, zh: str
) -> None:
    status = {**office.comfy.get("/wfrecovery/status"), **change}
    only_wrong(office.examine(inside=status), wrong, en, zh)


def test_a_proxy_that_catches_requests_to_this_computer(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://me:hunter2@127.0.0.1:{free_port()}")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    url = office.comfy.url.replace("127.0.0.1", "localhost")
    found = office.examine(office.settings(comfyui_url=url))
    only_wrong(found, "proxy", "NO_PROXY=localhost", "NO_PROXY=localhost")
    assert "hunter2" not in found.text("en")
    assert unasked(found) == set()  # the rest was asked without the proxy


def test_a_password_in_comfyuis_address_is_not_shown(office: Office) -> None:
    url = f"http://me:hunter2@127.0.0.1:{free_port()}"
    assert "hunter2" not in office.examine(office.settings(comfyui_url=url)).text("zh")


def test_a_hanging_comfyui_is_given_up(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wfrecovery.bridge.doctor.comfyui._TIMEOUT", (0.5, 0.5))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        found = office.examine(office.settings(comfyui_url=f"http://127.0.0.1:{silent.getsockname()[1]}"))
    assert "没有及时响应" in only_wrong(found, "comfyui", "start ComfyUI").detail.zh


# ---------------------------------------------------------------------- this computer


def test_a_file_where_the_output_folder_should_be(office: Office) -> None:
    office.folder.rmdir()
    office.folder.write_text("in the way")
    found = office.examine()
    only_wrong(found, "folder", "WFRECOVERY_OUTPUT", "移走这个文件")
    assert unasked(found) == {"locks", "table", "same_table", "damaged"}


def test_an_output_folder_that_is_not_there(office: Office) -> None:
    office.folder.rmdir()
    only_wrong(office.examine(), "folder", "WFRECOVERY_OUTPUT", "WFRECOVERY_OUTPUT")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="nothing is forbidden to root")
def test_an_output_folder_that_cannot_be_written(office: Office) -> None:
    office.folder.chmod(0o500)
    only_wrong(office.examine(), "folder", "the right to write", "写入权限")


def test_a_table_folder_that_cannot_be_used(office: Office) -> None:
    DatabaseManager(office.folder).add_workflow_task({"row_number": 2}, "图生视频")
    lock = office.folder / "wfrecovery" / "table.lock"
    lock.unlink(missing_ok=True)
    lock.mkdir()
    found = office.examine()
    only_wrong(found, "table", "the right to write there", "写入")
    assert unasked(found) == {"same_table", "damaged"}


@pytest.mark.parametrize("place", ["wfrecovery", "wfrecovery/active"])
def test_a_file_where_one_of_the_tables_folders_should_be(office: Office, place: str) -> None:
    path = office.folder / place
    path.parent.mkdir(exist_ok=True)
    path.write_text("in the way")
    assert str(path) in only_wrong(office.examine(), "table", "move the file away", "移走").detail.en


def test_a_folder_without_locks_is_named_and_needs_no_mending(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second process cannot be started here: whether an owner is dead is then told by its beat."""
    monkeypatch.setattr(sys, "executable", "")
    found = office.examine()
    assert found.ok
    check = next(check for check in found.checks if check.id == "locks")
    assert (check.ok, "90 s" in check.detail.en, "90 秒" in check.detail.zh) == (None, True, True)
    assert check.advice
    assert list(office.folder.iterdir()) == []


def test_a_folder_where_files_cannot_be_replaced_safely(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = FolderTest(locks=True, replace=False)
    monkeypatch.setattr("wfrecovery.bridge.doctor.folder.examine_folder", lambda _: tried)
    only_wrong(office.examine(), "locks", "a disk of this computer", "本机磁盘")


def test_progress_is_told_while_it_checks(office: Office) -> None:
    told: list[tuple[int, int]] = []
    found = office.examine(on_progress=lambda done, total: told.append((done, total)))
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[-1][0] == len(found.checks)


def test_a_user_without_main_py_needs_no_folder(office: Office) -> None:
    settings = office.settings(output_dir="")
    found = report(settings, office.folder / "not there")
    assert found.ok
    assert unasked(found) == {"folder", "locks", "table", "same_table"}


def test_a_damaged_record(office: Office) -> None:
    db = DatabaseManager(office.folder)
    task_id = db.add_workflow_task({"row_number": 2, "product_name": "杯子"}, "图生视频")
    (office.folder / "wfrecovery" / "active" / f"{task_id}.json").write_text('{"cut off', "utf-8")
    check = only_wrong(office.examine(), "damaged", ".reason.txt", ".reason.txt")
    assert f"1: active/{task_id}.json" in check.detail.zh
    assert str(office.folder / "wfrecovery" / "corrupt") in check.detail.en


def test_the_folder_of_another_comfyui(office: Office) -> None:
    """Its plugin has a table of another id, which is told, and nothing that had to be mended."""
    DatabaseManager(office.folder).table.keep_table_id()
    found = office.examine()
    assert found.ok
    assert next(check for check in found.checks if check.id == "same_table").detail.zh == "各用各的任务表，没有问题"


def test_comfyuis_own_folder_is_told_as_shared(office: Office) -> None:
    found = office.examine(office.settings(output_dir=str(office.comfy.output)))
    assert found.ok
    assert next(check for check in found.checks if check.id == "same_table").detail.zh == "共用这个任务表"


def who_pushes(found: Report) -> Check:
    return next(check for check in found.checks if check.id == "publisher")


def test_who_pushes_is_told(office: Office) -> None:
    """The plugin here has no Feishu settings; what one with settings says, comes from inside."""
    assert who_pushes(office.examine()).detail.en == "main.py: the plugin has no Feishu settings"
    status = dict(office.comfy.get("/wfrecovery/status"))
    ours = office.settings()
    told = {
        ours.document: "the plugin",
        office.settings(feishu_sheet_name="another").document: "main.py what it submits, the plugin the rest",
    }
    for document, said in told.items():
        status["feishu"] = {"configured": True, "document": document}
        assert who_pushes(office.examine(ours, inside=status)).detail.en.startswith(said)
    status["feishu"] = {"configured": True}
    assert "older version" in who_pushes(office.examine(ours, inside=status)).detail.en


def test_results_that_wait_for_a_comfyui_that_is_not_there(office: Office) -> None:
    db = DatabaseManager(office.folder)
    task_id = db.add_workflow_task({"row_number": 2, "product_name": "杯子"}, "图生视频")
    db.mark_task_failed(task_id, "boom")
    assert office.examine().ok
    db.table.update(task_id, lambda task: dataclasses.replace(task, publisher="gone"))
    check = only_wrong(office.examine(), "publisher", "wfrecovery push --local", "wfrecovery push --local")
    assert task_id in check.detail.zh


def test_an_old_filelock(office: Office, tmp_path: Path) -> None:
    old = tmp_path / "site" / "filelock-3.12.0.dist-info"
    old.mkdir(parents=True)
    (old / "METADATA").write_text("Metadata-Version: 2.1\nName: filelock\nVersion: 3.12.0\n")
    ended = run(office, "--json", "--lang", "zh", PYTHONPATH=str(old.parent))
    assert ended.returncode == 1, ended.stderr
    checks = {check["id"]: check for check in json.loads(ended.stdout)["checks"]}
    assert [name for name, check in checks.items() if check["ok"] is False] == ["filelock"]
    assert "pip install -U filelock" in checks["filelock"]["advice"]
    assert {name for name, check in checks.items() if check["ok"] is None} == {
        "locks",
        "table",
        "same_table",
        "damaged",
    }


@pytest.mark.parametrize("text", ["feishu_sheet_name = unquoted\n", 'feishu_app_secret = "x"\nnonsense = 1\n'])
def test_a_broken_config_file(office: Office, tmp_path: Path, text: str) -> None:
    file = tmp_path / "config.toml"
    file.write_text(text, "utf-8")
    file.chmod(0o600)
    ended = run(office, "--json", "--config", str(file))
    assert ended.returncode == 1, ended.stderr
    checks = {check["id"]: check for check in json.loads(ended.stdout)["checks"]}
    assert [name for name, check in checks.items() if check["ok"] is False] == ["config"]
    assert str(file) in checks["config"]["detail"]
    assert checks["plugin"]["ok"] is True  # ComfyUI is asked all the same
    assert {name for name, check in checks.items() if check["ok"] is None} == after("credentials") | {
        "credentials",
        "clock",
    }
    zh = run(office, "--lang", "zh", WFRECOVERY_CONFIG=str(file)).stdout
    assert "改正 config.toml" in zh


def test_the_version_is_one(office: Office) -> None:
    assert office.comfy.get("/wfrecovery/status")["version"] == VERSION
    assert f'version = "{VERSION}"' in (ROOT / "pyproject.toml").read_text("utf-8")
