"""`doctor`'s questions about ComfyUI and the plugin in it: over HTTP from outside, from its status inside."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import requests
from requests.utils import get_environ_proxies, select_proxy

from ..redact import redact
from ..version import VERSION
from ..wording import Wording
from .checks import Findings, after
from .privacy import examine_reach

OLDEST_COMFYUI: Final = (0, 3, 64)
#: Seconds to connect, and between two bytes.
_TIMEOUT: Final = (5.0, 15.0)

TITLES: Final = {
    "proxy": Wording("proxy before ComfyUI", "ComfyUI 前的代理"),
    "comfyui": Wording("ComfyUI", "ComfyUI"),
    "comfyui_version": Wording("ComfyUI's version", "ComfyUI 版本"),
    "plugin": Wording("plugin", "插件"),
    "plugin_version": Wording("plugin's version", "插件版本"),
    "worker": Wording("ComfyUI's worker", "ComfyUI 工作线程"),
    "recording": Wording("recording of tasks", "任务记录"),
}


def examine(found: Findings, url: str) -> Mapping[str, Any] | None:
    """Ask a ComfyUI at `url`; returns the plugin's status, None where there is none to be had."""
    with requests.Session() as session:
        stats = _reach(found, url, session)
        if stats is None:
            return None
        _version(found, str(stats["system"].get("comfyui_version") or ""))
        examine_reach(found, stats["system"].get("argv"), url)
        status = _plugin(found, url, session)
    if status is not None:
        found.well("plugin", f"{_shown(url)}/wfrecovery/status")
        _inside(found, status)
    return status


def examine_inside(found: Findings, status: Mapping[str, Any]) -> None:
    """The same from the plugin's own status, for a `doctor` that runs inside ComfyUI."""
    found.well("comfyui", Wording("this is it", "就是本程序"))
    examine_reach(found, sys.argv)
    _version(found, str((status.get("comfyui") or {}).get("version") or ""))
    found.well("plugin", Wording("this is it", "就是本程序"))
    _inside(found, status)


def _reach(found: Findings, url: str, session: requests.Session) -> Mapping[str, Any] | None:
    """ComfyUI's `/system_stats`; where a proxy is in the way, the session then goes round it."""
    stats, why = _system_stats(url, session)
    if stats is None and select_proxy(url, get_environ_proxies(url)):
        session.trust_env = False
        stats, why_not = _system_stats(url, session)
        if stats is not None:
            host = urlsplit(url).hostname
            found.wrong(
                "proxy",
                Wording(
                    f"the environment sends requests for {host} to a proxy, which has no way to ComfyUI: {why.en}",
                    f"环境变量把发往 {host} 的请求交给了代理，而代理到不了 ComfyUI：{why.zh}",
                ),
                Wording(
                    f"set NO_PROXY={host},127.0.0.1,localhost in the environment of main.py and of this command",
                    f"在 main.py 和本命令的环境变量里设置 NO_PROXY={host},127.0.0.1,localhost",
                ),
            )
        else:
            why = why_not
    if stats is None:
        found.wrong(
            "comfyui",
            Wording(f"{_shown(url)}: {why.en}", f"{_shown(url)}：{why.zh}"),
            Wording(
                "start ComfyUI, or set COMFYUI_URL to the address that ComfyUI prints when it starts",
                "启动 ComfyUI，或把 COMFYUI_URL 设为 ComfyUI 启动时显示的地址",
            ),
            blocks=after("comfyui", TITLES),
        )
    else:
        found.well("comfyui", _shown(url))
    return stats


def _system_stats(url: str, session: requests.Session) -> tuple[Mapping[str, Any] | None, Wording]:
    """ComfyUI's answer, or why there is none."""
    try:
        response = session.get(f"{url}/system_stats", timeout=_TIMEOUT)
        answer = response.json()
    except requests.JSONDecodeError:
        answer = None
    except requests.RequestException as error:
        return None, no_answer(error)
    if isinstance(answer, dict) and isinstance(answer.get("system"), dict):
        return answer, Wording("", "")
    status = response.status_code
    return None, Wording(
        f"something answers, but not as ComfyUI does (HTTP {status})", f"有程序响应，但不是 ComfyUI（HTTP {status}）"
    )


