"""`doctor`'s questions to Feishu. All of them only read.

What the app may write is asked for, not tried: its scopes with `application/v6/scopes`, its right
to edit the document with `drive/v1/permissions/:token/members/auth`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from email.utils import parsedate_to_datetime
from importlib.metadata import version
from typing import Any, Final
from urllib.parse import quote, urlsplit

import requests

from ..feishu.client import FeishuClient
from ..feishu.errors import ADVICE, NO_SPREADSHEET, FeishuError
from ..feishu.sheet import SheetLayoutError, SheetTable, column_letters
from ..redact import redact
from ..settings import Settings
from ..table.rows import cell_text
from ..wording import Wording
from .checks import Findings, after
from .comfyui import no_answer

#: Where apps are made; an app of one is unknown at the other.
DOMAINS: Final = ("https://open.feishu.cn", "https://open.larksuite.com")
#: Seconds to connect, and between two bytes.
_TIMEOUT: Final = (10.0, 30.0)
#: Seconds before a question is asked again that Feishu was too busy to answer.
_WAITS: Final = (0.5, 1.5)
#: A clock that is kept right is never this far off. The group bot's signature ends after an hour.
CLOCK_SECONDS: Final = 60.0
BOT_SECONDS: Final = 3600.0

#: any one of them will do (from each call's page)
READ_SCOPES: Final = frozenset(
    {
        "sheets:spreadsheet",
        "drive:drive",
        "sheets:spreadsheet:readonly",
        "sheets:spreadsheet:read",
        "drive:drive:readonly",
    }
)
WRITE_SCOPES: Final = frozenset({"sheets:spreadsheet", "drive:drive", "sheets:spreadsheet:write_only"})
#: the one that does for all of the sheet
_SHEET_SCOPE: Final = "sheets:spreadsheet"
UPLOAD_SCOPES: Final = frozenset({"drive:drive", "drive:file", "drive:file:upload"})

_DISABLED: Final = frozenset({99991662, 99991673, 212100})
_IP_DENIED: Final = 99991401
_SCOPE_MISSING: Final = frozenset({99991672, 99991676, 99991679})
_WRONG_APP: Final = frozenset({10003, 10014, 10015, 99991543})
_WRONG_DOMAIN: Final = 1000040351
_NO_PERMISSION: Final = frozenset({90213, 1310213, 91403, 1063002, 1061004})

TITLES: Final = {
    "credentials": Wording("Feishu settings", "飞书设置"),
    "feishu": Wording("connection to Feishu", "连接飞书"),
    "domain": Wording("FEISHU_DOMAIN", "FEISHU_DOMAIN"),
    "token": Wording("app id and secret", "App ID 和 App Secret"),
    "clock": Wording("clock", "系统时间"),
    "app": Wording("app is enabled", "应用已启用"),
    "address": Wording("app's list of addresses", "应用的 IP 白名单"),
    "scope_read": Wording("scope: read the sheet", "权限：读取表格"),
    "scope_write": Wording("scope: write the sheet", "权限：写入表格"),
    "scope_drive": Wording("scope: videos into Drive", "权限：视频上传云空间"),
    "spreadsheet": Wording("spreadsheet", "表格"),
    "document": Wording("app added to the sheet", "表格已添加应用"),
    "edit": Wording("app may edit the sheet", "应用可编辑表格"),
    "sheet": Wording("sheet", "工作表"),
    "columns": Wording("columns", "列"),
    "titles": Wording("doubled titles", "重名的列"),
    "video_sdk": Wording("lark-oapi, for videos", "上传视频用的 lark-oapi"),
    "video_folder": Wording("folder for videos", "放视频的文件夹"),
    "bot": Wording("group bot", "群机器人"),
}
#: asked where the sheet has a column for links to videos
_VIDEO: Final = ("scope_drive", "video_sdk", "video_folder")


def titles(settings: Settings) -> dict[str, Wording]:
    """The questions that these settings ask for."""
    left_out = {
        *(() if settings.sheet_columns.video_link else _VIDEO),
        *(() if settings.feishu_webhook_url else ("bot",)),
    }
    return {name: title for name, title in TITLES.items() if name not in left_out}


class _Refusal(Exception):  # noqa: N818 - an answer, not a mistake of ours
    """Feishu's answer with a code ≠ 0, or one that is none of its API (code 0)."""

    def __init__(self, code: int, message: str, status: int) -> None:
        self.code, self.message, self.status = code, redact(message), status
        super().__init__(f"{code} {message}")

    @property
    def wording(self) -> Wording:
        if self.code:
            return Wording(f"Feishu says {self.code} {self.message}", f"飞书返回 {self.code} {self.message}")
        return Wording(f"the answer is not Feishu's (HTTP {self.status})", f"响应不是飞书的（HTTP {self.status}）")


