"""Whatever comes as an answer, over real HTTP: it is understood, or it is a FeishuError with a sentence."""

from __future__ import annotations

import contextlib
import gzip
import importlib.util
import json
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests
from front_door import FrontDoor, front_door
from hypothesis import given
from hypothesis import strategies as st
from plugin_support import EVERYWHERE

from wfrecovery.bridge.doctor.checks import Findings
from wfrecovery.bridge.doctor.feishu import examine
from wfrecovery.bridge.doctor.feishu_questions import titles
from wfrecovery.bridge.feishu import drive_upload
from wfrecovery.bridge.feishu.client import FeishuClient
from wfrecovery.bridge.feishu.drive_calls import Pace
from wfrecovery.bridge.feishu.drive_upload import DriveUploader
from wfrecovery.bridge.feishu.errors import FeishuError, Remedy, answered
from wfrecovery.bridge.feishu.group_summary import Summary, send_summary
from wfrecovery.bridge.feishu.sheet import SheetLayoutError
from wfrecovery.bridge.feishu.sheet_list import grid_of
from wfrecovery.bridge.settings import Settings, load_settings
from wfrecovery.demo.feishu_host.stand_in import FeishuStandIn

pytestmark = pytest.mark.usefixtures("_nothing_collected")

DEEP = 100_000
#: not Feishu's: a page, nothing, half of something, JSON of another form, a code that is none
NOT_FEISHUS: list[Any] = [
    b"",
    b"\xff\xfe\x00",
    b"<html><body>Log in to the hotel's network</body></html>",
    b"404 page not found",
    b'{"code": 0, "data": {"sheets": [',
    b"[" * DEEP,
    b'{"code": 0, "data": ' + b'{"node":' * DEEP,
    b'{"code": ' + b"9" * 5000 + b"}",
    *([], [{"code": 0}], "code", 0, 1.5, True, None, {}, {"data": {"code": 0}}),
    *({"code": value} for value in ("", "zero", "-", "0x0", "²", "9" * 30, None, True, False, [], {}, 0.5, 10**30)),
    b'{"code": NaN}',
    b'{"code": Infinity}',
    b'{"code": 1e999}',
    {"StatusCode": "none"},
]
#: a yes without what was asked for
EMPTY: list[Any] = [
    {"code": 0},
    {"code": 0, "data": None},
    *({"code": 0, "data": value} for value in ([], [1], "x", 5, True, {}, {"unknown": 1})),
]
#: a yes with what was asked for, in another form
MALFORMED: list[Any] = [
    {"code": 0, "data": {name: value}}
    for name in ("sheets", "valueRange", "node", "spreadsheet", "files", "metas")
    for value in (
        "x",
        5,
        True,
        [1],
        [None],
        [[]],
        ["sheet_id"],
        {"a": 1} if name in ("sheets", "files", "metas") else [],
    )
] + [
    *({"code": 0, "data": {"valueRange": {"values": value}}} for value in ("x", 5, {"a": 1}, ["row"], [1], [{"a": 1}])),
    *(
        {"code": 0, "data": {"sheets": [{"title": "商品表", "sheet_id": "sid001", "grid_properties": value}]}}
        for value in ("x", [], 5, {"row_count": "many"}, {"row_count": [1]}, {"column_count": {}})
    ),
    *(
        {"code": 0, "data": {"sheets": [{"title": "商品表", "sheet_id": "sid001", "merges": value}]}}
        for value in ("x", {"a": 1}, [1], [[]], [{"start_row_index": "a"}], [{"end_row_index": []}])
    ),
    {"code": 0, "data": {"sheets": [{"title": "商品表"}]}},
    b'{"code": 0, "data": {"sheets": [{"title": "x", "sheet_id": "s", "grid_properties": {"row_count": 1e999}}]}}',
]


def dealt(answers: Sequence[Any], part: int, parts: int) -> Sequence[Any]:
    """The answers that are for one part of a test: each is in one of them. Each one everywhere takes long."""
    return answers if EVERYWHERE else answers[part % parts :: parts]


@pytest.fixture
def door(feishu: FeishuStandIn) -> Iterator[FrontDoor]:
    with front_door(feishu.url) as opened:
        yield opened


