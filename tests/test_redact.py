"""Secrets stay out of messages and records; what is no secret stays readable."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfrecovery.bridge.redact import HIDDEN, MAX_MESSAGE, redact, secret_values, without_secret_texts, without_secrets
from wfrecovery.bridge.table.database import WorkflowDatabase
from wfrecovery.bridge.table.manager import DatabaseManager
from wfrecovery.bridge.table.records import TaskRecord
from wfrecovery.bridge.table.row_identity import Verdict, compare, identity_of, key_text
from wfrecovery.bridge.table.rows import RowData
from wfrecovery.bridge.wording import Wording

VALUE = "Zx9-abcdef0123456789"


@pytest.mark.parametrize(
    "text",
    [
        f"token={VALUE}",
        f"app_secret: {VALUE}",
        f'{{"tenant_access_token": "{VALUE}", "expire": 7200}}',
        f"{{'api_key': '{VALUE}'}}",
        f"GET /x?api-key={VALUE}&page=2",
        f"COMFY_API_KEY={VALUE}",
        f"password = {VALUE}",
        f"Authorization: Bearer {VALUE}",
        f"bearer  {VALUE}",
        f"https://open.feishu.cn/open-apis/bot/v2/hook/{VALUE}",
        "OpenAI says sk-Zx9abcdef0123456789 is wrong",
        "t-Zx9abcdef0123456789 is not valid",
        "hf-Zx9abcdef0123456789",
        f"API key: {VALUE}",
        f"secret key = {VALUE}",
        f"Incorrect API key provided: {VALUE}. You can find",
        f"Authorization: Key {VALUE}",
        f"Authorization: ApiKey {VALUE}",
        f"api_key: '''{VALUE}'''",
        f"-----BEGIN RSA PRIVATE KEY-----\\n{VALUE}\\n-----END RSA PRIVATE KEY-----",
        f"-----BEGIN PRIVATE KEY-----\n{VALUE}\nand cut off",
    ],
)
def test_what_looks_like_a_secret_is_hidden(text: str) -> None:
    assert "abcdef0123456789" not in redact(text)
    assert HIDDEN in redact(text)


def test_the_rest_of_the_line_stays() -> None:
    assert redact("GET /x?api-key=abcdefgh12&page=2 failed") == f"GET /x?api-key={HIDDEN}&page=2 failed"
    assert redact('{"token": "abcdefgh12", "code": 5}') == f'{{"token": "{HIDDEN}", "code": 5}}'


@pytest.mark.parametrize(
    "text",
    [
        "KSampler (node 2): boom",
        "Value not in list: ckpt_name: 'a.safetensors' not in []",
        "Feishu says 10014 app secret invalid → FEISHU_APP_SECRET does not belong to FEISHU_APP_ID",
        "Token indices sequence length is longer than 77",
        "产品名 '杯子' · 模特名 '小林' stands in no row",
        "expected 3 tokens, got 5",
        "task-1234567890123 is lost",
        "missing: ['api_key', 'model', 'prompt'], (width, height) of [\"1\", 0]",
        "the sort key: name; a monkey: 5; Press any key: it goes on",
        "[('row_number', 'product_name')] {'name': 'seed', 'value': 'fixed'}",
    ],
)
def test_ordinary_messages_are_left_as_they_are(text: str) -> None:
    assert redact(text, ("another secret",)) == text


@given(before=st.text(max_size=30), after=st.text(max_size=30), secret=st.text(min_size=4, max_size=40))
def test_a_known_secret_is_hidden_wherever_it_stands(before: str, after: str, secret: str) -> None:
    marked = f"{before} {secret} {after}"
    if secret not in HIDDEN and secret not in before + HIDDEN + after:
        assert secret not in redact(marked, (secret,)).replace(HIDDEN, "")


def test_a_secret_that_is_part_of_another_leaves_nothing_over() -> None:
    assert redact("x abcd-efgh-ijkl y", ("abcd", "abcd-efgh-ijkl")) == f"x {HIDDEN} y"


def test_a_secret_of_a_character_or_two_does_not_eat_the_message() -> None:
    assert redact("a message", ("", "a", "me")) == "a message"


def test_what_is_hidden_is_hidden_once() -> None:
    once = redact(f"app_secret: {VALUE}", (VALUE,))
    assert once == f"app_secret: {HIDDEN}"
    assert redact(once) == once


def test_a_dump_is_cut_and_a_secret_at_the_cut_is_not_half_shown() -> None:
    text = redact("x" * (MAX_MESSAGE - 8) + VALUE, (VALUE,))
    assert len(text) <= MAX_MESSAGE + 2
    assert VALUE[:4] not in text
    assert redact("y" * MAX_MESSAGE) == "y" * MAX_MESSAGE


@pytest.mark.parametrize(
    "secret", ["-----BEGIN X-----\nMIIEvA\n-----END X-----\n", 'ab/c=="q\\x', "pä ß/word+1", "o'neill"]
)
@pytest.mark.parametrize(
    "quoted", [str, str.strip, repr, ascii, json.dumps, quote, quote_plus, lambda text: quote(text, safe="")]
)
def test_a_known_secret_is_hidden_however_a_message_quotes_it(secret: str, quoted: Any) -> None:
    """As Python and JSON write a text, and as it stands in an address."""
    message = redact(f"the node says {quoted(secret)} is wrong", secret_values({"api_key": secret}))
    assert HIDDEN in message
    assert not any(part in message for part in ("MIIEvA", "ab", "c=", "word", "neill"))


@given(
    st.lists(
        st.sampled_from(["api key", "token", "Authorization", ":", "=", " ", "'", '"', "[", "(", "{", ",", "]", HIDDEN])
        | st.sampled_from(
            ["name", "value", "Key", "b", "\\", "#", "?", "&", "abcdef0123", "-----BEGIN PRIVATE KEY-----"]
        ),
        max_size=14,
    )
)
def test_once_is_enough_whatever_it_is_made_of(parts: list[str]) -> None:
    once = redact("".join(parts))
    assert redact(once) == once


# ------------------------------------------------------------------ addresses

KEY = "abcdef0123456789"
#: Each with what must be left of it.
ADDRESSES = {
    f"for url: https://a.com/v1/models/x:generateContent?key={KEY}": f"a.com/v1/models/x:generateContent?key={HIDDEN}",
    f"exceeded with url: /v1beta/x?alt=json&key={KEY} (Caused by": f"/v1beta/x?alt=json&key={HIDDEN} (Caused by",
    f"proxy http://alice:{KEY}@10.0.0.1:3128'))": f"proxy http://{HIDDEN}@10.0.0.1:3128'))",
    f"socks5h://a:p@{KEY}@proxy.local/x": f"socks5h://{HIDDEN}@proxy.local/x",
    f"https://b.oss.com/a.png?Expires=17&OSSAccessKeyId={KEY}&Signature={KEY}%2F": "https://b.oss.com/a.png?Expires=17&",
    f"https://s3/a.png?X-Amz-Date=1&X-Amz-Signature={KEY}&x=1": f"?X-Amz-Date=1&X-Amz-Signature={HIDDEN}&x=1",
    f"https://cos/a.png?q-sign-algorithm=sha1&q-signature={KEY}": "q-sign-algorithm=sha1&q-signature",
    f"https://blob/a?sv=2024-01-01&sig={KEY}": f"?sv=2024-01-01&sig={HIDDEN}",
    f"https://h/a?token={KEY}&amp;access_token={KEY}": "https://h/a?token",
    f"https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key={KEY}": "webhook/send?key",
    f"https://open.feishu.cn/open-apis/bot/v2/hook/{KEY}": f"/bot/v2/hook/{HIDDEN}",
    f"https://open.feishu.cn/open-apis/bot/hook/{KEY}": f"/bot/hook/{HIDDEN}",
    f"https://a.com/back#access_token={KEY}&expires_in=7200": f"#access_token={HIDDEN}&expires_in",
}


@pytest.mark.parametrize(("text", "left"), ADDRESSES.items())
def test_what_is_secret_in_an_address_is_hidden_everywhere(text: str, left: str) -> None:
    data = {"note": text, "list": [text, {"deep": [text]}], "prompt": "a cup"}
    for clean in (redact(text), without_secret_texts(data)["note"]):
        assert KEY not in clean
        assert left in clean
    assert redact(redact(text)) == redact(text)
    assert KEY not in json.dumps(without_secret_texts(data))


def test_a_google_key_is_known_by_its_shape() -> None:
    assert redact(f"the key AIzaSy{'D9tSrke72P' * 3}abc is not valid") == f"the key {HIDDEN} is not valid"


@pytest.mark.parametrize(
    "text",
    [
        "http://127.0.0.1:8188/view?filename=row2.png&type=output&subfolder=img",
        "https://a.com/list?sort=asc&sort_key=name&page_token=abcdefgh&keyword=cup",
        "ssh://git@github.com/x/y and http://host:8188/a@b",
    ],
)
def test_the_rest_of_an_address_stays(text: str) -> None:
    assert redact(text) == text
    assert without_secret_texts({"text": text}) == {"text": text}


@pytest.mark.parametrize(
    "text",
    ["key: a red t-shirt-with-stripes, token = 1girl", "密码: 123456789", "sk-style-photography-of-a-cup", "a & b?"],
)
def test_ordinary_texts_of_a_row_stay(text: str) -> None:
    assert without_secret_texts({"note": text, "cells": [text]}) == {"note": text, "cells": [text]}


@pytest.mark.parametrize("picture", [text for text in ADDRESSES if "a.png" in text])
@pytest.mark.parametrize("known", [True, False])
def test_a_row_is_told_apart_by_the_signed_address_of_its_picture(tmp_path: Path, picture: str, known: bool) -> None:
    """Where 产品图 holds a text: it is compared with what stands in the sheet."""
    row = RowData(row_number=2, product_name="杯子", product_image=picture, model_image=picture, prompt=picture)
    cells = {"product_image": picture, "model_image": picture, "prompt": picture, "note": picture}
    table = WorkflowDatabase(tmp_path)
    identity = identity_of(row) if known else None
    table.create(TaskRecord("img_20261123_001", row_number=2, product_name="杯子", row_data=cells, row=identity))
    kept = table.update("img_20261123_001", lambda task: dataclasses.replace(task, title="again"))
    for task in (kept, table.get("img_20261123_001")):
        assert (task.identity.product_image, task.identity.prompt) == (picture, key_text(picture))
        assert compare(task.identity, identity_of(row)) is not Verdict.DIFFERENT
    assert KEY not in str(table.get("img_20261123_001").row_data["note"])


def test_what_nodes_read_of_the_page_s_workflow_stays() -> None:
    """Some take the value of another node's widget from there."""
    workflow = {"extra_pnginfo": {"workflow": {"nodes": [{"widgets_values": list(ADDRESSES)}]}}}
    assert without_secret_texts(workflow) == workflow