class _Asker:
    """Asks, and notes how far the clocks are apart."""

    def __init__(self, settings: Settings, session: requests.Session, now: Callable[[], float]) -> None:
        self._settings, self._session, self._now = settings, session, now
        self.token = ""
        #: seconds that this computer is ahead of Feishu; None before the first answer
        self.ahead: float | None = None

    def fetch_token(self) -> None:
        """Raises _Refusal, or what requests raises."""
        body = {"app_id": self._settings.feishu_app_id, "app_secret": self._settings.feishu_app_secret}
        self.token = str(self.post_token(self._settings.feishu_domain, body)["tenant_access_token"])

    def post_token(self, domain: str, body: Mapping[str, str]) -> Mapping[str, Any]:
        """The token call at any domain."""
        return self._answer("POST", f"{domain}/open-apis/auth/v3/tenant_access_token/internal", json=body)

    def get(self, path: str, **query: str) -> Mapping[str, Any]:
        """The `data` of a GET; raises _Refusal, or what requests raises."""
        answer = self._answer(
            "GET",
            self._settings.feishu_domain + path,
            params=query,
            headers={"Authorization": f"Bearer {self.token}"},
        )
        data = answer.get("data")
        return data if isinstance(data, dict) else {}

    def _answer(self, method: str, url: str, **options: Any) -> Mapping[str, Any]:
        for wait in (*_WAITS, None):
            response = self._session.request(method, url, timeout=_TIMEOUT, **options)
            self._note_clock(response.headers.get("Date"))
            if wait is None or (response.status_code != 429 and response.status_code < 500):
                break
            time.sleep(wait)
        try:
            answer = response.json()
            code = int(answer["code"])
        except (ValueError, KeyError, TypeError):
            raise _Refusal(0, response.reason or "", response.status_code) from None
        if code != 0:
            raise _Refusal(code, _message(answer), response.status_code)
        return dict(answer)

    def _note_clock(self, date: str | None) -> None:
        try:
            self.ahead = self._now() - parsedate_to_datetime(date or "").timestamp()
        except ValueError:
            return


def _message(answer: Mapping[str, Any]) -> str:
    error = answer.get("error")
    violations = error.get("permission_violations") if isinstance(error, dict) else None
    scopes = [str(item.get("subject")) for item in violations or () if isinstance(item, dict)]
    return str(answer.get("msg") or "") + (f" ({', '.join(scopes)})" if scopes else "")


def examine(
    found: Findings,
    settings: Settings,
    session: requests.Session,
    *,
    domains: Sequence[str] = DOMAINS,
    now: Callable[[], float] = time.time,
) -> None:
    """All questions about Feishu, as far as the answers allow the next one."""
    if "bot" in found.titles:
        _bot(found, settings)
    if "video_sdk" in found.titles:
        _video_sdk(found)
    if settings.missing:
        names = ", ".join(settings.missing)
        found.wrong(
            "credentials",
            Wording(f"not set: {names}", f"未设置：{names}"),
            Wording(
                f"set {names} in the environment or in config.toml. App id and secret: {_console(settings).en} → "
                "凭证与基础信息; spreadsheet token: the part of the sheet's address after /sheets/; sheet name: its "
                "title. Without them nothing is pushed; everything else works",
                f"在环境变量或 config.toml 里设置 {names}。App ID 和 App Secret：{_console(settings).zh} → "
                "凭证与基础信息；表格 token：表格网址里 /sheets/ 后面的那一段；工作表名：工作表的标题。"
                "没有这些就不会写入飞书，其他功能照常",
            ),
            blocks=after("credentials", TITLES),
        )
        return
    found.well("credentials", settings.feishu_app_id)
    asker = _Asker(settings, session, now)
    try:
        if _token(found, settings, asker, domains) and _app(found, settings, asker):
            if "video_folder" in found.titles:
                _video_folder(found, settings, asker)
            _document(found, settings, asker, session)
    except requests.RequestException as error:
        _broke_off(found, no_answer(error))
    except _Refusal as refusal:
        _broke_off(found, refusal.wording)
    finally:
        _clock(found, settings, asker.ahead)


