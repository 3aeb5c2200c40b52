"""Secrets stay out of messages and records; what is no secret stays readable."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfrecovery.bridge.redact import HIDDEN, MAX_MESSAGE, redact, secret_values, without_secrets

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
    text = json.dumps(without_secrets(data))
    for key in ("auth_token", "api_key", "password", "access_token", "x_secret_key"):
        assert f'"{key}":' not in text
