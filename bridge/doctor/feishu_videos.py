"""What links to videos need besides: Feishu's SDK on this computer, and a folder in Feishu's Drive."""

from __future__ import annotations

import importlib.util
import sys
from importlib.metadata import version

from ..feishu.codes import SCOPE_MISSING
from ..feishu.errors import FeishuError
from ..settings import Settings
from ..wording import Wording
from .checks import Findings
from .feishu_asker import Asker


def examine_sdk(found: Findings) -> None:
    """Whether it is installed for the Python that runs this."""
    if importlib.util.find_spec("lark_oapi") is not None:
        found.well("video_sdk", version("lark-oapi"))
        return
    command = f"{sys.executable} -m pip install lark-oapi"
    found.wrong("video_sdk", Wording("not installed", "未安装"), Wording(f"run: {command}", f"运行：{command}"))


def examine_folder(found: Findings, settings: Settings, asker: Asker) -> None:
    """Whether the app sees the folder that the settings name."""
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
    except FeishuError as refusal:
        if refusal.code in SCOPE_MISSING:
            unasked = Wording("not checked: the app may not list it", "未检查：应用没有列出文件夹的权限")
            found.unknown("video_folder", unasked)
        elif refusal.concerns_all:
            raise
        elif not refusal.needs_person:
            found.unknown("video_folder", refusal.said)
        else:
            found.wrong(
                "video_folder",
                refusal.said,
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
