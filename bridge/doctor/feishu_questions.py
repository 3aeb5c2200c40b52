"""The questions to Feishu by name and title, in the order in which one mends things."""

from __future__ import annotations

from typing import Final

from ..settings import Settings
from ..wording import Wording

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