def _version(found: Findings, version: str) -> None:
    numbers = re.match(r"v?(\d+)\.(\d+)\.(\d+)", version)
    oldest = ".".join(map(str, OLDEST_COMFYUI))
    if numbers is None:
        found.unknown("comfyui_version", Wording("ComfyUI does not say", "ComfyUI 没有说明版本"))
    elif tuple(map(int, numbers.groups())) < OLDEST_COMFYUI:
        found.wrong(
            "comfyui_version",
            Wording(f"{version}, older than {oldest}", f"{version}，低于 {oldest}"),
            Wording(f"update ComfyUI to {oldest} or newer", f"把 ComfyUI 更新到 {oldest} 或更新的版本"),
        )
    else:
        found.well("comfyui_version", version)


def _plugin(found: Findings, url: str, session: requests.Session) -> Mapping[str, Any] | None:
    """The plugin's status; without one, what is wrong is noted."""
    try:
        response = session.get(f"{url}/wfrecovery/status", timeout=_TIMEOUT)
        status = response.json() if response.ok else None
    except requests.JSONDecodeError:
        status = None
    except requests.RequestException as error:
        why = no_answer(error)
        found.wrong("plugin", why, Wording("try again", "请再试一次"), blocks=after("plugin", TITLES))
        return None
    if isinstance(status, dict) and "boot_id" in status:
        return status
    if response.ok or response.status_code == 404:
        said = Wording("ComfyUI runs without it", "ComfyUI 运行时没有加载它")
    else:
        said = Wording(f"it answers HTTP {response.status_code}", f"它返回 HTTP {response.status_code}")
    found.wrong(
        "plugin",
        said,
        Wording(
            "put this folder into ComfyUI/custom_nodes as wfrecovery, run `python -m pip install -r "
            "custom_nodes/wfrecovery/requirements.txt` with ComfyUI's Python, and start ComfyUI again. If it is there: "
            "ComfyUI's log says why it was not loaded (look for wfrecovery)",
            "把本文件夹放进 ComfyUI/custom_nodes（名为 wfrecovery），用 ComfyUI 的 Python 运行 `python -m pip install "
            "-r custom_nodes/wfrecovery/requirements.txt`，再重启 ComfyUI。如果已经放好：ComfyUI 的日志里写着没有加载"
            "的原因（搜索 wfrecovery）",
        ),
        blocks=after("plugin", TITLES),
    )
    return None


def _inside(found: Findings, status: Mapping[str, Any]) -> None:
    """What the plugin says of itself."""
    theirs = str(status.get("version") or "?")
    if theirs == VERSION:
        found.well("plugin_version", VERSION)
    else:
        found.wrong(
            "plugin_version",
            Wording(f"the plugin is {theirs}, the command line {VERSION}", f"插件是 {theirs}，命令行是 {VERSION}"),
            Wording(
                "put the newer one to both places: custom_nodes/wfrecovery, and `python -m pip install .` for main.py. "
                "Then start ComfyUI again",
                "两处都换成较新的版本：custom_nodes/wfrecovery，以及为 main.py 运行 `python -m pip install .`；"
                "然后重启 ComfyUI",
            ),
        )
    restart = Wording("start ComfyUI again; what was queued is recovered", "重启 ComfyUI；排队的任务会自动恢复")
    if (status.get("comfyui") or {}).get("worker_alive") is False:
        dead = Wording("it has died: prompts are accepted but not rendered", "已退出：任务能提交，但不会渲染")
        found.wrong("worker", dead, restart)
    else:
        found.well("worker", Wording("alive", "运行中"))
    if status.get("last_error"):
        error = redact(str(status["last_error"]))
        see = Wording("see ComfyUI's log for the whole story; then ", "详情见 ComfyUI 的日志；然后")
        found.wrong("recording", error, see + restart)
    else:
        found.well("recording", Wording("goes on", "正常"))


def no_answer(error: requests.RequestException) -> Wording:
    """Why a request got no answer, in a few words and without the address: that may hold secrets."""
    if isinstance(error, requests.exceptions.ProxyError):
        return Wording("the proxy of the environment has no way there", "环境变量里的代理连不过去")
    if isinstance(error, requests.exceptions.SSLError):
        return Wording("its certificate cannot be checked", "无法验证它的证书")
    if isinstance(error, requests.Timeout):
        return Wording("no answer in time", "没有及时响应")
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, OSError) and not isinstance(inner, requests.RequestException) and inner.strerror:
            return Wording(f"no connection ({inner.strerror})", f"连接不上（{inner.strerror}）")
        inner = inner.__cause__ or inner.__context__
    return Wording("no connection", "连接不上")


def _shown(url: str) -> str:
    """An address without a user's name and password."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