@pytest.fixture
def settings(feishu: FeishuStandIn, door: FrontDoor) -> Settings:
    environ = {**feishu.environment(), "FEISHU_DOMAIN": door.url, "WFRECOVERY_VIDEO_FOLDER": feishu.folder_token}
    hook = feishu.webhook_url.replace(feishu.url, door.url)
    return load_settings(environ={**environ, "FEISHU_WEBHOOK_URL": hook})


def reading(client: FeishuClient) -> list[Callable[[], Any]]:
    return [
        client.read_sheet,
        client.sheet_url,
        lambda: client.revision("s!A1:A1"),
        lambda: client.read_cell("s!A1:A1"),
    ]


def writing(client: FeishuClient) -> list[Callable[[], Any]]:
    return [lambda: client.write_cells({"s!A1:A1": "x"}), lambda: client.write_picture("s!A1:A1", "a.png", b"x")]


def said_in_a_sentence(error: FeishuError) -> FeishuError:
    for text in (error.wording.en, error.wording.zh, str(error)):
        assert len(text) > 10
        assert text.isprintable()
        text.encode()
    return error


def is_refused(call: Callable[[], Any]) -> FeishuError:
    with pytest.raises(FeishuError) as caught:
        call()
    return said_in_a_sentence(caught.value)


@pytest.mark.parametrize(("part", "status"), [*enumerate([200, 302, 403, 404, 500])])
def test_what_is_not_feishus_is_a_sentence_for_every_call(
    settings: Settings, door: FrontDoor, part: int, status: int
) -> None:
    for body in NOT_FEISHUS if status == 200 else dealt(NOT_FEISHUS, part, 4):
        door.own.clear()
        door.answer("/sheets/", body, status, times=None)
        client = FeishuClient(settings)
        for call in (*reading(client), *writing(client)):
            error = is_refused(call)
            assert error.remedy is Remedy.RETRY
        assert is_refused(writing(client)[0]).outcome_unknown, "nobody knows whether it was written"


def test_a_yes_without_what_was_asked_for_is_no_empty_sheet(settings: Settings, door: FrontDoor) -> None:
    for body in EMPTY[:-1]:
        door.own.clear()
        door.answer("/sheets/", body, times=None)
        client = FeishuClient(settings)
        for call in reading(client):
            assert is_refused(call).remedy is Remedy.RETRY
        assert client.write_cells({"s!A1:A1": "x"}) == [None], "yes is yes"
        assert client.write_picture("s!A1:A1", "a.png", b"x") is None


def test_parts_of_another_form_are_a_sentence_for_every_call(settings: Settings, door: FrontDoor) -> None:
    for body in (*EMPTY, *MALFORMED):
        for path in ("sheets/query", "/values/", "/sheets/v3/", "/sheets/"):
            door.own.clear()
            door.answer(path, body, times=None)
            for call in reading(FeishuClient(settings)):
                with contextlib.suppress(SheetLayoutError):  # an answer that can be read, of a sheet without a header
                    try:
                        call()
                    except FeishuError as error:
                        said_in_a_sentence(error)


def test_a_grid_of_any_size_is_read_without_filling_the_memory(settings: Settings) -> None:
    """A merge over a billion columns, outside of the sheet."""
    huge = {"start_row_index": -5, "end_row_index": 10**9, "start_column_index": 0, "end_column_index": 10**9}
    size = {"row_count": 200, "column_count": 20}
    sheet = {"title": "x", "sheet_id": "s", "grid_properties": size, "merges": [huge, {**huge, "start_row_index": 300}]}
    merges = grid_of([sheet], "x").merges
    assert {(merge.last_row, merge.last_column) for merge in merges} == {(199, 19)}
    assert merges[0].first_row == 0


# ------------------------------------------------------------------ the token


TOKENS: list[Any] = [
    *NOT_FEISHUS,
    *EMPTY,
    *(
        {"code": 0, "expire": 7200, "tenant_access_token": value}
        for value in (None, "", 5, [], {}, "令牌", "a b", "a\nb")
    ),
    *({"code": 0, "tenant_access_token": "t-x", "expire": value} for value in (None, "soon", [], {})),
    {"code": 0, "tenant_access_token": "t-x"},
    {"code": 0, "data": {"tenant_access_token": "t-x", "expire": 7200}},
    {"code": 0, "tenant_access_token": "t-" + "x" * 10_000, "expire": 7200},
    b'{"code": 0, "tenant_access_token": "t-x", "expire": NaN}',
]


