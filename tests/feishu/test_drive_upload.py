"""Videos into Feishu's Drive, with its own SDK over HTTP: what is there is not sent again, whatever dies between."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests

from wfrecovery.bridge.feishu import drive_upload
from wfrecovery.bridge.feishu.client import FeishuClient
from wfrecovery.bridge.feishu.drive_calls import Pace
from wfrecovery.bridge.feishu.drive_upload import DriveUploader, documented_address
from wfrecovery.bridge.feishu.errors import FeishuError, Remedy
from wfrecovery.bridge.settings import Settings
from wfrecovery.demo.feishu_host.stand_in import Fault, FeishuStandIn

pytestmark = pytest.mark.skipif(importlib.util.find_spec("lark_oapi") is None, reason="lark-oapi is not installed")

#: the parts of a video in these tests
PARTS = 5
PART_BYTES = 100
VIDEO = b"\0\0\0 ftypisom" + bytes(range(256)) * 2
NAME = "杯子 小林 vid_20261123_001.mp4"


class Clock:
    """Shared by the stand-in and the pace: waiting makes it go."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Stopped(BaseException):
    """The process dies here."""


class Notes:
    """What the caller stores, as JSON; dies at the chosen step, before or after the note is on disk."""

    def __init__(self) -> None:
        self.kept: list[str] = []
        self.dies_at: int | None = None
        self.dies_before = False
        self.steps = 0

    def __call__(self, state: dict[str, Any]) -> None:
        step, self.steps = self.steps, self.steps + 1
        if step == self.dies_at and self.dies_before:
            raise Stopped
        self.kept.append(json.dumps(state))
        if step == self.dies_at:
            raise Stopped

    @property
    def state(self) -> dict[str, Any]:
        return json.loads(self.kept[-1]) if self.kept else {}


class Desk:
    """A stand-in, an uploader, a video and the notes about it."""

    def __init__(self, feishu: FeishuStandIn, clock: Clock, path: Path) -> None:
        self.feishu, self.clock, self.path = feishu, clock, path
        self.settings = Settings(
            feishu_app_id=feishu.app_id,
            feishu_app_secret=feishu.app_secret,
            feishu_spreadsheet_token=feishu.spreadsheet_token,
            feishu_sheet_name=feishu.sheet_title,
            feishu_domain=feishu.url,
            video_folder_token=feishu.folder_token,
        )
        self.notes = Notes()
        self.use()
        self.write(VIDEO)

    def use(self, **changes: Any) -> None:
        """A new uploader, as after a restart, perhaps with other settings."""
        self.settings = replace(self.settings, **changes)
        self.client = FeishuClient(self.settings)
        pace = Pace(clock=self.clock, sleep=self.clock.sleep)
        self.uploader = DriveUploader(self.settings, self.client.tenant_token, self.client.drop_token, pace=pace)

    def write(self, content: bytes, at: float = 1_700_000_000.0) -> None:
        self.path.write_bytes(content)
        os.utime(self.path, (at, at))

    def upload(self) -> str:
        return self.uploader.upload(self.path, NAME, self.notes.state, self.notes)

    def fails(self, match: str | None = None) -> FeishuError:
        with pytest.raises(FeishuError, match=match) as caught:
            self.upload()
        return caught.value

    def until_done(self) -> str:
        """As the outbox does it: again, as long as that may help."""
        for _ in range(20):
            try:
                return self.upload()
            except FeishuError as error:
                if error.remedy is not Remedy.RETRY:
                    raise
            self.clock.sleep(60)
        raise AssertionError("never done")

    @property
    def stored(self) -> list[bytes]:
        return [file.data for file in self.feishu.drive.files.values()]

    def count(self, operation: str) -> int:
        return self.feishu.count(f"file_upload_{operation}")


