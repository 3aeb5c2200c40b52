"""Feishu's error codes as data: what helps against each, how far it reaches, and what a person does about it.

Collected from Feishu's own pages, its command line tool and public code; the SDK's table is not used, it takes the
rate limit (99991400) for a refusal. The HTTP status of a code differs from page to page: the code alone counts.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from ..wording import Wording


class Remedy(Enum):
    """What helps against an error."""

    #: the same call later, a bounded number of times
    RETRY = "retry"
    #: a smaller call
    SPLIT = "split"
    #: a new token, then the same call once
    REFRESH = "refresh"
    #: a person has to do something
    FINAL = "final"


class Reach(Enum):
    """Who else would be refused in the same way, until a person has done something."""

    #: nobody that we know of
    ROW = "row"
    #: the same column in the other rows
    COLUMN = "column"
    #: whatever is read or written in this document
    DOCUMENT = "document"
    #: every call of this app
    APP = "app"


RATE_LIMITED: Final = 99991400
#: the calls of the whole organisation for this month; comes as HTTP 429, but no waiting helps
QUOTA_USED_UP: Final = 99991403
#: the app may not be used: not published, or switched off
NOT_AUTHORISED: Final = 10014
_WRONG_SECRET: Final = 10015
_UNKNOWN_APP: Final = 99991543
#: A write that would change nothing: what was to be written stands there already.
NO_CHANGE: Final = frozenset({90216})
#: A call needs a scope that the app has not.
SCOPE_MISSING: Final = frozenset({99991672, 99991679, 99991676})
APP_DISABLED: Final = frozenset({99991662, 99991673, 212100})
ADDRESS_DENIED: Final = 99991401
CREDENTIALS: Final = frozenset({_UNKNOWN_APP, 10003, NOT_AUTHORISED, _WRONG_SECRET})
#: The app may call, but was not given the document, or not with the right to edit. 90213 may be said of one cell.
NO_PERMISSION: Final = frozenset({90213, 1310213, 91403, 1063002, 1061004})
#: What answers a token that is none of a spreadsheet, or of one that was deleted.
NO_SPREADSHEET: Final = frozenset({90214, 1310214, 1310249, 91402})
NO_SHEET: Final = frozenset({90215, 1310215})
WIKI_DENIED: Final = 131006
_LOCKED: Final = frozenset({90218, 1310218})
#: too many cells, too many pictures
_FULL: Final = frozenset({90219, 90226, 1310226, 1310247})
DRIVE_FULL: Final = frozenset({1061061, 1061101})
#: what is wrong with the folder that a file is to go into
FOLDER_REFUSED: Final = frozenset({1061003, 1061007, 1061041, 1061044, 1061500, 1062505, 1062506, 1062507})

#: bitable: wrong base or table, a missing field, a value that does not fit its field, advanced permission
_NO_TABLE: Final = frozenset({1254003, 1254004, 1254040, 1254041, 1254042})
_NO_FIELD: Final = frozenset({1254044, 1254045})
_WRONG_VALUE: Final = frozenset({1254015, *range(1254060, 1254070), 1254072, 1254074})
_ADVANCED: Final = frozenset({1254302, 1254304})

#: Where Feishu names several scopes: those that do for the next call as well, and for no more than is needed.
_ENOUGH: Final = ("sheets:spreadsheet", "drive:file:upload", "wiki:wiki:readonly")

#: It may have been done all the same: a time-out, a request that was sent twice.
MAYBE_DONE: Final = frozenset({1255040, 1254608})

#: Some of what was sent together may have been done, and the rest not.
PARTLY_DONE: Final = frozenset({90203})

REMEDIES: Final[dict[int, Remedy]] = {
    **dict.fromkeys((99991663, 99991664, 99991665, 99991661, 99991671, 1061005), Remedy.REFRESH),
    **dict.fromkeys((90221, 90227, 1254030, 1254104, 1254130), Remedy.SPLIT),
    # rate limit; internal, busy, processing, loading
    **dict.fromkeys((RATE_LIMITED, 600, 1500, 1503, 1642, 1663, 1668, 2200, 5000, 55001), Remedy.RETRY),
    **dict.fromkeys((96001, 96002, *range(95201, 95210), *range(96401, 96404)), Remedy.RETRY),
    **dict.fromkeys((90203, 90217, 90228, 90235, 90242), Remedy.RETRY),  # sheets v2
    **dict.fromkeys((1310217, 1310235, 1310242, 1315201, 1315203, 1315210), Remedy.RETRY),  # sheets v3
    **dict.fromkeys((1061001, 1061006, 1061045, 1064230), Remedy.RETRY),  # drive
    **dict.fromkeys((131001, 131009, 1063006, 1066001, 1066002), Remedy.RETRY),  # wiki, permissions
    **dict.fromkeys((1254002, 1254036, 1254290, 1254291, 1254607, 1254608), Remedy.RETRY),  # bitable
    **dict.fromkeys((*range(1255001, 1255006), 1255040), Remedy.RETRY),
    **dict.fromkeys((11232, 230020), Remedy.RETRY),  # a group's bot has too much to do
    **dict.fromkeys((QUOTA_USED_UP, ADDRESS_DENIED, 99991668, 99991677, 99992402, 9499), Remedy.FINAL),
    **dict.fromkeys((*CREDENTIALS, *SCOPE_MISSING, *APP_DISABLED, *NO_PERMISSION), Remedy.FINAL),
    **dict.fromkeys((*NO_SPREADSHEET, *NO_SHEET, *_LOCKED, *_FULL, *DRIVE_FULL, *FOLDER_REFUSED), Remedy.FINAL),
    **dict.fromkeys((*range(90201, 90203), *range(90204, 90213), 90216, 90222, 90229), Remedy.FINAL),
    **dict.fromkeys((1310202, 1310211, 1310229, *range(1310243, 1310247), 1310251), Remedy.FINAL),
    **dict.fromkeys((1061002, 1061008, 1061021, 1061042, 1061043, 1061073, 1061109, 1061113, 1061547), Remedy.FINAL),
    **dict.fromkeys((*range(1062007, 1062012), 1063001, 1063003, 1063005), Remedy.FINAL),
    **dict.fromkeys((131002, 131004, 131005, WIKI_DENIED, 131007), Remedy.FINAL),
    **dict.fromkeys((*_NO_TABLE, 1254006, 1254043, *_NO_FIELD, *_WRONG_VALUE, *_ADVANCED), Remedy.FINAL),
    **dict.fromkeys((1254027, *range(1254100, 1254104), 1254105, 1254106, 1254303), Remedy.FINAL),
}

REACHES: Final[dict[int, Reach]] = {
    **dict.fromkeys((QUOTA_USED_UP, ADDRESS_DENIED, 99991668, 99991677), Reach.APP),
    **dict.fromkeys((*CREDENTIALS, *SCOPE_MISSING, *APP_DISABLED), Reach.APP),
    **dict.fromkeys((*NO_SPREADSHEET, *NO_SHEET, *_NO_TABLE, *_ADVANCED), Reach.DOCUMENT),
    **dict.fromkeys((*_LOCKED, *_FULL, *_NO_FIELD, *_WRONG_VALUE), Reach.COLUMN),
    # a picture that may not be read (1061004) is one picture
    **dict.fromkeys(NO_PERMISSION - {1061004}, Reach.COLUMN),
}

_APP: Final = Wording("open.feishu.cn → 开发者后台 → the app", "open.feishu.cn → 开发者后台 → 该应用")
_KEYS: Final = _APP + " → 凭证与基础信息"
_RELEASE: Final = Wording(
    " → 版本管理与发布: publish a version, and let the administrator enable the app "
    "(飞书管理后台 → 工作台 → 应用管理 → 启用)",
    " → 版本管理与发布：发布版本，并请管理员启用应用（飞书管理后台 → 工作台 → 应用管理 → 启用）",
)
_SCOPES: Final = _APP + Wording(
    " → 权限管理: add the scope that the message names, then publish a new version of the app",
    " → 权限管理：开通消息里写的权限，然后发布应用的新版本",
)
#: also for what no code, but its HTTP status (413) calls too large
TOO_LARGE: Final = Wording(
    "this is too large even by itself; a picture may have at most 20 MB, a cell 50,000 characters. If a proxy stands "
    "between this computer and Feishu, let it pass 30 MB",
    "单独发送也太大；图片最多 20 MB，一个单元格最多 50000 个字符。如果本机和飞书之间有代理，请让它放行 30 MB",
)
ADD_APP: Final = Wording(
    "open the sheet in Feishu: … (top right) → 更多 → 添加文档应用, and add the app with the right to edit "
    "(可编辑); where only this column or cell is protected, let the app edit it",
    "在飞书里打开表格：右上角 … → 更多 → 添加文档应用，添加该应用，权限选 可编辑；"
    "如果只是这一列或单元格受保护，请允许该应用编辑",
)
SET_SPREADSHEET: Final = Wording(
    "FEISHU_SPREADSHEET_TOKEN names no spreadsheet: set it to the sheet's address, or to the part of it after "
    "/sheets/ and before ? (or after /wiki/, which needs the scope wiki:wiki:readonly as well; what stands "
    "after /base/ is something else), and see that the sheet was not deleted",
    "FEISHU_SPREADSHEET_TOKEN 找不到表格：请设为表格的网址，或网址里 /sheets/ 之后、? 之前的那一段"
    "（也可以是 /wiki/ 之后的，但还需要权限 wiki:wiki:readonly；/base/ 后面的不是），并确认表格没有被删除",
)

ADVICE: Final[dict[int, Wording]] = {
    NOT_AUTHORISED: _APP + _RELEASE,
    _WRONG_SECRET: Wording(
        "FEISHU_APP_SECRET is wrong, or of another app than FEISHU_APP_ID; copy both anew from ",
        "FEISHU_APP_SECRET 不对，或与 FEISHU_APP_ID 不是同一个应用；请重新复制这两项：",
    )
    + _KEYS,
    **dict.fromkeys(
        (_UNKNOWN_APP, 10003),
        Wording(
            "FEISHU_APP_ID or FEISHU_APP_SECRET is wrong; copy both anew from ",
            "FEISHU_APP_ID 或 FEISHU_APP_SECRET 不对；请重新复制这两项：",
        )
        + _KEYS,
    ),
    QUOTA_USED_UP: Wording(
        "your organisation has used up this month's calls to Feishu, which all its apps share: ask the administrator "
        "to upgrade the Feishu plan (飞书管理后台), or wait for the 1st of next month. No result is lost; push again "
        "then",
        "本企业这个月的飞书 API 调用次数已用完（所有自建应用共用）：请联系企业管理员升级飞书版本（飞书管理后台），"
        "或等到下月 1 日。结果不会丢失，之后再推送即可",
    ),
    **dict.fromkeys((*SCOPE_MISSING, 1061073), _SCOPES),
    ADDRESS_DENIED: _APP
    + Wording(" → 安全设置 → IP 白名单: add this machine's address", " → 安全设置 → IP 白名单：加入本机的地址"),
    **dict.fromkeys(APP_DISABLED, _APP + _RELEASE),
    **dict.fromkeys(NO_PERMISSION, ADD_APP),
    **dict.fromkeys(NO_SPREADSHEET, SET_SPREADSHEET),
    **dict.fromkeys(
        NO_SHEET,
        Wording(
            "FEISHU_SHEET_NAME names no sheet of this spreadsheet", "FEISHU_SHEET_NAME 在这个表格里没有对应的工作表"
        ),
    ),
    WIKI_DENIED: Wording(
        "open the wiki page in Feishu: … (top right) → 更多 → 添加文档应用, and add the app with the right to edit",
        "在飞书里打开该知识库页面：右上角 … → 更多 → 添加文档应用，添加该应用并给编辑权限",
    ),
    1063001: Wording(
        "the token and the kind of document do not fit: set FEISHU_SPREADSHEET_TOKEN to the address of an online sheet "
        "(…/sheets/… or …/wiki/…), not of a Bitable, a document or an uploaded Excel file",
        "token 与文档类型不匹配：请把 FEISHU_SPREADSHEET_TOKEN 设为在线表格的网址（…/sheets/… 或 …/wiki/…），"
        "不能是多维表格、文档或上传的 Excel 文件",
    ),
    **dict.fromkeys(
        _LOCKED,
        Wording(
            "the cell is protected: let the app edit it, or take the protection off",
            "单元格受保护：请允许该应用编辑，或取消保护",
        ),
    ),
    **dict.fromkeys(
        _FULL,
        Wording(
            "the spreadsheet is full: delete rows or pictures, or start a new one",
            "表格已满：请删除一些行或图片，或新建一个表格",
        ),
    ),
    **dict.fromkeys((90221, 90227), TOO_LARGE),
    90222: Wording(
        "the text is too long for one cell: Feishu takes at most 50,000 characters",
        "内容太长，一个单元格放不下：飞书最多 50000 个字符",
    ),
    90204: Wording("Feishu refused the picture or the request's form", "飞书不接受这张图片或这个请求的格式"),
    **dict.fromkeys((90202, 1310202), Wording("Feishu refused the range or a value", "飞书不接受这个范围或内容")),
    1310247: Wording("the spreadsheet holds 4,000 pictures: start a new one", "表格里已有 4000 张图片：请新建一个表格"),
    **dict.fromkeys(
        DRIVE_FULL,
        Wording(
            "no room is left in Feishu's Drive: make room or ask the administrator",
            "飞书云空间已满：请清理或联系管理员",
        ),
    ),
    1061043: Wording("the file is too large for Feishu's Drive", "文件太大，飞书云空间不接受"),
    1061008: Wording("Feishu's Drive does not take the file's name: rename it", "飞书云空间不接受这个文件名：请改名"),
    **dict.fromkeys(
        (1061109, 1061113),
        Wording(
            "Feishu's content check did not pass the file or its name: look at it, and ask the administrator",
            "文件或文件名没有通过飞书的内容检查：请查看内容，或联系管理员",
        ),
    ),
    **dict.fromkeys(
        _ADVANCED,
        Wording(
            "the Bitable has 高级权限: give the app 可管理 there",
            "多维表格开启了高级权限：请在那里给该应用 可管理 权限",
        ),
    ),
}


def meant(code: int, message: str) -> int:
    """10014 has been seen for a wrong secret and an unknown app as well: then Feishu's own words say so."""
    if code == NOT_AUTHORISED and "secret" in message:
        return _WRONG_SECRET
    return _UNKNOWN_APP if code == NOT_AUTHORISED and "not exist" in message else code


def look_up(code: int) -> Wording:
    """For a final code that nobody has met yet."""
    return Wording(
        f"look up {code} at open.feishu.cn/search, then try again", f"在 open.feishu.cn/search 查询 {code}，然后再试"
    )


def grant(scopes: tuple[str, ...], link: str) -> Wording:
    """What gives the app a missing scope, by the page that Feishu named. Any one of `scopes` would do for this call."""
    best = next((scope for scope in _ENOUGH if scope in scopes), "")
    if len(scopes) > 1 and not best:
        add = Wording(f"add one of {', '.join(scopes)}", f"开通其中任意一项：{', '.join(scopes)}")
    else:
        one = best or "".join(scopes)
        add = Wording(f"add {one or 'the scope that it shows'}", f"开通 {one or '页面上显示的权限'}")
    return (
        Wording(f"open {link} (权限管理 → 开通权限) and ", f"打开 {link} （权限管理 → 开通权限），")
        + add
        + Wording(
            "; then 版本管理与发布 → 创建版本, and let the administrator agree",
            "；然后 版本管理与发布 → 创建版本，并请管理员批准",
        )
    )