def test_a_token_of_any_shape_is_a_sentence(settings: Settings, door: FrontDoor) -> None:
    for body in TOKENS:
        door.own.clear()
        door.answer("tenant_access_token", body, times=None)
        is_refused(FeishuClient(settings).read_sheet)
        assert door.count("/sheets/") == 0


@pytest.mark.parametrize("expire", [0, -5, 1, "7200", 10**400, 1e300])
def test_a_token_that_lives_for_any_time_is_used(
    feishu: FeishuStandIn, settings: Settings, door: FrontDoor, expire: Any
) -> None:
    FeishuClient(settings).read_sheet()
    door.answer("tenant_access_token", {"code": 0, "tenant_access_token": feishu.tokens.issued[-1], "expire": expire})
    client = FeishuClient(settings)
    if expire == 10**400:
        is_refused(client.read_sheet)
    assert len(client.read_rows()) == 6


# ------------------------------------------------------------------ the way there


@pytest.mark.parametrize(
    "location", ["http://[bad", "http://:99999/", "ftp://x/", "http://127.0.0.1:1/", "//", "http://例子.invalid\x80/"]
)
def test_an_answer_that_sends_us_elsewhere_is_a_sentence(settings: Settings, door: FrontDoor, location: str) -> None:
    sent_on = {"Location": location.encode().decode("latin-1")}
    door.answer("/sheets/", b"", 302, times=None, headers=sent_on)
    client = FeishuClient(settings)
    for call in (*reading(client), *writing(client)):
        is_refused(call)


def test_an_answer_that_sends_us_round_in_a_circle_is_a_sentence(settings: Settings, door: FrontDoor) -> None:
    door.answer("/sheets/", b"", 302, times=None, headers={"Location": "/open-apis/sheets/again"})
    is_refused(FeishuClient(settings).read_sheet)


def test_an_answer_that_is_packed_otherwise_than_it_says_is_a_sentence(settings: Settings, door: FrontDoor) -> None:
    packed = gzip.compress(json.dumps({"code": 0}).encode())[:-9]
    for body in (b"no gzip", packed):
        door.own.clear()
        door.answer("/sheets/", body, times=None, headers={"Content-Encoding": "gzip"})
        is_refused(FeishuClient(settings).read_sheet)


@pytest.mark.parametrize("wait", ["NaN", "inf", "-inf", "1e400", "soon", "", "Wed, 21 Oct 2026 07:28:00 GMT"])
def test_a_wait_of_any_shape_is_a_wait_or_none(settings: Settings, door: FrontDoor, wait: str) -> None:
    door.answer("/sheets/", {"code": 99991400, "msg": "x"}, 429, headers={"Retry-After": wait})
    error = is_refused(FeishuClient(settings).read_sheet)
    assert error.wait is None or error.wait >= 0


# ------------------------------------------------------------------ pictures


@pytest.mark.parametrize("status", [200, 404])
@pytest.mark.parametrize("body", [b"<html>Log in</html>", {"code": 0}, {"code": 1061003, "msg": "x"}, [1], {}])
def test_a_page_or_json_is_no_picture(settings: Settings, door: FrontDoor, body: Any, status: int) -> None:
    door.answer("/download", body, status, times=None)
    client = FeishuClient(settings)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("wfrecovery.bridge.feishu.client.time.sleep", lambda seconds: None)
        is_refused(lambda: client.media("boxcn1"))


# ------------------------------------------------------------------ the group's bot