@pytest.fixture(scope="module", autouse=True)
def _sdk() -> None:
    """Imported here once: from Python 3.12 on, that warns of things in the SDK that are out of date."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        importlib.import_module("lark_oapi")


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    clock = Clock()
    with FeishuStandIn(clock=clock) as feishu:
        made = Desk(feishu, clock, tmp_path / "row67_00001_.mp4")
        yield made
        assert feishu.overlaps == 0


@pytest.fixture
def in_parts(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """Parts so small that the tests need no 20 MB; how large a part is, the service says."""
    monkeypatch.setattr(drive_upload, "WHOLE_FILE_BYTES", PART_BYTES)
    desk.feishu.limits.block_bytes = PART_BYTES
    desk.write(VIDEO[: PARTS * PART_BYTES - 1])
    return desk


# What is promised


def test_a_small_video_goes_in_one_call_and_opens_by_its_address(desk: Desk) -> None:
    url = desk.upload()
    (file,) = desk.feishu.drive.files.values()
    assert (file.data, file.parent_node) == (VIDEO, desk.feishu.folder_token)
    assert re.fullmatch(re.escape(NAME[:-4]) + "_[0-9a-f]{8}[.]mp4", file.name)
    assert (desk.count("all"), desk.count("prepare")) == (1, 0)
    assert requests.get(url, timeout=120).content == VIDEO


def test_a_video_over_20_mb_goes_in_parts_of_the_services_size(desk: Desk) -> None:
    content = os.urandom(21 * 1024 * 1024 + 7)
    desk.write(content)
    url = desk.upload()
    assert [desk.count(operation) for operation in ("all", "prepare", "part", "finish")] == [0, 1, 6, 1]
    assert requests.get(url, timeout=120).content == content


def test_what_is_there_is_not_sent_again(desk: Desk) -> None:
    url, calls = desk.upload(), len(desk.feishu.calls)
    desk.use()
    assert desk.upload() == url
    assert len(desk.feishu.calls) == calls


def test_another_video_of_the_same_task_is_sent(desk: Desk) -> None:
    first = desk.upload()
    desk.write(VIDEO[::-1], at=1_700_000_100.0)
    assert desk.upload() != first
    assert desk.stored == [VIDEO, VIDEO[::-1]]


def test_calls_keep_under_five_a_second(in_parts: Desk) -> None:
    in_parts.write(VIDEO * 4)
    in_parts.upload()
    times = [call.at for call in in_parts.feishu.calls if "upload" in call.operation]
    assert len(times) > 20
    assert all(later - time >= 1.0 for time, later in zip(times, times[4:], strict=False)), "at most four a second"
    assert {call.code for call in in_parts.feishu.calls} == {0}


def test_two_threads_upload_one_after_the_other(desk: Desk, tmp_path: Path) -> None:
    """While Feishu has one in hand, another one is begun: Feishu would refuse it with 1061045."""
    other = tmp_path / "other.mp4"
    other.write_bytes(VIDEO)
    urls: list[str] = []

    def upload() -> None:
        urls.append(desk.uploader.upload(other, other.name, {}, lambda state: None))

    second = threading.Thread(target=upload)

    def hold(seconds: float) -> None:
        second.start()
        second.join(0.5)  # it must not get anywhere

    desk.feishu._gate.pause = hold  # type: ignore[method-assign]
    desk.feishu.faults.add(Fault.SLOW_BEFORE, "file_upload_all")
    desk.upload()
    second.join()
    assert len(urls) == 1
    assert desk.stored == [VIDEO] * 2


# Dying and going on


@pytest.mark.parametrize("dies_before", [True, False], ids=["before the note", "after the note"])
def test_dying_at_any_step_of_an_upload_in_parts(in_parts: Desk, dies_before: bool) -> None:
    expected = VIDEO[: PARTS * PART_BYTES - 1]
    step = 0
    while True:
        in_parts.notes = Notes()
        in_parts.notes.dies_at, in_parts.notes.dies_before = step, dies_before
        in_parts.feishu.drive.files.clear()
        before = {operation: in_parts.count(operation) for operation in ("prepare", "part", "finish")}
        try:
            in_parts.upload()
            break
        except Stopped:
            in_parts.use()
            in_parts.until_done()
        sent = {operation: in_parts.count(operation) - count for operation, count in before.items()}
        assert in_parts.stored == [expected], f"step {step}"
        assert sent["finish"] == 1, f"step {step}: made once"
        assert sent["prepare"] <= 2
        again = sent["part"] - PARTS
        assert again <= (1 if dies_before else 0), f"step {step}: only the part whose arrival was not noted"
        step += 1
    assert step == 1 + PARTS + 2 + 1, "prepared, each part, sent, made, its address"


@pytest.mark.parametrize("dies_before", [True, False], ids=["before the note", "after the note"])
def test_dying_at_any_step_of_an_upload_in_one_call(desk: Desk, dies_before: bool) -> None:
    step = 0
    while True:
        desk.notes = Notes()
        desk.notes.dies_at, desk.notes.dies_before = step, dies_before
        desk.feishu.drive.files.clear()
        before = desk.count("all")
        try:
            desk.upload()
            break
        except Stopped:
            desk.use()
            desk.until_done()
        assert desk.stored == [VIDEO], f"step {step}"
        assert desk.count("all") - before == 1, f"step {step}: made once"
        step += 1
    assert step == 3, "sent, made, its address"


_SCRIPT = """
import json, sys
from pathlib import Path
from wfrecovery.bridge.feishu import drive_upload
from wfrecovery.bridge.feishu.drive_upload import DriveUploader
from wfrecovery.bridge.feishu.client import FeishuClient
from wfrecovery.bridge.settings import load_settings

