"""`doctor`'s questions about who can read what: the file with the credentials, and what ComfyUI shows of outputs."""

from __future__ import annotations

import ipaddress
import os
import shlex
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from ..table.files import FOLDER_NAME
from ..wording import Wording
from .checks import Findings

TITLES: Final = {
    "config_rights": Wording("who can read the settings", "谁能读取设置文件"),
    "reach": Wording("who can see the records", "谁能看到任务记录"),
}
_HAS_RIGHTS: Final = os.name != "nt"
#: What ComfyUI listens on with `--listen` alone, and without it.
_ALL_ADDRESSES: Final = "0.0.0.0,::"
_OWN_ADDRESS: Final = "127.0.0.1"
_SHOWN: Final = Wording(
    f"ComfyUI's /view hands out every file under its output folder, also {FOLDER_NAME}/ with all records, graphs "
    "and, while statuses are written, the cells of the sheet, and asks nobody who they are; ",
    f"ComfyUI 的 /view 会把输出文件夹里的任何文件交给访问者，包括 {FOLDER_NAME}/ 里的全部任务记录和工作流"
    "（写状态时还有表格内容），而且不验证身份；",
)


def examine_config(found: Findings, config: Path | None) -> None:
    """Whether others on this computer can read the file that may hold the app's secret. Windows keeps what lies in a
    user's folder to that user."""
    if not _HAS_RIGHTS or config is None:
        return
    try:
        mode = stat.S_IMODE(config.stat().st_mode)
    except OSError:
        return
    if not mode & (stat.S_IRWXG | stat.S_IRWXO):
        found.well("config_rights", Wording(f"{config}: its owner alone", f"{config}：只有文件所有者"))
        return
    found.wrong(
        "config_rights",
        Wording(
            f"{config} has the rights {mode:04o}: other accounts of this computer can read the app's secret",
            f"{config} 的权限是 {mode:04o}：这台电脑上的其他账户可以读到应用密钥",
        ),
        Wording(
            f"run: chmod 600 {shlex.quote(str(config))} (as the account that ComfyUI or main.py runs under)",
            f"运行：chmod 600 {shlex.quote(str(config))}（用运行 ComfyUI 或 main.py 的账户）",
        ),
    )


def examine_reach(found: Findings, argv: object, url: str | None = None) -> None:
    """Who reaches ComfyUI, by its own command line, and by the address under which it answered."""
    host = (urlsplit(url).hostname or "") if url else ""
    where = [address for address in listens_on(argv) if not is_own(address)]
    if host and not is_own(host):
        where = where or [host]
    if where:
        names = ", ".join(where)
        found.unknown(
            "reach",
            _SHOWN
            + Wording(
                f"it listens on {names}, so that is everybody in its network",
                f"它监听 {names}，所以同一网络里的任何人都可以访问",
            ),
            Wording(
                "start ComfyUI without --listen where only this computer uses it; else let in only whom you mean, by a "
                "firewall, a VPN or a proxy that asks for a password; and type no keys into nodes",
                "如果只在本机使用，启动 ComfyUI 时不要加 --listen；否则用防火墙、VPN 或要求密码的代理限制访问；"
                "也不要把密钥填进节点",
            ),
        )
        return
    found.well(
        "reach",
        _SHOWN
        + Wording(
            "it listens on this computer alone, so that is nobody else, unless a proxy or a container's port lets "
            "them in",
            "它只监听本机，其他人无法访问，除非有代理或容器端口映射放行",
        ),
    )


def listens_on(argv: object) -> list[str]:
    """The addresses that ComfyUI's command line names."""
    words = [str(word) for word in argv] if isinstance(argv, list | tuple) else []
    return [address.strip() for address in _listen_option(words).split(",") if address.strip()]


def _listen_option(words: Sequence[str]) -> str:
    found = _OWN_ADDRESS
    for position, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name == "--listen":
            following = words[position + 1] if position + 1 < len(words) else "-"
            found = value if equals else _ALL_ADDRESSES if following.startswith("-") else following
    return found


def is_own(address: str) -> bool:
    """Whether only this computer reaches it."""
    try:
        return ipaddress.ip_address(address.strip("[]")).is_loopback
    except ValueError:
        return address.lower() == "localhost"