@pytest.mark.parametrize(
    "body",
    [
        {"StatusCode": 0, "StatusMessage": "success"},
        {"Extra": None, "StatusCode": 0, "StatusMessage": "success"},
        {"code": None, "StatusCode": 0},
        {"code": 0, "msg": "success", "data": {}, "StatusCode": 0},
        {"code": 0, "data": "ok"},
    ],
)
def test_a_bot_that_answers_in_the_old_form_has_taken_the_message(
    settings: Settings, door: FrontDoor, body: Any
) -> None:
    door.answer("/hook/", body)
    assert send_summary(settings, Summary(1))


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        ({"StatusCode": 19021, "StatusMessage": "sign match fail"}, 19021, "FEISHU_WEBHOOK_SECRET"),
        ({"StatusCode": 19024, "StatusMessage": "Key Words Not Found"}, 19024, "Key Words Not Found"),
        ({"code": 19022, "msg": "Ip Not Allowed", "StatusCode": 0}, 19022, "IP 白名单"),
        ({"StatusCode": 4_242_424, "StatusMessage": "x"}, 4_242_424, "open.feishu.cn/search"),
    ],
)
def test_a_bot_that_refuses_in_the_old_form_is_refused(
    settings: Settings, door: FrontDoor, body: Any, code: int, words: str
) -> None:
    door.answer("/hook/", body)
    error = is_refused(lambda: send_summary(settings, Summary(1)))
    assert (error.code, error.remedy) == (code, Remedy.FINAL)
    assert words in error.wording.zh
    door.answer("/hook/", {"StatusCode": 11232, "StatusMessage": "frequency limited"})
    assert is_refused(lambda: send_summary(settings, Summary(1))).remedy is Remedy.RETRY


def test_an_answer_of_the_bot_of_any_shape_is_a_sentence(settings: Settings, door: FrontDoor) -> None:
    for body in NOT_FEISHUS:
        door.own.clear()
        door.answer("/hook/", body)
        is_refused(lambda: send_summary(settings, Summary(1)))


# ------------------------------------------------------------------ Drive