drive_upload.WHOLE_FILE_BYTES = 100
client = FeishuClient(load_settings())
uploader = DriveUploader(client.settings, client.tenant_token, client.drop_token)
state = Path(sys.argv[2])
print("importing", flush=True)
uploader.upload(Path(sys.argv[1]), sys.argv[3], {}, lambda kept: state.write_text(json.dumps(kept)))
"""


def test_sigkill_in_the_middle_of_a_part(in_parts: Desk, tmp_path: Path) -> None:
    """Another process dies while Feishu has the third part in hand; this one goes on from its notes."""
    entered, leave = threading.Event(), threading.Event()

    def hold(seconds: float) -> None:
        entered.set()
        leave.wait(600)

    in_parts.feishu._gate.pause = hold  # type: ignore[method-assign]
    in_parts.feishu.limits.uploads_per_second = None  # its clock stands still while the other process waits
    in_parts.feishu.faults.add(Fault.SLOW_BEFORE, "file_upload_part", after=2)
    state = tmp_path / "state.json"
    environment = {**os.environ, **in_parts.feishu.environment()}
    environment["WFRECOVERY_VIDEO_FOLDER"] = in_parts.feishu.folder_token
    arguments = [sys.executable, "-c", _SCRIPT, str(in_parts.path), str(state), NAME]
    with subprocess.Popen(arguments, env=environment) as process:
        try:
            assert entered.wait(120), "the third part never came"
        finally:
            process.kill()
    leave.set()
    in_parts.notes(json.loads(state.read_text()))
    assert in_parts.notes.state["parts"] == 2
    in_parts.until_done()
    assert in_parts.stored == [VIDEO[: PARTS * PART_BYTES - 1]]
    assert in_parts.count("prepare") == 1
    assert in_parts.count("part") - in_parts.feishu.count("file_upload_part", code=1061045) == PARTS + 1


# Feishu's faults


@pytest.mark.parametrize("operation", ["prepare", "part", "finish", "all"])
@pytest.mark.parametrize(
    "kind",
    [
        Fault.RATE_LIMIT_429,
        Fault.RATE_LIMIT_400,
        Fault.HTML_502,
        Fault.HTML_502_AFTER,
        Fault.RESET_BEFORE,
        Fault.RESET_AFTER,
        Fault.HALF_BODY,
        Fault.HTTP_500_JSON,
        Fault.CONTENTION_1061045,
    ],
)
def test_a_fault_costs_a_try_and_no_second_copy(
    desk: Desk, request: pytest.FixtureRequest, kind: Fault, operation: str
) -> None:
    if operation != "all":
        request.getfixturevalue("in_parts")
    desk.feishu.faults.add(kind, f"file_upload_{operation}", reset="7")
    error = desk.fails()
    assert error.remedy is Remedy.RETRY
    if kind in (Fault.RATE_LIMIT_429, Fault.RATE_LIMIT_400):
        assert error.wait == 7
    desk.until_done()
    assert len(desk.stored) == 1
    assert desk.count("part") in (0, PARTS, PARTS + 1)


@pytest.mark.parametrize("kind", [Fault.TOKEN_REVOKED_400, Fault.TOKEN_REVOKED_200])
@pytest.mark.parametrize("operation", ["file_upload_all", "metas_batch_query"])
def test_an_invalid_token_is_replaced_on_the_way(desk: Desk, kind: Fault, operation: str) -> None:
    desk.feishu.faults.add(kind, operation)
    desk.upload()
    assert (desk.stored, desk.feishu.tokens.fetches) == ([VIDEO], 2)


@pytest.mark.parametrize("lowercase", [False, True])
def test_an_error_as_http_200_is_an_error_whatever_the_case_of_headers(desk: Desk, lowercase: bool) -> None:
    desk.feishu.switches.lowercase_headers = lowercase
    desk.feishu.switches.errors_as_200 = True
    desk.feishu.faults.add(Fault.CONTENTION_1061045, "file_upload_all")
    assert desk.fails("1061045").remedy is Remedy.RETRY
    desk.feishu.faults.add(Fault.RATE_LIMIT_429, "file_upload_all", reset="3")
    assert desk.fails("99991400").wait == 3
    desk.feishu.faults.add(Fault.TOKEN_REVOKED_400, "file_upload_all")
    desk.upload()


def test_an_upload_that_expired_overnight_starts_anew(in_parts: Desk) -> None:
    in_parts.feishu.faults.add(Fault.HTML_502, "file_upload_finish")
    in_parts.fails()
    in_parts.clock.sleep(24 * 3600)
    in_parts.upload()
    assert (len(in_parts.stored), in_parts.count("prepare"), in_parts.count("part")) == (1, 2, 2 * PARTS)


def test_parts_that_feishu_lost_are_sent_again(in_parts: Desk) -> None:
    lost: list[bytes] = []

    def store(state: dict[str, Any]) -> None:
        in_parts.notes(state)
        if state["parts"] == 3 and not lost:
            lost.extend(upload.blocks.pop(0) for upload in in_parts.feishu.drive._uploads.values())

    in_parts.uploader.upload(in_parts.path, NAME, {}, store)
    assert len(lost) == 1
    assert in_parts.stored == [VIDEO[: PARTS * PART_BYTES - 1]]
    assert in_parts.count("prepare") == 1


def test_a_part_that_was_spoilt_on_the_way_is_read_again(in_parts: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    honest, spoilt = drive_upload._file_part, []

    def spoil(content: bytes) -> dict[str, Any]:
        if spoilt:
            return honest(content)
        spoilt.append(content)
        return {**honest(content), "file": ("video", content[::-1], "application/octet-stream")}

    monkeypatch.setattr(drive_upload, "_file_part", spoil)
    in_parts.upload()
    assert in_parts.feishu.count("file_upload_part", code=1062008) == 1
    assert in_parts.stored == [VIDEO[: PARTS * PART_BYTES - 1]]


def test_a_video_that_changes_meanwhile_is_sent_as_it_is_then(in_parts: Desk) -> None:
    changed = VIDEO[::-1][: PARTS * PART_BYTES]

    def store(state: dict[str, Any]) -> None:
        in_parts.notes(state)
        if state["parts"] == 2:
            in_parts.write(changed, at=1_700_000_100.0)

    with pytest.raises(FeishuError, match="changed while it was uploaded") as caught:
        in_parts.uploader.upload(in_parts.path, NAME, {}, store)
    assert caught.value.remedy is Remedy.RETRY
    in_parts.upload()
    assert in_parts.stored == [changed]


def test_another_video_of_the_same_name_is_not_taken_for_this_one(desk: Desk, tmp_path: Path) -> None:
    """Two folders may each have a row67_00001_.mp4; the answer to the second upload is lost before it was done."""
    desk.upload()
    other = tmp_path / "other" / desk.path.name
    other.parent.mkdir()
    other.write_bytes(VIDEO[::-1])
    notes = Notes()
    desk.feishu.faults.add(Fault.RESET_BEFORE, "file_upload_all")
    with pytest.raises(FeishuError):
        desk.uploader.upload(other, NAME, {}, notes)
    url = desk.uploader.upload(other, NAME, notes.state, notes)
    assert requests.get(url, timeout=120).content == VIDEO[::-1]


def test_an_earlier_version_in_the_folder_is_not_taken_for_this_one(desk: Desk) -> None:
    desk.feishu.faults.add(Fault.RESET_AFTER, "file_upload_all")
    desk.fails()
    desk.clock.sleep(600)
    desk.write(VIDEO[::-1], at=desk.clock.now - 60)
    desk.feishu.faults.add(Fault.RESET_BEFORE, "file_upload_all")
    desk.fails()
    desk.upload()
    assert desk.stored == [VIDEO, VIDEO[::-1]]


# What only a person can mend


def test_a_scope_that_is_missing_is_named(desk: Desk) -> None:
    desk.feishu.switches.scopes = frozenset({"sheets:spreadsheet"})
    error = desk.fails("drive:file:upload")
    assert (error.code, error.remedy) == (99991672, Remedy.FINAL)
    assert "权限管理" in error.wording.zh


def test_a_folder_that_was_not_shared(desk: Desk) -> None:
    desk.feishu.switches.folder_access = False
    assert desk.fails("WFRECOVERY_VIDEO_FOLDER").remedy is Remedy.FINAL
    desk.feishu.switches.folder_access = True
    desk.use(video_folder_token="fldnosuch")
    error = desk.fails("WFRECOVERY_VIDEO_FOLDER")
    assert (error.code, "共享" in error.wording.zh) == (1061044, True)


def test_a_folder_that_is_full(desk: Desk) -> None:
    desk.feishu.limits.folder_entries = 0
    assert desk.fails("1,500 files").remedy is Remedy.FINAL


@pytest.mark.parametrize("operation", ["metas_batch_query", "files_list"])
def test_an_app_that_may_only_upload_gets_on(desk: Desk, operation: str) -> None:
    desk.feishu.faults.add(Fault.SCOPE_MISSING_99991672, operation, times=None)
    desk.feishu.faults.add(Fault.RESET_AFTER, "file_upload_all")
    url = desk.until_done()
    assert url == desk.feishu.url + f"/file/{list(desk.feishu.drive.files)[-1]}"


def test_the_documented_address_of_a_file() -> None:
    assert documented_address("https://open.feishu.cn", "boxcn1") == "https://feishu.cn/file/boxcn1"
    assert documented_address("https://open.larksuite.com", "boxus1") == "https://larksuite.com/file/boxus1"


def test_without_a_folder_nothing_is_asked(desk: Desk) -> None:
    desk.use(video_folder_token="")
    assert desk.fails("WFRECOVERY_VIDEO_FOLDER is not set").remedy is Remedy.FINAL
    assert desk.feishu.calls == []


def test_without_the_sdk_it_says_what_to_install(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lark_oapi", None)
    error = desk.fails("-m pip install lark-oapi")
    assert (error.remedy, "没有安装" in error.wording.zh) == (Remedy.FINAL, True)
    assert desk.feishu.calls == []


def test_an_address_that_the_sdk_refuses(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.use(feishu_domain="http://127.0.0.2:1")
    monkeypatch.setattr(desk.uploader._calls, "_token", lambda: "t-x")
    assert desk.fails("FEISHU_DOMAIN").remedy is Remedy.FINAL


@pytest.mark.parametrize("host", ["localhost", "::1"])
def test_the_other_loopback_addresses(host: str, tmp_path: Path) -> None:
    clock = Clock()
    try:
        with FeishuStandIn(clock=clock, host=host) as feishu:
            assert Desk(feishu, clock, tmp_path / "a.mp4").upload().startswith(feishu.url)
    except OSError:
        pytest.skip(f"no {host} here")


def test_a_video_that_is_gone_and_one_that_is_empty(desk: Desk) -> None:
    desk.path.unlink()
    assert desk.fails("cannot be read").remedy is Remedy.FINAL
    desk.write(b"")
    assert desk.fails("empty").remedy is Remedy.FINAL


def test_a_name_is_cut_but_keeps_its_ending(desk: Desk) -> None:
    desk.uploader.upload(desk.path, "杯" * 300 + ".mp4", {}, desk.notes)
    (file,) = desk.feishu.drive.files.values()
    assert (len(file.name), file.name[-4:]) == (250, ".mp4")


@pytest.mark.parametrize(
    "state",
    [
        {"size": "x"},
        {"file_token": 5},
        {"parts": 3},
        {"unknown": True, "size": len(VIDEO)},
        {"size": len(VIDEO), "mtime_ns": 1, "file_token": "boxold", "url": "http://old"},
    ],
)
def test_notes_that_do_not_fit_are_set_aside(desk: Desk, state: dict[str, Any]) -> None:
    url = desk.uploader.upload(desk.path, NAME, state, desk.notes)
    assert (desk.stored, url != "http://old") == ([VIDEO], True)


@pytest.mark.parametrize(
    "change", [{"block_size": 0}, {"block_num": -1}, {"parts": 99}, {"parts": -1}, {"upload_id": 7}]
)
def test_a_plan_that_makes_no_sense_is_made_anew(in_parts: Desk, change: dict[str, Any]) -> None:
    in_parts.feishu.faults.add(Fault.HTML_502, "file_upload_part", after=2)
    in_parts.fails()
    in_parts.uploader.upload(in_parts.path, NAME, {**in_parts.notes.state, **change}, in_parts.notes)
    assert in_parts.stored == [VIDEO[: PARTS * PART_BYTES - 1]]
    assert in_parts.count("prepare") == 2


def test_no_secret_in_an_error(desk: Desk) -> None:
    desk.feishu.stop()
    desk.uploader._calls._token = lambda: "t-secret-token-123"
    text = str(desk.fails())
    for secret in (desk.settings.feishu_app_secret, desk.settings.video_folder_token, "t-secret-token-123"):
        assert secret not in text


def test_the_sdk_is_not_imported_before_the_first_upload() -> None:
    """Not even with an uploader at hand: that is how ComfyUI starts."""
    code = (
        "import sys; from wfrecovery.bridge import settings; from wfrecovery.bridge.feishu import drive_upload; "
        "drive_upload.DriveUploader(settings.Settings(video_folder_token='x'), str, print); "
        "print('lark_oapi' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "False"
