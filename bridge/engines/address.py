"""A ComfyUI by its address: what records and messages call it, whatever of that is secret or said in two ways."""

from __future__ import annotations

import base64
from typing import Final
from urllib.parse import unquote, urlsplit

_NAME: Final = "comfyui:"
_THIS_COMPUTER: Final = "127.0.0.1"


def login_in(url: str) -> dict[str, str]:
    """The name and password that an address carries, as a header: for a ComfyUI behind a proxy that asks for them."""
    parts = urlsplit(url)
    if parts.username is None and parts.password is None:
        return {}
    login = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}".encode()
    return {"Authorization": f"Basic {base64.b64encode(login).decode()}"}


def without_login(url: str) -> str:
    """The address as it may be shown and kept."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl().rstrip("/")


def is_this_computer(url: str) -> bool:
    """Whether it is one of the names of this computer itself."""
    host = urlsplit(url).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")


def engine_at(url: str) -> str:
    """What records call the ComfyUI at an address."""
    url = without_login(url)
    if is_this_computer(url):
        parts = urlsplit(url)
        port = "" if parts.port is None else f":{parts.port}"
        url = parts._replace(netloc=_THIS_COMPUTER + port).geturl()
    return _NAME + url


def is_comfyui(name: str) -> bool:
    """Whether a record names a ComfyUI by its address."""
    return name.startswith(f"{_NAME}http")


def same_engine(one: str, other: str) -> bool:
    """Whether two records name one engine, also where an older program has kept the address as it was given."""
    return _plain(one) == _plain(other)


def _plain(name: str) -> str:
    return engine_at(name.removeprefix(_NAME)) if is_comfyui(name) else name
