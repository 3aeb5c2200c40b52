"""Settings: the environment first, then `config.toml`. No credential has a default."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from .documents import sheet_of, spreadsheet_of
from .wording import Wording, wording_of

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

CONFIG_NAME: Final = "config.toml"
FEISHU_DOMAIN: Final = "https://open.feishu.cn"
#: A task that took ComfyUI down this often is given up.
MAX_ATTEMPTS: Final = 3
#: Minutes without any movement after which the group hears of it.
STANDSTILL_MINUTES: Final = 15


class LostPrompts(str, Enum):
    """What to do with lost prompts that have no row."""

    ASK = "ask"
    AUTO = "auto"
    OFF = "off"


class UnknownEnd(str, Enum):
    """What to do with a row that may have been rendered: no answer came to its request, or its task is forgotten."""

    #: it may have been rendered and paid for: a person decides
    ASK = "ask"
    #: send it again, which may be paid for twice
    AGAIN = "again"


class SettingsError(ValueError):
    """A setting cannot be used; the message names it and says what it should be."""

    def __init__(self, what: Wording | str) -> None:
        self.wording = wording_of(what)
        super().__init__(self.wording.en)


@dataclass(frozen=True)
class Columns:
    """The titles of the sheet's columns."""

    product_image: str = "产品图"
    product_name: str = "产品名"
    model_image: str = "模特图"
    model_name: str = "模特名"
    prompt: str = "提示词"
    image_status: str = "图片是否已处理"
    composite_image: str = "产品模特合成图"
    video_status: str = "视频是否已实现"
    #: for a link to the video; without a title there is none
    video_link: str = ""
    #: which task a row was entered for; a sheet need not have it
    task_id: str = "任务号"


