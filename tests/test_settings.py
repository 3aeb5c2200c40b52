"""Settings: the environment wins, what is wrong is named and never quoted, and no secret is shown."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest

from wfrecovery.bridge.settings import Columns, LostPrompts, Settings, SettingsError, fixed_settings, load_settings

FULL = {
    "FEISHU_APP_ID": "cli_1",
    "FEISHU_APP_SECRET": "secret-0123456789",
    "FEISHU_SPREADSHEET_TOKEN": "sheet-0123456789",
    "FEISHU_SHEET_NAME": "商品表",
}


def config(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "config.toml"
    path.write_bytes(text.encode(encoding))
    return path


def test_without_any_settings_everything_has_its_default_and_publishing_is_off() -> None:
    settings = load_settings(environ={})
    assert settings == Settings()
    assert settings.missing == tuple(FULL)
    assert not settings.feishu_configured
    assert settings.secrets == ()
    assert settings.feishu_domain == "https://open.feishu.cn"
    assert settings.comfyui_url == "http://127.0.0.1:8188"
    assert settings.columns.composite_image == "产品模特合成图"


def test_no_credential_has_a_default() -> None:
    empty = Settings()
    credentials = (empty.feishu_app_id, empty.feishu_app_secret, empty.feishu_spreadsheet_token)
    assert (*credentials, empty.feishu_webhook_url, empty.feishu_webhook_secret) == ("", "", "", "", "")


@pytest.mark.parametrize("name", FULL)
def test_a_missing_setting_is_named(name: str) -> None:
    assert load_settings(environ={**FULL, name: "  "}).missing == (name,)
    assert load_settings(environ=FULL).missing == ()


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    path = config(tmp_path, 'feishu_app_id = "cli_file"\nfeishu_sheet_name = "from file"\nmax_attempts = 7\n')
    settings = load_settings(path, {"FEISHU_APP_ID": " cli_env ", "WFRECOVERY_OUTPUT": "/out"})
    assert settings.feishu_app_id == "cli_env"
    assert settings.feishu_sheet_name == "from file"
    assert settings.max_attempts == 7
    assert settings.output_dir == "/out"


def test_an_empty_variable_does_not_hide_the_file(tmp_path: Path) -> None:
    path = config(tmp_path, 'FEISHU_APP_ID = "cli_file"\n')
    assert load_settings(path, {"FEISHU_APP_ID": ""}).feishu_app_id == "cli_file"


def test_wfrecovery_config_names_another_file(tmp_path: Path) -> None:
    path = config(tmp_path, 'feishu_app_id = "cli_named"\n')
    other = tmp_path / "other.toml"
    other.write_text('feishu_app_id = "cli_default"\n', encoding="utf-8")
    assert load_settings(other, {"WFRECOVERY_CONFIG": str(path)}).feishu_app_id == "cli_named"


def test_a_named_config_that_is_not_there_is_an_error_and_a_default_one_is_not(tmp_path: Path) -> None:
    absent = tmp_path / "absent.toml"
    with pytest.raises(SettingsError, match=r"WFRECOVERY_CONFIG names .*absent\.toml, which is not there"):
        load_settings(environ={"WFRECOVERY_CONFIG": str(absent)})
    assert load_settings(absent, {}) == Settings()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_file_saved_by_notepad_is_read(encoding: str, tmp_path: Path) -> None:
    path = config(tmp_path, 'feishu_sheet_name = "商品表"\r\n[columns]\r\nproduct_name = "品名"\r\n', encoding)
    settings = load_settings(path, {})
    assert settings.feishu_sheet_name == "商品表"
    assert settings.columns == Columns(product_name="品名")


def test_columns_can_be_renamed_one_by_one(tmp_path: Path) -> None:
    columns = load_settings(config(tmp_path, '[columns]\nprompt = "Prompt"\n'), {}).columns
    assert (columns.prompt, columns.product_name) == ("Prompt", "产品名")


@pytest.mark.parametrize(
    "text", ['columns = "x"', "columns = 5", "[columns]\nproduct_name = 5", '[columns]\ncolour = "rot-9876"']
)
def test_columns_that_cannot_be_used_are_explained(text: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="composite_image") as caught:
        load_settings(config(tmp_path, text), {})
    assert "rot-9876" not in str(caught.value)


def test_unknown_keys_are_named_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="unknown settings feishu_app_sekret") as caught:
        load_settings(config(tmp_path, 'feishu_app_sekret = "secret-0123456789"\n'), {})
    assert "feishu_app_secret" in str(caught.value)
    assert "secret-0123456789" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WFRECOVERY_WRITE_FAILED", "perhaps-9876"),
        ("WFRECOVERY_RECORD_OTHER_PROMPTS", "2"),
        ("WFRECOVERY_MAX_ATTEMPTS", "0"),
        ("WFRECOVERY_MAX_ATTEMPTS", "-1"),
        ("WFRECOVERY_MAX_ATTEMPTS", "many-9876"),
        ("WFRECOVERY_MAX_ATTEMPTS", "²"),
        ("WFRECOVERY_KEEP_DAYS", "-1"),
        ("WFRECOVERY_KEEP_DAYS", "1.5"),
        ("WFRECOVERY_KEEP_DAYS", "9" * 5000),
        ("WFRECOVERY_STANDSTILL_MINUTES", "soon-9876"),
        ("WFRECOVERY_GATHER_SECONDS", "long-9876"),
        ("WFRECOVERY_GATHER_SECONDS", "-1"),
        ("WFRECOVERY_LOST_PROMPTS", "never-9876"),
        ("WFRECOVERY_LANGUAGE", "deutsch-9876"),
        ("FEISHU_DOMAIN", "open.feishu.cn"),
        ("COMFYUI_URL", "127.0.0.1:8188"),
    ],
)
def test_a_bad_value_is_named_and_not_quoted(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name) as caught:
        load_settings(environ={name: value})
    if len(value) > 2:
        assert value not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("text", ["feishu_app_secret = 123456789", "feishu_sheet_name = ['a']", "max_attempts = true"])
def test_a_value_of_the_wrong_type_in_the_file_is_named_and_not_quoted(text: str, tmp_path: Path) -> None:
    name, value = text.split(" = ")
    with pytest.raises(SettingsError, match=name.upper()) as caught:
        load_settings(config(tmp_path, text), {})
    assert value not in str(caught.value)


def test_a_file_that_is_no_toml_says_where_and_shows_no_value(tmp_path: Path) -> None:
    path = config(tmp_path, "feishu_app_secret = secret-0123456789\n")
    with pytest.raises(SettingsError, match=r"config\.toml is not valid TOML.*line 1") as caught:
        load_settings(path, {})
    assert "0123456789" not in str(caught.value)


def test_a_file_in_another_encoding_is_explained(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="not valid TOML"):
        load_settings(config(tmp_path, 'feishu_sheet_name = "商品表"', "gbk"), {})


@pytest.mark.parametrize(("text", "value"), [("1", True), ("TRUE", True), ("on", True), ("no", False), ("Off", False)])
def test_switches_are_read_in_the_usual_words(text: str, value: bool) -> None:
    assert load_settings(environ={"WFRECOVERY_WRITE_FAILED": text}).write_failed is value


def test_the_file_may_use_tomls_own_types(tmp_path: Path) -> None:
    settings = load_settings(config(tmp_path, 'write_failed = false\nmax_attempts = 5\nlost_prompts = "auto"\n'), {})
    assert (settings.write_failed, settings.max_attempts, settings.lost_prompts) == (False, 5, LostPrompts.AUTO)


def test_days_to_keep_records_are_for_ever_unless_set() -> None:
    assert load_settings(environ={}).keep_days == 0
    assert load_settings(environ={"WFRECOVERY_KEEP_DAYS": "90"}).keep_days == 90
    assert load_settings(environ={"WFRECOVERY_KEEP_DAYS": "0"}).keep_days == 0


def test_a_standstill_is_told_after_fifteen_minutes_unless_set() -> None:
    assert load_settings(environ={}).standstill_minutes == 15
    assert load_settings(environ={"WFRECOVERY_STANDSTILL_MINUTES": "60"}).standstill_minutes == 60
    assert load_settings(environ={"WFRECOVERY_STANDSTILL_MINUTES": "0"}).standstill_minutes == 0
    assert load_settings(environ={}, page={"standstill_minutes": 5}).standstill_minutes == 5


def test_how_long_a_result_waits_for_another_one_is_not_set_by_itself(tmp_path: Path) -> None:
    assert load_settings(environ={}).gather_seconds is None
    assert load_settings(environ={"WFRECOVERY_GATHER_SECONDS": "0"}).gather_seconds == 0
    assert load_settings(config(tmp_path, "gather_seconds = 30\n"), {}).gather_seconds == 30


def test_the_page_decides_where_neither_environment_nor_file_does(tmp_path: Path) -> None:
    path = config(tmp_path, "max_attempts = 5\nwrite_failed = false\n")
    environ = {"WFRECOVERY_WRITE_FAILED": "true"}
    page = {
        "max_attempts": 9,
        "write_failed": False,
        "keep_days": 30,
        "lost_prompts": "off",
        "feishu_domain": "http://x",
    }
    settings = load_settings(path, environ, page=page)
    assert (settings.max_attempts, settings.write_failed) == (5, True)
    assert (settings.keep_days, settings.lost_prompts) == (30, LostPrompts.OFF)
    assert settings.feishu_domain == "https://open.feishu.cn", "not the page's to set"
    assert fixed_settings(path, environ) == {"max_attempts": "config.toml", "write_failed": "environment"}


def test_addresses_lose_their_last_slash() -> None:
    settings = load_settings(environ={"FEISHU_DOMAIN": "https://open.larksuite.com/", "COMFYUI_URL": "http://h:1//"})
    assert (settings.feishu_domain, settings.comfyui_url) == ("https://open.larksuite.com", "http://h:1")


HOSTS = ("team.feishu.cn", "team.larksuite.com", "team.sg.larksuite.com", "team.larkoffice.com", "docs.team.example")
ENDS = ("", "/", "?sheet=sid001", "?from=from_copylink#", "#share", "?a=/sheets/other#/wiki/other", "/?a=1")


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("place", ["sheets", "wiki", "space/sheets"])
def test_the_spreadsheet_may_be_given_by_its_address(host: str, place: str) -> None:
    for end in ENDS:
        for begin in ("https://", "http://", "", " 【商品表】https://"):
            given = f"{begin}{host}/{place}/Sh_tcn-1{end}"
            settings = load_settings(environ={**FULL, "FEISHU_SPREADSHEET_TOKEN": given})
            assert settings.feishu_spreadsheet_token == "Sh_tcn-1", given


@pytest.mark.parametrize("given", ["shtcn1", "shtcn1/", "shtcn1?sheet=a", "shtcn1#a", "/sheets/shtcn1", "wiki/shtcn1"])
def test_the_part_of_the_address_will_do(given: str) -> None:
    assert load_settings(environ={"FEISHU_SPREADSHEET_TOKEN": given}).feishu_spreadsheet_token == "shtcn1"


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize(
    ("place", "en", "zh"),
    [
        ("base/TOKEN", "a Bitable, which is not supported yet", "多维表格（暂不支持）"),
        ("share/base/form/TOKEN", "a Bitable", "多维表格"),
        ("base/TOKEN?table=tbl1&view=vew1", "a Bitable", "多维表格"),
        ("docx/TOKEN", "a document", "文档"),
        ("docs/TOKEN", "a document", "文档"),
        ("drive/folder/TOKEN", "Drive, or a folder in it", "云空间"),
        ("drive/me/", "Drive", "云空间"),
        ("file/TOKEN", "an uploaded file", "上传的文件"),
        ("slides/TOKEN", "slides", "幻灯片"),
        ("mindnotes/TOKEN", "a mind map", "思维笔记"),
        ("wiki/space/TOKEN", "should be the address", "应为在线电子表格的网址"),
        ("sheets/", "should be the address", "应为在线电子表格的网址"),
        ("minutes/TOKEN", "should be the address", "应为在线电子表格的网址"),
        ("", "should be the address", "应为在线电子表格的网址"),
    ],
)
def test_an_address_of_something_else_is_refused_with_what_it_is(host: str, place: str, en: str, zh: str) -> None:
    for begin in ("https://", ""):
        with pytest.raises(SettingsError) as caught:
            load_settings(environ={"FEISHU_SPREADSHEET_TOKEN": f"{begin}{host}/{place}"})
        told = caught.value.wording
        assert str(caught.value) == told.en
        assert en in told.en
        assert zh in told.zh
        for text in (told.en, told.zh):
            assert text.startswith("FEISHU_SPREADSHEET_TOKEN")
            assert "/sheets/" in text
            assert "/wiki/" in text
        assert "TOKEN" not in told.zh.removeprefix("FEISHU_SPREADSHEET_TOKEN"), "a token is never quoted"


@pytest.mark.parametrize("given", ["sht cn1", "表格", "sht.cn1", "a&b", "https://localhost"])
def test_what_is_no_token_is_refused_and_not_quoted(given: str) -> None:
    with pytest.raises(SettingsError, match="FEISHU_SPREADSHEET_TOKEN should be the address") as caught:
        load_settings(environ={"FEISHU_SPREADSHEET_TOKEN": given})
    assert given not in "".join(traceback.format_exception(caught.value))


def test_an_empty_token_in_the_file_is_a_missing_one(tmp_path: Path) -> None:
    path = config(tmp_path, 'feishu_spreadsheet_token = " "\nvideo_folder_token = ""\n')
    settings = load_settings(path, {})
    assert (settings.feishu_spreadsheet_token, settings.video_folder_token) == ("", "")


def test_an_address_in_the_file_is_cut_as_well(tmp_path: Path) -> None:
    path = config(tmp_path, 'feishu_spreadsheet_token = " https://t.feishu.cn/sheets/shtcn1?sheet=a#b "\n')
    assert load_settings(path, {}).feishu_spreadsheet_token == "shtcn1"


def test_the_video_folder_may_be_given_by_its_address() -> None:
    for given in (
        "fldcn123",
        "https://x.feishu.cn/drive/folder/fldcn123/",
        "https://x.feishu.cn/drive/folder/fldcn123?a=1",
        "https://x.larksuite.com/drive/folder/fldcn123#a",
    ):
        assert load_settings(environ={"WFRECOVERY_VIDEO_FOLDER": given}).video_folder_token == "fldcn123"


@pytest.mark.parametrize(
    ("place", "zh"),
    [("sheets/x1", "电子表格"), ("wiki/x1", "知识库"), ("base/x1", "多维表格"), ("drive/me/", "云空间")],
)
def test_an_address_of_no_folder_is_refused_with_what_it_is(place: str, zh: str) -> None:
    with pytest.raises(SettingsError, match="WFRECOVERY_VIDEO_FOLDER is the address of") as caught:
        load_settings(environ={"WFRECOVERY_VIDEO_FOLDER": f"https://x.feishu.cn/{place}"})
    assert zh in caught.value.wording.zh
    assert "/drive/folder/" in caught.value.wording.zh


def test_the_group_reads_chinese_unless_told_otherwise() -> None:
    assert load_settings(environ={}).language == "zh"
    for given, language in (("en", "en"), ("EN_US", "en"), ("zh-CN", "zh")):
        assert load_settings(environ={"WFRECOVERY_LANGUAGE": given}).language == language


def test_no_secret_is_shown() -> None:
    hook = {"FEISHU_WEBHOOK_URL": "https://open.feishu.cn/open-apis/bot/v2/hook/x-1", "FEISHU_WEBHOOK_SECRET": "hook-9"}
    settings = load_settings(environ={**FULL, **hook})
    for secret in (FULL["FEISHU_APP_SECRET"], FULL["FEISHU_SPREADSHEET_TOKEN"], *hook.values()):
        assert secret not in repr(settings)
    assert {FULL["FEISHU_APP_SECRET"], *hook.values()} <= set(settings.secrets)