# ------------------------------------------------------------------ data


def test_comfyuis_own_secrets_are_taken_out_of_extra_data() -> None:
    extra = {
        "auth_token_comfy_org": VALUE,
        "api_key_comfy_org": VALUE,
        "client_id": "c",
        "extra_pnginfo": {"workflow": {"nodes": [{"widgets_values": ["a", {"api_key": VALUE, "seed": 5}]}]}},
        "row": {"app_secret": VALUE, "Password": VALUE, "product_name": "杯子"},
    }
    before = json.dumps(extra)
    clean = without_secrets(extra, ("auth_token_comfy_org", "api_key_comfy_org"))
    assert VALUE not in json.dumps(clean)
    assert clean == {
        "client_id": "c",
        "extra_pnginfo": {"workflow": {"nodes": [{"widgets_values": ["a", {"seed": 5}]}]}},
        "row": {"product_name": "杯子"},
    }
    assert json.dumps(extra) == before, "the prompt itself still needs them"


def test_names_that_the_host_calls_secret_go_whatever_they_look_like() -> None:
    assert without_secrets({"harmless": VALUE, "kept": 1}, ("harmless",)) == {"kept": 1}


def test_values_that_were_taken_out_are_known_for_cleaning_messages() -> None:
    extra = {"api_key_comfy_org": VALUE, "special": "abc", "client_id": "c", "auth_token": {"no": "text"}}
    assert secret_values(extra, ("special",)) == [VALUE, "abc"]
    assert VALUE not in redact(f"refused {VALUE}", secret_values(extra))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "api_key", "password", "seed", "access_token", "x_secret_key"]), inner)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["a", "auth_token", "b"]), JSON))