def _broke_off(found: Findings, why: Wording) -> None:
    """The first question without an answer is the one that could not be asked."""
    asked = {check.id for check in found.checks()}
    name = next(name for name in TITLES if name in found.titles and name not in asked and name != "clock")
    found.wrong(
        name,
        why,
        Wording("Feishu could not answer just now: try again in a minute", "飞书暂时没能回答：请过一分钟再试"),
        blocks=after(name, TITLES),
    )


# ---------------------------------------------------------------------- the app


def _token(found: Findings, settings: Settings, asker: _Asker, domains: Sequence[str]) -> bool:
    """Whether the credentials give a token."""
    domain = settings.feishu_domain
    later = after("domain", TITLES)
    try:
        asker.fetch_token()
    except requests.RequestException as error:
        why = no_answer(error)
        found.wrong(
            "feishu",
            Wording(f"{domain}: {why.en}", f"{domain}：{why.zh}"),
            Wording(
                f"see whether a browser on this computer opens {domain}; behind a proxy set HTTPS_PROXY; and "
                f"FEISHU_DOMAIN is {' or '.join(DOMAINS)}",
                f"看看本机浏览器能否打开 {domain}；需要代理时设置 HTTPS_PROXY；"
                f"FEISHU_DOMAIN 应为 {' 或 '.join(DOMAINS)}",
            ),
            blocks=after("feishu", TITLES),
        )
        return False
    except _Refusal as refusal:
        found.well("feishu", domain)
        if not refusal.code or refusal.code == _WRONG_DOMAIN:
            _wrong_domain(found, refusal.wording, DOMAINS, later)
            return False
        elsewhere = _elsewhere(settings, asker, domains, refusal)
        if elsewhere:
            known = Wording(f"this app belongs to {elsewhere}", f"这个应用属于 {elsewhere}")
            _wrong_domain(found, known, (elsewhere,), later)
            return False
        found.well("domain", domain)
        _refused_token(found, settings, refusal)
        return False
    except (KeyError, TypeError):
        found.well("feishu", domain)
        _wrong_domain(found, _Refusal(0, "", 200).wording, DOMAINS, later)
        return False
    for name in ("feishu", "domain"):
        found.well(name, domain)
    found.well("token", Wording("accepted", "有效"))
    return True


def _wrong_domain(found: Findings, detail: Wording, right: Sequence[str], blocks: Iterable[str]) -> None:
    found.wrong(
        "domain",
        detail,
        Wording(
            f"set FEISHU_DOMAIN to {' or '.join(right)} (Feishu 飞书: open.feishu.cn; Lark: open.larksuite.com)",
            f"把 FEISHU_DOMAIN 设为 {' 或 '.join(right)}（飞书：open.feishu.cn；Lark：open.larksuite.com）",
        ),
        blocks=blocks,
    )


def _elsewhere(settings: Settings, asker: _Asker, domains: Sequence[str], refusal: _Refusal) -> str:
    """The domain that knows this app, where ours does not. It is asked without the secret."""
    if "not exist" not in refusal.message or settings.feishu_domain not in domains:
        return ""
    for other in domains:
        if other != settings.feishu_domain:
            try:
                asker.post_token(other, {"app_id": settings.feishu_app_id, "app_secret": "unknown"})
            except _Refusal as answer:
                if answer.code in _WRONG_APP and "secret" in answer.message:
                    return other
            except requests.RequestException:
                continue
    return ""


