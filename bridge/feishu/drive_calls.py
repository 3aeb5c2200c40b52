"""One call to Feishu's Drive at a time: by its SDK, not too soon after the last one, and every failure a FeishuError.

The SDK (`lark-oapi`, optional) is imported at the first upload: that costs 2 s and 160 MB.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import requests

from ..redact import redact
from ..settings import Settings
from ..wording import Wording
from .codes import ADVICE, DRIVE_FULL, FOLDER_REFUSED, REACHES, SCOPE_MISSING
from .errors import FeishuError, Reach, Remedy, answered

#: Seconds from one upload call to the next; Feishu takes five a second, one after the other.
GAP: Final = 0.25
#: Seconds without a byte.
TIMEOUT: Final = 60.0

_ADVICE: Final[Mapping[int, Wording]] = {
    **ADVICE,
    **dict.fromkeys(
        (1061003, 1061004, 1061007, 1061041, 1061044, 1061500),
        Wording(
            "the folder that WFRECOVERY_VIDEO_FOLDER names must be shared with the app, with the right to edit: "
            "put the app's bot into a group and share the folder with that group",
            "请把 WFRECOVERY_VIDEO_FOLDER 指定的文件夹共享给该应用并给编辑权限：把应用的机器人加进一个群，"
            "再把文件夹共享给这个群",
        ),
    ),
    **dict.fromkeys(
        (1062505, 1062506),
        Wording(
            "Feishu's Drive takes no more here (400,000 entries, 15 folders deep): let WFRECOVERY_VIDEO_FOLDER name "
            "another folder",
            "飞书云空间此处放不下了（最多 40 万个节点、15 层目录）：请让 WFRECOVERY_VIDEO_FOLDER 指定另一个文件夹",
        ),
    ),
    1062507: Wording(
        "the folder holds 1,500 files, more do not fit: let WFRECOVERY_VIDEO_FOLDER name another one",
        "文件夹里已有 1500 个文件，放不下了：请让 WFRECOVERY_VIDEO_FOLDER 指定另一个文件夹",
    ),
}

#: What stops one video here stops the next one, too, and no picture.
_REACHES: Final[Mapping[int, Reach]] = {
    **REACHES,
    **dict.fromkeys((*DRIVE_FULL, *FOLDER_REFUSED, *SCOPE_MISSING, 1061004, 1061042, 1061073), Reach.COLUMN),
}


class Pace:
    """Keeps the calls of one kind apart. Not for several threads at once."""

    def __init__(
        self,
        gap: float = GAP,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._gap, self._clock, self._sleep = gap, clock, sleep
        self._next = clock()

    def wait(self) -> None:
        """Until the next call may go."""
        pause = self._next - self._clock()
        if pause > 0:
            self._sleep(pause)
        self._next = self._clock() + self._gap


@dataclass(frozen=True)
class Sdk:
    """What one call needs of the SDK: its classes, its Drive, and the token. Each of them serves one call only."""

    models: Any
    drive: Any
    option: Any


class DriveCalls:
    """Sends what it is handed; nothing waits and tries again, except once with a fresh token.

    `token` gives a tenant access token, `drop_token` is told one that Feishu calls invalid.
    """

    def __init__(
        self, settings: Settings, token: Callable[[], str], drop_token: Callable[[str], None], pace: Pace
    ) -> None:
        self._settings, self._token, self._drop_token, self._pace = settings, token, drop_token, pace
        self._client: Any = None

    def call(self, send: Callable[[Sdk], Any]) -> dict[str, Any]:
        """The data of an answer. An answer that calls the token invalid gets one more try with a new one."""
        for last_try in (False, True):
            token = self._token()
            try:
                raw = _raw_answer(send, self._sdk(token))
                return answered(raw.status_code, raw.headers, raw.content, _ADVICE, reaches=_REACHES)
            except FeishuError as error:
                if last_try or error.remedy is not Remedy.REFRESH:
                    hidden = (*self._settings.secrets, self._settings.video_folder_token, token)
                    raise error.reworded(partial(redact, secrets=hidden)) from error.__cause__
                self._drop_token(token)
                self._pace.wait()
        raise AssertionError("unreachable")

    def paced(self, send: Callable[[Sdk], Any]) -> dict[str, Any]:
        """As `call`, for uploads: they must not follow each other too soon."""
        self._pace.wait()
        return self.call(send)

    def _sdk(self, token: str) -> Sdk:
        lark = imported()
        if self._client is None:
            given = self._settings
            builder = lark.Client.builder().app_id(given.feishu_app_id).app_secret(given.feishu_app_secret)
            try:
                builder.domain(given.feishu_domain)
            except ValueError as error:
                raise FeishuError(
                    Wording(f"FEISHU_DOMAIN: {error}", f"FEISHU_DOMAIN 不能用：{error}"),
                    remedy=Remedy.FINAL,
                    reach=Reach.COLUMN,
                ) from error
            # The token comes from us, so that there is one for all calls and an invalid one is not kept for hours.
            self._client = builder.timeout(TIMEOUT).enable_set_token(True).build()
        option = lark.RequestOption.builder().tenant_access_token(token).build()
        return Sdk(lark.api.drive.v1, self._client.drive.v1, option)


def imported() -> Any:
    """Feishu's SDK; FeishuError says how to install it where it is missing."""
    try:
        import lark_oapi  # noqa: PLC0415
    except ImportError as error:
        command = f"{sys.executable} -m pip install lark-oapi"
        raise FeishuError(
            Wording(
                f"videos go to Feishu's Drive with its SDK, which is not there ({error}) → run: {command}",
                f"上传视频到飞书云空间需要飞书 SDK，但没有安装（{error}）→ 请运行：{command}",
            ),
            remedy=Remedy.FINAL,
            reach=Reach.COLUMN,
        ) from error
    return lark_oapi


def built(model: Any, **fields: Any) -> Any:
    """An object of the SDK, by its builder."""
    builder = model.builder()
    for name, value in fields.items():
        builder = getattr(builder, name)(value)
    return builder.build()


def _raw_answer(send: Callable[[Sdk], Any], sdk: Sdk) -> Any:
    """The answer as it came: status, headers and bytes. Raises FeishuError where there is none."""
    try:
        return send(sdk).raw
    except requests.ConnectTimeout as error:
        raise FeishuError(Wording("Feishu cannot be reached: no connection in time", "连不上飞书：连接超时")) from error
    except requests.RequestException as error:
        what = Wording(f"no answer from Feishu: {error}", f"飞书没有回应：{error}")
        raise FeishuError(what, outcome_unknown=True) from error
    except Exception as error:
        # The SDK reads the answer before we do, and fails over a gateway's page, or JSON of another shape.
        raw = _in_hand(error)
        if raw is None:
            what = Wording(f"Feishu's answer cannot be read: {error}", f"飞书的回应无法读取：{error}")
            raise FeishuError(what, outcome_unknown=True) from error
        return raw


def _in_hand(error: BaseException) -> Any:
    """The answer that the SDK had in hand when it failed: its methods keep it as `resp`, and give it to nobody."""
    trace = error.__traceback__
    while trace is not None:
        found = trace.tb_frame.f_locals.get("resp")
        if isinstance(getattr(found, "status_code", None), int) and isinstance(getattr(found, "content", None), bytes):
            return found
        trace = trace.tb_next
    return None