def test_no_key_that_names_a_secret_is_left_at_any_depth(data: dict[str, Any]) -> None:
    for key, value in _items(without_secrets(data)):
        assert key in ("a", "b", "seed") or value is None or isinstance(value, bool) or is_number(key, value)


def is_number(key: str, value: Any) -> bool:
    """Only a password may be a number."""
    return isinstance(value, int) and key != "password"


def _items(data: Any) -> Iterator[tuple[str, Any]]:
    for key, value in data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ():
        yield from [(key, value)] if isinstance(data, dict) else []
        yield from _items(value)


SECRET_NAMES = (
    "hf_token cookie Cookie Set-Cookie authorization x-api-key X-API-Key session_id sessionid PHPSESSID "
    "bearer jwt refresh_token refreshToken client_secret pwd passphrase private_key access_key_id sign "
    "signature X-Lark-Signature api_key_comfy_org apiKey APIKey token token_value app_secret "
    "secretAccessKey openai_key userPassword password2 id_token auth FEISHU_APP_SECRET session_token "
    "accesstoken user_token 登录密码"
)
OTHER_NAMES = (
    "fileToken file_token image_token max_tokens token_count tokenizer num_tokens cookies_enabled tokens "
    "key name prompt author client_id sort_key public_key stop_tokens eos_token next_page_token neon_sign "
    "secret_garden design assign workflow_type product_name record_id keywords monkey compass pwd_length "
    "token_id auth_type signal 产品名 task_id"
)