@dataclass(frozen=True)
class Settings:
    """Everything that can be set. `missing` names what publishing lacks; without any of it, it is on."""

    feishu_app_id: str = ""
    feishu_app_secret: str = field(default="", repr=False)
    #: what the sheet's address has after /sheets/ or /wiki/ (the whole address will do)
    feishu_spreadsheet_token: str = field(default="", repr=False)
    #: whether that was the address of a wiki's page, which does not tell the spreadsheet
    in_wiki: bool = False
    feishu_sheet_name: str = ""
    feishu_domain: str = FEISHU_DOMAIN
    columns: Columns = field(default_factory=Columns)
    #: whose client `main.py` uses: module:factory, or runninghub; empty: the ComfyUI at `comfyui_url`
    engine: str = ""
    comfyui_url: str = "http://127.0.0.1:8188"
    runninghub_api_key: str = field(default="", repr=False)
    runninghub_url: str = ""
    #: by workflow type which workflow of the cloud renders it, and which node takes what: the table [runninghub]
    runninghub: Mapping[str, Any] = field(default_factory=dict)
    output_dir: str = ""
    #: also write 失败 into the status cell of a failed row
    write_failed: bool = True
    lost_prompts: LostPrompts = LostPrompts.ASK
    unknown: UnknownEnd = UnknownEnd.ASK
    max_attempts: int = MAX_ATTEMPTS
    #: so many renders one run of `main.py` sends, what it recovers included; 0: as many as there are
    max_renders: int = 0
    #: record prompts that have no row
    record_other_prompts: bool = True
    #: days after which a finished record leaves the table, together with its graph; 0: never. Results always stay
    keep_days: int = 0
    #: title of a column for a link to the video in Feishu's Drive; empty: status only
    video_link_column: str = ""
    #: the Drive folder for the videos: what its address has after /drive/folder/ (the whole address will do)
    video_folder_token: str = field(default="", repr=False)
    #: seconds that a result which comes in alone waits for the next one of its batch; 0: not at all. None: as long as
    #: suits who delivers it
    gather_seconds: int | None = None
    #: minutes after which the group hears that nothing moves although there is work; 0: never
    standstill_minutes: int = STANDSTILL_MINUTES
    #: group bot for one summary after a recovery or batch, and for a batch that stands still; both are secrets
    feishu_webhook_url: str = field(default="", repr=False)
    feishu_webhook_secret: str = field(default="", repr=False)
    #: of what the group is told: zh or en
    language: str = "zh"

    @property
    def sheet_columns(self) -> Columns:
        """The titles to look for, with that of the links where it is set."""
        return dataclasses.replace(self.columns, video_link=self.video_link_column or self.columns.video_link)

    @property
    def missing(self) -> tuple[str, ...]:
        """Names of the settings without which nothing can be published."""
        return tuple(name.upper() for name in _REQUIRED_FOR_FEISHU if not getattr(self, name))

    @property
    def feishu_configured(self) -> bool:
        return not self.missing

    @property
    def tells_group(self) -> bool:
        """Whether a plugin with these settings tells the group."""
        return self.feishu_configured and bool(self.feishu_webhook_url)

    @property
    def document(self) -> str | None:
        """By what records and other programs know the sheet: a digest, for its token is a secret. As soon as Feishu has
        said what is behind a wiki's address, it is that of the spreadsheet. None where it is not set up."""
        return self._digest(self.spreadsheet or self.feishu_spreadsheet_token)

    @property
    def document_as_given(self) -> str | None:
        """The same by the address that is set, before Feishu was asked."""
        return self._digest(self.feishu_spreadsheet_token)

    @property
    def sheet(self) -> str | None:
        """The sheet that has this title now, by `sheet_key`; None where nobody in this process has asked Feishu."""
        return sheet_of(self.document or "")

    def sheet_key(self, sheet_id: str) -> str:
        """A digest of a sheet by its own id, which it keeps when people rename it."""
        place = (self.feishu_domain.lower(), self.spreadsheet or self.feishu_spreadsheet_token, sheet_id)
        return hashlib.sha256("\n".join(place).encode()).hexdigest()[:16]

    @property
    def spreadsheet(self) -> str | None:
        """The spreadsheet's own token, where it is known."""
        return spreadsheet_of(self.feishu_domain, self.feishu_spreadsheet_token)

    def _digest(self, token: str) -> str | None:
        if not self.feishu_configured:
            return None
        place = (self.feishu_domain.lower(), token, self.feishu_sheet_name)
        return hashlib.sha256("\n".join(place).encode()).hexdigest()[:16]

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must never be shown."""
        feishu = (self.feishu_app_secret, self.feishu_webhook_url, self.feishu_webhook_secret)
        values = (*feishu, self.runninghub_api_key)
        return tuple(value for value in values if value)


#: More attempts, renders, days, or minutes than anybody means.
_MOST: Final = 100_000
_REQUIRED_FOR_FEISHU: Final = ("feishu_app_id", "feishu_app_secret", "feishu_spreadsheet_token", "feishu_sheet_name")
_CHOICES: Final[Mapping[str, type[Enum]]] = {"lost_prompts": LostPrompts, "unknown": UnknownEnd}
_TABLES: Final = ("columns", "runninghub")
#: What the page may set, where neither the environment nor the file does.
PAGE_SETTINGS: Final = (
    "lost_prompts",
    "max_attempts",
    "record_other_prompts",
    "write_failed",
    "keep_days",
    "standstill_minutes",
)
#: What only counts where `main.py` runs.
_OF_MAIN_PY: Final = ("unknown", "max_renders")
_VARIABLES: Final[Mapping[str, str]] = {
    **{item.name: item.name.upper() for item in dataclasses.fields(Settings) if item.name.startswith("feishu_")},
    "comfyui_url": "COMFYUI_URL",
    "runninghub_api_key": "RUNNINGHUB_API_KEY",
    "runninghub_url": "RUNNINGHUB_URL",
    "output_dir": "WFRECOVERY_OUTPUT",
    **{
        name: f"WFRECOVERY_{name.upper()}"
        for name in (*PAGE_SETTINGS, *_OF_MAIN_PY, "gather_seconds", "engine", "video_link_column", "language")
    },
    "video_folder_token": "WFRECOVERY_VIDEO_FOLDER",
}


@dataclass(frozen=True)
class _Address:
    """What people copy out of a browser's address line, whole or in part."""

    #: what stands before the token
    before: tuple[str, ...]
    expected: Wording