def _refused_token(found: Findings, settings: Settings, refusal: _Refusal) -> None:
    later = after("token", TITLES)
    place = _console(settings) + " → 凭证与基础信息"
    if refusal.code in _DISABLED or "unauthorized" in refusal.message:
        found.well("token")
        _disabled(found, settings, refusal)
    elif refusal.code in _WRONG_APP:
        which = "FEISHU_APP_ID" if "not exist" in refusal.message else "FEISHU_APP_SECRET"
        found.wrong(
            "token",
            refusal.wording,
            Wording(
                f"copy App ID and App Secret anew from {place.en}, and look at {which}: no blanks, nothing cut off",
                f"从 {place.zh} 重新复制 App ID 和 App Secret，尤其检查 {which}：不要有空格，不要缺字符",
            ),
            blocks=later,
        )
    else:
        found.wrong("token", refusal.wording, _advice(refusal), blocks=later)


def _app(found: Findings, settings: Settings, asker: _Asker) -> bool:
    """Whether the app may call at all, and with which scopes."""
    try:
        data = asker.get("/open-apis/application/v6/scopes")
    except _Refusal as refusal:
        if refusal.code in _DISABLED:
            _disabled(found, settings, refusal)
            return False
        if refusal.code == _IP_DENIED:
            found.well("app")
            place = _console(settings) + " → 安全设置 → IP 白名单"
            found.wrong(
                "address",
                refusal.wording,
                Wording(
                    f"{place.en}: add the public address that Feishu names, or take the list away",
                    f"{place.zh}：加入飞书提示的公网 IP，或清空白名单",
                ),
                blocks=after("address", TITLES),
            )
            return False
        unsaid = Wording(f"Feishu does not tell: {refusal.wording.en}", f"飞书没有说明：{refusal.wording.zh}")
        for name in found.titles.keys() & {"scope_read", "scope_write", "scope_drive"}:
            found.unknown(name, unsaid)
    else:
        _scopes(found, settings, data)
    found.well("app", Wording("yes", "是"))
    found.well("address", Wording("this computer is let in", "允许本机访问"))
    return True


def _disabled(found: Findings, settings: Settings, refusal: _Refusal) -> None:
    place = _console(settings) + " → 版本管理与发布"
    found.wrong(
        "app",
        refusal.wording,
        Wording(
            f"{place.en}: publish a version, and let the administrator enable the app "
            "(飞书管理后台 → 工作台 → 应用管理 → 启用)",
            f"{place.zh}：发布版本，并请管理员启用应用（飞书管理后台 → 工作台 → 应用管理 → 启用）",
        ),
        blocks=after("app", TITLES),
    )


def _scopes(found: Findings, settings: Settings, data: Mapping[str, Any]) -> None:
    """By the list of what is granted. There are finer scopes than we know: that reading is allowed, reading shows."""
    listed = data.get("scopes")
    granted = {
        str(item.get("scope_name"))
        for item in (listed if isinstance(listed, list) else ())
        if isinstance(item, dict) and item.get("grant_status") == 1 and item.get("scope_type") in (None, "tenant")
    }
    writing = {name for name in granted if name.startswith("sheets:spreadsheet") and "write" in name}
    for name, enough, wanted in (
        ("scope_read", READ_SCOPES, _SHEET_SCOPE),
        ("scope_write", WRITE_SCOPES | writing, _SHEET_SCOPE),
        ("scope_drive", UPLOAD_SCOPES, "drive:file:upload"),
    ):
        if name not in found.titles:
            continue
        unsaid = Wording(f"{wanted} is not granted", f"没有开通 {wanted}")
        if granted & enough:
            found.well(name, ", ".join(sorted(granted & enough)))
        elif name == "scope_read":
            found.unknown(name, unsaid)
        else:
            found.wrong(name, unsaid, _add_scope(settings, wanted))


def _add_scope(settings: Settings, scope: str) -> Wording:
    link = f"{settings.feishu_domain}/app/{settings.feishu_app_id}/auth?q={scope}&token_type=tenant"
    return Wording(
        f"open {link} (权限管理 → 开通权限) and add {scope}; then 版本管理与发布 → 创建版本, and let the "
        "administrator agree",
        f"打开 {link}（权限管理 → 开通权限），开通 {scope}；然后 版本管理与发布 → 创建版本，并请管理员批准",
    )