@pytest.mark.parametrize("name", SECRET_NAMES.split())
def test_a_secret_s_name_means_the_same_everywhere(name: str) -> None:
    """In data at any depth, in header lists of both kinds, and in texts of all kinds."""
    shapes: list[Any] = [
        {name: VALUE},
        {"a": [{"b": {name: VALUE}}]},
        {name: {"inner": VALUE}},
        {name: [VALUE]},
        [{"name": name, "value": VALUE}],
        [{"header": name, "val": VALUE, "on": True}],
        [[name, VALUE]],
    ]
    for shape in shapes:
        data = {"kept": 1, "in": shape}
        assert VALUE not in json.dumps(without_secrets(data)), shape
        assert without_secrets(data)["kept"] == 1
        assert secret_values(data) == [VALUE], shape
    for text in (
        f"{name}={VALUE}",
        f"{name}: {VALUE} failed",
        json.dumps({name: VALUE}, ensure_ascii=False),
        str({name: VALUE}),
        json.dumps(json.dumps({name: VALUE}, ensure_ascii=False), ensure_ascii=False),
        f"GET https://host/x?{name}={VALUE}&page=2",
        f"{name}: Basic {VALUE}",
        f"{name}='two words {VALUE}' is wrong",
        str([(name, VALUE)]),
        str({"headers": [[name, VALUE]], "on": True}),
        json.dumps({"headers": [[name, VALUE]]}, ensure_ascii=False),
        str([{"name": name, "value": VALUE, "on": True}]),
        json.dumps(json.dumps([{"key": name, "value": VALUE}], ensure_ascii=False), ensure_ascii=False),
        str({name: [VALUE, f"b{VALUE}"]}),
        str({name: VALUE.encode()}),
    ):
        assert VALUE not in redact(text), text


@pytest.mark.parametrize("name", OTHER_NAMES.split())
def test_what_only_sounds_like_a_secret_stays(name: str) -> None:
    data = {"in": [{name: "boxcnABCDEF123"}], "headers": [{"name": name, "value": "x"}], "pairs": [[name, "x"]]}
    assert without_secrets(data) == data
    assert secret_values(data) == []
    text = f'{name}: boxcnABCDEF123, {{"{name}": "boxcnABCDEF123"}}, {data["headers"]}, {data["pairs"]}'
    assert redact(text) == text


@pytest.mark.parametrize("name", ["token", "api_key", "cookie", "x-api-key"])
@pytest.mark.parametrize("value", [512, 0.5, True, False, None])
def test_numbers_and_truth_values_are_no_secrets(name: str, value: Any) -> None:
    assert without_secrets({name: value}) == {name: value}
    text = f"{name}: {json.dumps(value)}"
    assert redact(text) == text


def test_a_password_may_be_a_number() -> None:
    asked = {"password": True, "password_required": 1}
    assert without_secrets({**asked, "pwd": 20261123}) == asked
    assert secret_values({"password": 20261123}) == ["20261123"]
    assert redact("password=20261123") == f"password={HIDDEN}"