_ADDRESSES: Final[Mapping[str, _Address]] = {
    "feishu_spreadsheet_token": _Address(
        ("sheets", "wiki"),
        Wording(
            "the address of an online spreadsheet (https://….feishu.cn/sheets/… or …/wiki/…), or the part of it after "
            "/sheets/ or /wiki/",
            "在线电子表格的网址（https://….feishu.cn/sheets/… 或 …/wiki/…），或网址里 /sheets/、/wiki/ 后面的那一段",
        ),
    ),
    "video_folder_token": _Address(
        ("folder",),
        Wording(
            "the address of a folder in Drive (https://….feishu.cn/drive/folder/…), or the part of it after /folder/",
            "云空间文件夹的网址（https://….feishu.cn/drive/folder/…），或网址里 /folder/ 后面的那一段",
        ),
    ),
}
#: What other addresses of Feishu's lead to.
_PLACES: Final[Mapping[str, Wording]] = {
    "base": Wording("a Bitable, which is not supported yet", "多维表格（暂不支持）"),
    "sheets": Wording("a spreadsheet", "电子表格"),
    "wiki": Wording("a wiki", "知识库"),
    "file": Wording("an uploaded file", "上传的文件"),
    "drive": Wording("Drive, or a folder in it", "云空间或其中的文件夹"),
    "slides": Wording("slides", "幻灯片"),
    **dict.fromkeys(("docx", "docs", "doc"), Wording("a document", "文档")),
    **dict.fromkeys(("mindnotes", "mindnote"), Wording("a mind map", "思维笔记")),
}
_WEB_ADDRESS: Final = re.compile(r"https?://[^\s<>\"'，。]*")
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]+")
#: What may stand where a token should be: pages of the wiki and of Drive as a whole.
_NO_TOKENS: Final = frozenset({"space", "settings", "home", "workspace", "me", "shared"})


def load_settings(
    config: str | Path | None = None,
    environ: Mapping[str, str] | None = None,
    *,
    page: Mapping[str, Any] | None = None,
) -> Settings:
    """Read the settings from the environment, then from `WFRECOVERY_CONFIG`, or from `config` if that is there, then
    from `page`: what was set in ComfyUI's page.

    Raises SettingsError, which never quotes a value, only names.
    """
    values, tables, _ = _layers(config, environ)
    values = {**{name: value for name, value in (page or {}).items() if name in PAGE_SETTINGS}, **values}
    found = {name: typed(name, value) for name, value in values.items()}
    runninghub = _table("runninghub", tables["runninghub"])
    in_wiki = re.search(r"(?:^|/)wiki/", str(values.get("feishu_spreadsheet_token") or "").strip()) is not None
    return Settings(columns=_columns(tables["columns"]), runninghub=runninghub, in_wiki=in_wiki, **found)