# ---------------------------------------------------------------------- the document


def _document(found: Findings, settings: Settings, asker: _Asker, session: requests.Session) -> None:
    try:
        token, sheets = _opened(asker, settings.feishu_spreadsheet_token)
    except _Refusal as refusal:
        if refusal.code in _SCOPE_MISSING:
            advice = _add_scope(settings, _SHEET_SCOPE)
            found.wrong("scope_read", refusal.wording, advice, blocks=after("scope_drive", TITLES))
            return
        if refusal.code in _NO_PERMISSION:
            found.well("spreadsheet", Wording("it is there, but closed to the app", "存在，但应用打不开"))
            found.wrong("document", refusal.wording, _ADD_APP, blocks=after("document", TITLES))
            return
        if refusal.code in NO_SPREADSHEET or refusal.status == 404:
            found.wrong(
                "spreadsheet",
                refusal.wording,
                Wording(
                    "set FEISHU_SPREADSHEET_TOKEN to the part of the sheet's address after /sheets/ and before ? "
                    "(or after /wiki/, which needs the scope wiki:wiki:readonly; what stands after /base/ is something "
                    "else), and see that the sheet was not deleted",
                    "把 FEISHU_SPREADSHEET_TOKEN 设为表格网址里 /sheets/ 之后、? 之前的那一段"
                    "（也可以是 /wiki/ 之后的，但需要权限 wiki:wiki:readonly；/base/ 后面的不是），"
                    "并确认表格没有被删除",
                ),
                blocks=after("spreadsheet", TITLES),
            )
            return
        raise
    if not found.answer("scope_read"):
        found.well("scope_read", Wording("Feishu lets the app read", "飞书允许应用读取"))
    found.well("spreadsheet", Wording("found", "已找到"))
    found.well("document", Wording("yes", "是"))
    _edit(found, asker, quote(token, safe=""))
    if _sheet(found, settings, [item for item in sheets or () if isinstance(item, dict)]):
        _columns(found, settings, session)


def _opened(asker: _Asker, token: str) -> tuple[str, Any]:
    """The spreadsheet's token, by its wiki node where it lives in a wiki, and its sheets. Raises _Refusal."""
    path = "/open-apis/sheets/v3/spreadsheets/{}/sheets/query"
    try:
        return token, asker.get(path.format(quote(token, safe=""))).get("sheets")
    except _Refusal as refusal:
        if refusal.code not in NO_SPREADSHEET:
            raise
        node: Mapping[str, Any] = {}
        with contextlib.suppress(_Refusal):
            node = asker.get("/open-apis/wiki/v2/spaces/get_node", token=token).get("node") or {}
        if node.get("obj_type") != "sheet":
            raise
    token = str(node.get("obj_token") or "")
    return token, asker.get(path.format(quote(token, safe=""))).get("sheets")


_ADD_APP: Final = Wording(
    "open the sheet in Feishu: … (top right) → 更多 → 添加文档应用, choose the app, 可编辑",
    "在飞书里打开表格：右上角 … → 更多 → 添加文档应用，选择该应用，权限选 可编辑",
)


def _edit(found: Findings, asker: _Asker, token: str) -> None:
    how = Wording(
        "yes (asked with members/auth; nothing was written)", "是（通过 members/auth 查询，没有写入任何内容）"
    )
    try:
        data = asker.get(f"/open-apis/drive/v1/permissions/{token}/members/auth", type="sheet", action="edit")
    except _Refusal as refusal:
        if refusal.code in _SCOPE_MISSING and found.answer("scope_write") is False:
            found.because_of("scope_write", "edit")
        elif refusal.code in _NO_PERMISSION:
            found.wrong("edit", refusal.wording, _ADD_APP)
        else:
            found.unknown("edit", refusal.wording)
        return
    if data.get("auth_result") is True:
        found.well("edit", how)
    else:
        found.wrong("edit", Wording("it may only read", "只有阅读权限"), _ADD_APP)