def test_the_picture_in_a_cell_and_the_words_of_a_prompt_stay() -> None:
    row = {
        "产品图": {"type": "embed-image", "fileToken": "boxcnABC", "link": "https://x"},
        "提示词": "a secret garden: rose, password: swordfish, Bearer of light",
    }
    assert without_secrets(row) == row
    assert redact("a secret garden: rose") == "a secret garden: rose"


def test_a_graph_s_own_parts_stay() -> None:
    """What the page draws: inputs by name without a value of their own, and links as short lists."""
    node = {
        "id": 5,
        "inputs": [{"name": "api_key", "type": "STRING", "widget": {"name": "api_key"}, "link": None}],
        "widgets_values": ["a cat", 512, True],
    }
    workflow = {"nodes": [node], "links": [[1, 4, 0, 5, 0, "MODEL"]]}
    assert without_secrets({"extra_pnginfo": {"workflow": workflow}}) == {"extra_pnginfo": {"workflow": workflow}}


def test_a_cookie_is_hidden_to_its_end() -> None:
    assert redact(f"Cookie: a=b; sid={VALUE}; lang=zh\nnext line") == f"Cookie: {HIDDEN}\nnext line"


def test_what_is_secret_in_a_cookie_and_behind_a_scheme_is_known_by_itself() -> None:
    extra = {"cookie": "lang=zh; sid=S3CRET-cookie", "headers": [["Authorization", "Bearer S3CRET-header"]]}
    said = redact("no S3CRET-cookie, no S3CRET-header", secret_values(extra))
    assert said == f"no {HIDDEN}, no {HIDDEN}"


def test_a_sentence_is_no_name() -> None:
    notes = [{"name": "Auntie's secret", "value": "vanilla"}, ["the password", "is vanilla"]]
    assert without_secrets({"notes": notes}) == {"notes": notes}


def test_a_record_is_written_without_secrets_whoever_made_it(tmp_path: Path) -> None:
    cells = {"row_number": 2, "产品图": {"fileToken": "boxcn"}, "hf_token": VALUE, "calls": [{"cookie": VALUE}]}
    table = WorkflowDatabase(tmp_path)
    table.create(TaskRecord("img_20261123_001", row_number=2, row_data=cells))
    assert VALUE not in (tmp_path / "wfrecovery/active/img_20261123_001.json").read_text("utf-8")
    assert table.get("img_20261123_001").row_data["产品图"] == {"fileToken": "boxcn"}


@pytest.mark.parametrize("said", [str, lambda text: Wording(text, text)], ids=["a text", "in two languages"])
def test_what_a_program_says_of_its_failure_is_written_without_secrets(tmp_path: Path, said: Any) -> None:
    db = DatabaseManager(tmp_path)
    task_id = db.add_workflow_task({"row_number": 2, "product_name": "杯子"}, "图片合成")
    assert db.mark_task_failed(
        task_id, said(f"HTTP 401 of https://x/?access_token={VALUE}: Authorization: Bearer {VALUE}")
    )
    record = json.dumps(db.get_task(task_id))
    assert "HTTP 401" in record
    assert VALUE not in record


def test_short_words_inside_a_secret_are_not_hidden_everywhere() -> None:
    extra = {"auth": {"type": "basic", "user": "admin", "password": VALUE}}
    assert secret_values(extra) == [VALUE]


@pytest.mark.parametrize(
    "shape", ["hf_AbCdEfGh12345678", "ghp_AbCdEfGh12345678", "AKIAABCDEFGHIJKLMNOP", "eyJhbGciOiJI.eyJzdWIiOiIx.abc-_9"]
)
def test_shapes_that_are_known(shape: str) -> None:
    assert shape not in redact(f"401 for {shape}")


@given(st.text(max_size=300))
def test_any_text_can_be_cleaned_and_once_is_enough(text: str) -> None:
    once = redact(text)
    assert redact(once) == once


def test_a_long_text_takes_no_long_time() -> None:
    listed = ("['a','" * 30_000, "{'name':'" * 30_000, "api key " * 30_000, "-----BEGIN PRIVATE KEY-----" * 10_000)
    plain = ("a" * 300_000, "a:" * 100_000, "token=" * 50_000, "'\"" * 100_000, "key: " + " " * 200_000)
    for text in (*plain, *listed, "Authorization: " + "a " * 100_000, "token: [" * 30_000):
        started = time.process_time()
        redact(text)
        assert time.process_time() - started < 5