def fixed_settings(config: str | Path | None = None, environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Which of the page's settings are decided elsewhere: by name, "environment" or the name of the file.

    Raises SettingsError.
    """
    _, _, sources = _layers(config, environ)
    return {name: source for name, source in sources.items() if name in PAGE_SETTINGS}


def config_file(config: str | Path | None = None, environ: Mapping[str, str] | None = None) -> Path | None:
    """The file that settings are read from, there or not: the one that `WFRECOVERY_CONFIG` names, else `config`."""
    named = (os.environ if environ is None else environ).get("WFRECOVERY_CONFIG")
    return Path(named) if named else (Path(config) if config else None)


def _layers(
    config: str | Path | None, environ: Mapping[str, str] | None
) -> tuple[dict[str, Any], dict[str, Any], dict[str, str]]:
    """Values, tables, and where each value comes from."""
    environ = os.environ if environ is None else environ
    named = environ.get("WFRECOVERY_CONFIG")
    path = config_file(config, environ)
    if named and path is not None and not path.is_file():
        raise SettingsError(f"WFRECOVERY_CONFIG names {path}, which is not there")
    values = _read_file(path) if path is not None and path.is_file() else {}
    tables = {name: values.pop(name, {}) for name in _TABLES}
    sources = dict.fromkeys(values, CONFIG_NAME)
    for name, variable in _VARIABLES.items():
        if environ.get(variable, "").strip():
            values[name] = environ[variable].strip()
            sources[name] = "environment"
    return values, tables, sources


def _read_file(path: Path) -> dict[str, Any]:
    try:
        # utf-8-sig: Windows' Notepad writes a mark at the beginning
        data = tomllib.loads(path.read_text("utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not valid TOML: {str(error).splitlines()[0]}") from None
    values = {key.lower(): value for key, value in data.items()}
    unknown = sorted(values.keys() - _VARIABLES.keys() - set(_TABLES))
    if unknown:
        raise SettingsError(
            f"{path}: unknown settings {', '.join(unknown)}; known are {', '.join((*sorted(_VARIABLES), *_TABLES))}"
        )
    return values


def _table(name: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise SettingsError(f"[{name}] is a table")
    return value


def _columns(titles: Any) -> Columns:
    known = {item.name for item in dataclasses.fields(Columns)}
    if (
        not isinstance(titles, dict)
        or not set(titles) <= known
        or not all(isinstance(title, str) for title in titles.values())
    ):
        raise SettingsError(f"[columns] takes titles as texts, for {', '.join(sorted(known))}")
    return Columns(**titles)


def typed(name: str, value: Any) -> Any:
    """`value` as the setting `name` takes it; raises SettingsError that says what it should be."""
    variable = _VARIABLES[name]
    if name in ("write_failed", "record_other_prompts"):
        if isinstance(value, bool):
            return value
        if str(value).lower() in ("1", "true", "yes", "on", "0", "false", "no", "off"):
            return str(value).lower() in ("1", "true", "yes", "on")
        raise SettingsError(f"{variable} is true or false")
    if name in ("max_attempts", "max_renders", "keep_days", "standstill_minutes", "gather_seconds"):
        least = 1 if name == "max_attempts" else 0
        text = str(value)
        if text.isascii() and text.isdecimal() and len(text) <= 6 and least <= int(text) <= _MOST:
            return int(text)
        raise SettingsError(f"{variable} is a whole number from {least} to {_MOST}")
    if name in _CHOICES:
        choices = _CHOICES[name]
        try:
            return choices(value)
        except ValueError:
            raise SettingsError(f"{variable} is {' or '.join(choice.value for choice in choices)}") from None
    if not isinstance(value, str):
        raise SettingsError(f"{variable} is a text")
    if name == "language":
        if value[:2].lower() not in ("zh", "en"):
            raise SettingsError(f"{variable} is zh or en")
        return value[:2].lower()
    if name in _ADDRESSES:
        return _token(variable, value, _ADDRESSES[name])
    if name in ("feishu_domain", "comfyui_url", "runninghub_url"):
        return _origin(variable, value)
    return value


def _token(variable: str, value: str, address: _Address) -> str:
    """The token in an address, or `value` where it is nothing but one. Hosts differ: feishu.cn, larksuite.com,
    larkoffice.com, an organisation's own."""
    found = _WEB_ADDRESS.search(value)
    path = re.split("[?#]", found[0] if found else value.strip(), maxsplit=1)[0]
    parts = [part for part in path.rpartition("://")[2].split("/") if part]
    if not found and len(parts) <= 1:
        parts = [address.before[0], *parts]
    token = next((after for name, after in pairwise(parts) if name in address.before), "")
    if (_TOKEN.fullmatch(token) and token not in _NO_TOKENS) or not value.strip():
        return token
    place = next((_PLACES[part] for part in parts if part in _PLACES and part not in address.before), None)
    said = Wording(f"{variable} should be ", f"{variable} 应为")
    if place is not None:
        said = Wording(
            f"{variable} is the address of {place.en}; it should be ", f"{variable} 填的是{place.zh}的网址；应为"
        )
    raise SettingsError(said + address.expected)


def _origin(variable: str, value: str) -> str:
    if not value.startswith(("http://", "https://")):
        raise SettingsError(f"{variable} begins with http:// or https://")
    return value.rstrip("/")