def _sheet(found: Findings, settings: Settings, sheets: Sequence[Mapping[str, Any]]) -> bool:
    wanted = settings.feishu_sheet_name
    sheet = next((item for name in ("title", "sheet_id") for item in sheets if item.get(name) == wanted), None)
    names = ", ".join(str(item.get("title")) for item in sheets)
    advice = Wording(
        f"set FEISHU_SHEET_NAME to one of: {names or 'none'}", f"把 FEISHU_SHEET_NAME 设为其中之一：{names or '无'}"
    )
    kind = sheet.get("resource_type") if sheet else None
    if sheet is None:
        wrong = Wording(f"there is no {wanted!r}; there are: {names}", f"没有“{wanted}”；现有：{names}")
    elif kind not in (None, "sheet"):
        wrong = Wording(f"{wanted!r} is no sheet but a {kind}", f"“{wanted}”不是工作表，而是 {kind}")
    else:
        found.well("sheet", wanted)
        return True
    found.wrong("sheet", wrong, advice, blocks=after("sheet", TITLES))
    return False


def _columns(found: Findings, settings: Settings, session: requests.Session) -> None:
    """Read as the publisher does."""
    try:
        table = FeishuClient(settings, session=session).read_sheet()
    except SheetLayoutError as error:
        found.wrong("columns", error.wording, _TITLES_ADVICE, blocks=after("columns", TITLES))
        return
    except FeishuError as error:
        found.wrong("columns", error.wording, _advice(error), blocks=after("columns", TITLES))
        return
    there = [cell_text(cell).strip() for cell in table.values[table.header]]
    _twice(found, table, there)
    missing = [
        title
        for field, title in dataclasses.asdict(table.columns).items()
        if title and field not in table.places and there.count(title) < 2
    ]
    names = ", ".join(filter(None, there))
    if missing:
        found.wrong(
            "columns",
            Wording(
                f"missing: {', '.join(missing)}; row {table.header + 1} has: {names}",
                f"缺少：{'、'.join(missing)}；第 {table.header + 1} 行有：{names}",
            ),
            _TITLES_ADVICE,
        )
    else:
        found.well("columns", names)


_TITLES_ADVICE: Final = Wording(
    "write the titles into the sheet's header row, or name yours in config.toml under [columns] "
    "(that of the video links: WFRECOVERY_VIDEO_LINK_COLUMN)",
    "在表头行写上这些列名，或在 config.toml 的 [columns] 里写明你的列名（视频链接列：WFRECOVERY_VIDEO_LINK_COLUMN）",
)


def _twice(found: Findings, table: SheetTable, there: Sequence[str]) -> None:
    counted = Counter(there)
    ours = [title for title in dataclasses.asdict(table.columns).values() if title and counted[title] > 1]
    if not ours:
        found.well("titles", Wording("none", "没有"))
        return
    places = "; ".join(
        f"{title}: {', '.join(column_letters(index) for index, name in enumerate(there) if name == title)}"
        for title in ours
    )
    found.wrong(
        "titles",
        Wording(f"in several columns: {places}", f"有好几列重名：{places}"),
        Wording("rename all but one of them in the header row", "在表头行只保留一个，其余改名"),
    )


# ---------------------------------------------------------------------- videos


def _video_sdk(found: Findings) -> None:
    if importlib.util.find_spec("lark_oapi") is not None:
        found.well("video_sdk", version("lark-oapi"))
        return
    command = f"{sys.executable} -m pip install lark-oapi"
    found.wrong("video_sdk", Wording("not installed", "未安装"), Wording(f"run: {command}", f"运行：{command}"))