@pytest.fixture
def uploader(settings: Settings) -> DriveUploader:
    if importlib.util.find_spec("lark_oapi") is None:
        pytest.skip("lark-oapi is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import lark_oapi  # noqa: F401, PLC0415
    client = FeishuClient(settings)
    pace = Pace(sleep=lambda seconds: None)
    return DriveUploader(settings, client.tenant_token, client.drop_token, pace=pace)


class Upload:
    """One video of 5 bytes, and what is kept of its upload."""

    def __init__(self, uploader: DriveUploader, path: Path) -> None:
        self.uploader, self.path, self.state = uploader, path, dict[str, Any]()
        path.write_bytes(b"video")

    def __call__(self) -> str:
        return self.uploader.upload(self.path, self.path.name, self.state, self.state.update)


@pytest.fixture
def upload(uploader: DriveUploader, tmp_path: Path) -> Upload:
    return Upload(uploader, tmp_path / "a.mp4")


@pytest.mark.parametrize(("part", "status"), [*enumerate([200, 404, 502])])
def test_an_answer_to_an_upload_of_any_shape_is_a_sentence(
    upload: Upload, door: FrontDoor, part: int, status: int
) -> None:
    tokens = [{"code": 0, "data": {"file_token": value}} for value in (None, "", 5, [], {"a": 1})]
    answers = (*NOT_FEISHUS, *EMPTY, *tokens)
    for body in answers if status == 200 else dealt(answers, part, 2):
        door.own.clear()
        door.answer("upload_all", body, status, times=None)
        door.answer("/files?", {"code": 0, "data": {"files": []}}, times=None)
        error = is_refused(upload)
        assert error.remedy is Remedy.RETRY
        assert error.outcome_unknown, "the file may be there"


@pytest.mark.parametrize(
    "plan",
    [
        {},
        {"upload_id": "u", "block_size": 0, "block_num": 1},
        {"upload_id": "u", "block_size": 1, "block_num": 10**9},
        {"upload_id": "u", "block_size": -5, "block_num": -1},
        {"upload_id": "u", "block_size": 2, "block_num": 2},
        {"upload_id": "", "block_size": 5, "block_num": 1},
        {"upload_id": "u", "block_size": "x", "block_num": []},
    ],
)
def test_a_plan_for_the_parts_that_makes_no_sense_is_a_sentence(
    upload: Upload, door: FrontDoor, plan: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drive_upload, "WHOLE_FILE_BYTES", 1)
    door.answer("upload_prepare", {"code": 0, "data": plan})
    assert is_refused(upload).remedy is Remedy.RETRY
    assert door.count("upload_part") == 0


@pytest.mark.parametrize("url", [None, 5, [], "", "javascript:alert(1)", {"a": 1}])
def test_the_address_of_a_video_is_one(upload: Upload, door: FrontDoor, feishu: FeishuStandIn, url: Any) -> None:
    door.answer("upload_all", {"code": 0, "data": {"file_token": "boxcn1"}})
    door.answer("batch_query", {"code": 0, "data": {"metas": [{"doc_token": "boxcn1", "url": url}]}})
    assert upload() == f"{door.url}/file/boxcn1"


@pytest.mark.parametrize("body", [b"<html>413</html>", b"", {"message": "x"}])
def test_a_video_that_the_front_door_calls_too_large_goes_in_parts(
    upload: Upload, door: FrontDoor, feishu: FeishuStandIn, body: Any
) -> None:
    door.answer("upload_all", body, 413, times=None)
    upload()
    assert [file.data for file in feishu.drive.files.values()] == [b"video"]
    assert (door.count("upload_all"), door.count("upload_part")) == (1, 1)


def test_a_part_that_the_front_door_calls_too_large_is_said_clearly(upload: Upload, door: FrontDoor) -> None:
    door.answer("upload_", b"<html>413</html>", 413, times=None)
    error = is_refused(upload)
    assert (error.remedy, error.needs_person, error.outcome_unknown) == (Remedy.SPLIT, True, False)
    assert "even by itself" in error.wording.en


@pytest.mark.parametrize(
    ("code", "column"),
    [
        *((code, True) for code in (1061003, 1061004, 1061041, 1061044, 1061061, 1061101, 1062507, 1061073, 99991672)),
        *((code, False) for code in (1061043, 1061109, 1061002)),
    ],
)
def test_what_stops_one_video_stops_the_others_and_no_picture(
    upload: Upload, door: FrontDoor, code: int, column: bool
) -> None:
    door.answer("upload_all", {"code": code, "msg": "x"}, 400)
    error = is_refused(upload)
    assert (error.concerns_column, error.concerns_all) == (column, False)


@pytest.mark.parametrize("code", [99991403, 99991401, 99991662])
def test_what_stops_the_app_stops_all_in_drive_as_well(upload: Upload, door: FrontDoor, code: int) -> None:
    door.answer("upload_all", {"code": code, "msg": "x"}, 429)
    assert is_refused(upload).concerns_all


def test_missing_settings_for_videos_concern_the_videos(settings: Settings, uploader: DriveUploader) -> None:
    uploader._settings = replace(settings, video_folder_token="")
    assert is_refused(lambda: uploader.upload(Path("x"), "x", {}, print)).concerns_column


# ------------------------------------------------------------------ doctor


def test_doctor_survives_an_answer_of_any_shape(
    settings: Settings, door: FrontDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wfrecovery.bridge.doctor.feishu_asker.time.sleep", lambda seconds: None)
    paths = ("tenant_access_token", "application/v6/scopes", "sheets/query", "members/auth", "/values/")
    for part, path in enumerate(paths):
        for body in (*dealt(NOT_FEISHUS, part, len(paths)), *EMPTY, *MALFORMED):
            door.own.clear()
            door.answer(path, body, times=None)
            found = Findings(titles(settings))
            with requests.Session() as session:
                examine(found, settings, session)
            assert {check.id for check in found.checks()} >= {"clock", "edit", "columns"}
            assert all(check.detail.zh and check.advice.zh for check in found.checks() if check.ok is False)


# ------------------------------------------------------------------ any JSON


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(
            st.text()
            | st.sampled_from(
                [
                    "code",
                    "msg",
                    "data",
                    "error",
                    "helps",
                    "url",
                    "permission_violations",
                    "subject",
                    "scope",
                    "StatusCode",
                    "sheets",
                    "valueRange",
                    "values",
                    "node",
                    "merges",
                    "grid_properties",
                    "files",
                    "metas",
                ]
            ),
            inner,
        )
    ),
    max_leaves=30,
)


@given(JSON | st.fixed_dictionaries({"code": st.sampled_from([0, 99991672, 90216, "0"]), "data": JSON, "error": JSON}))
def test_any_json_is_an_answer_or_a_sentence(body: Any) -> None:
    content = json.dumps(body).encode()
    for status in (200, 400, 413, 429, 500):
        try:
            data = answered(status, {}, content)
        except FeishuError as error:
            said_in_a_sentence(error)
        else:
            assert isinstance(data, dict)
            for sheet in data.get("sheets") or ():
                try:
                    grid_of([sheet], sheet.get("title"))
                except FeishuError as error:
                    said_in_a_sentence(error)