def _video_folder(found: Findings, settings: Settings, asker: _Asker) -> None:
    if not settings.video_folder_token:
        found.wrong(
            "video_folder",
            Wording("WFRECOVERY_VIDEO_FOLDER is not set", "没有设置 WFRECOVERY_VIDEO_FOLDER"),
            Wording(
                "set WFRECOVERY_VIDEO_FOLDER to the address of a folder in Drive (…/drive/folder/…), "
                "or take WFRECOVERY_VIDEO_LINK_COLUMN away",
                "把 WFRECOVERY_VIDEO_FOLDER 设为云空间里一个文件夹的网址（…/drive/folder/…），"
                "或去掉 WFRECOVERY_VIDEO_LINK_COLUMN",
            ),
        )
        return
    try:
        asker.get("/open-apis/drive/v1/files", folder_token=settings.video_folder_token, page_size="1")
    except _Refusal as refusal:
        if refusal.code in _SCOPE_MISSING:
            unasked = Wording("not checked: the app may not list it", "未检查：应用没有列出文件夹的权限")
            found.unknown("video_folder", unasked)
        else:
            found.wrong(
                "video_folder",
                refusal.wording,
                Wording(
                    "WFRECOVERY_VIDEO_FOLDER names no folder that the app can see: put the app's bot into a group, and "
                    "share the folder with that group (… → 分享 → 可编辑)",
                    "WFRECOVERY_VIDEO_FOLDER 不是该应用看得到的文件夹：把应用的机器人加进一个群，"
                    "再把文件夹共享给这个群（… → 分享 → 可编辑）",
                ),
            )
        return
    found.well(
        "video_folder",
        Wording("the app sees it (whether it may write there cannot be asked)", "应用可以看到（能否写入无法查询）"),
    )


# ---------------------------------------------------------------------- clock and bot


def _clock(found: Findings, settings: Settings, ahead: float | None) -> None:
    if ahead is None:
        return
    seconds = abs(round(ahead))
    much = f"{seconds} s" if seconds < 600 else f"{seconds // 60} min"
    if seconds <= CLOCK_SECONDS:
        found.well("clock", Wording(f"{much} from Feishu's", f"与飞书相差 {much}"))
        return
    detail = Wording(
        f"this computer is {much} {'ahead of' if ahead > 0 else 'behind'} Feishu",
        f"本机比飞书{'快' if ahead > 0 else '慢'} {much}",
    )
    if settings.feishu_webhook_secret and seconds >= BOT_SECONDS:
        detail += Wording(
            "; the group bot's signature is refused from 1 h on", "；相差 1 小时起，群机器人的签名会被拒绝"
        )
    found.wrong(
        "clock",
        detail,
        Wording(
            "let the system set it: Windows: Settings → Time & language → Set time automatically; macOS: System "
            "Settings → General → Date & Time; Linux: timedatectl set-ntp true",
            "让系统自动校时：Windows：设置 → 时间和语言 → 自动设置时间；macOS：系统设置 → 通用 → 日期与时间；"
            "Linux：timedatectl set-ntp true",
        ),
    )


def _bot(found: Findings, settings: Settings) -> None:
    hook, ours = urlsplit(settings.feishu_webhook_url), urlsplit(settings.feishu_domain)
    if hook.netloc == ours.netloc and hook.path.startswith("/open-apis/bot/v2/hook/"):
        found.unknown(
            "bot",
            Wording(
                "its address looks right; it was not tried, because that would send a message into the group",
                "地址格式正确；没有试发，因为那样会往群里发消息",
            ),
        )
        return
    found.wrong(
        "bot",
        Wording(
            f"FEISHU_WEBHOOK_URL is no bot's address at {settings.feishu_domain}",
            f"FEISHU_WEBHOOK_URL 不是 {settings.feishu_domain} 上的机器人地址",
        ),
        Wording(
            "in the group: 设置 → 群机器人 → 添加机器人 → 自定义机器人, and copy its whole webhook address "
            f"({settings.feishu_domain}/open-apis/bot/v2/hook/…)",
            "在群里：设置 → 群机器人 → 添加机器人 → 自定义机器人，复制完整的 webhook 地址"
            f"（{settings.feishu_domain}/open-apis/bot/v2/hook/…）",
        ),
    )


# ---------------------------------------------------------------------- words


def _console(settings: Settings) -> Wording:
    """Where the app is set up."""
    place = f"{settings.feishu_domain}/app"
    return Wording(f"{place} → the app", f"{place} → 该应用")


def _advice(error: _Refusal | FeishuError) -> Wording:
    known = ADVICE.get(error.code)
    return known or Wording(
        f"look up {error.code} at open.feishu.cn/search, and try again",
        f"在 open.feishu.cn/search 查询 {error.code}，然后再试",
    )
