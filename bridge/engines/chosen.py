"""The engine that the settings name, so that the command line works with the client that `main.py` uses."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any, Final

from ..redact import redact
from ..settings import Settings, SettingsError
from ..wording import Wording
from .comfyui import ComfyUIClient
from .runninghub import RunningHubClient

_SHORT_NAMES: Final[Mapping[str, Callable[[Settings], Any]]] = {
    "": lambda settings: ComfyUIClient(settings.comfyui_url),
    "comfyui": lambda settings: ComfyUIClient(settings.comfyui_url),
    "runninghub": RunningHubClient.from_settings,
}


def engine_from(settings: Settings) -> Any:
    """The client that WFRECOVERY_ENGINE names: what `module:factory` returns, `runninghub`, or the ComfyUI at
    COMFYUI_URL where nothing is set.

    The module is looked for in the working directory first, as `python -m` does. The factory is given the settings
    where it takes them. Raises SettingsError.
    """
    short = _SHORT_NAMES.get(settings.engine)
    return _made(settings) if short is None else short(settings)


def _made(settings: Settings) -> Any:
    module_name, _, name = settings.engine.partition(":")
    if not (module_name and name):
        raise _wrong(
            f"should be module:factory, or runninghub; it is {settings.engine}",
            f"应为 module:factory 或 runninghub；现在是 {settings.engine}",
        )
    factory = _factory(_imported(settings, module_name), name)
    try:
        client = _called(factory, settings)
    except SettingsError as error:
        raise SettingsError(Wording(f"{settings.engine}: ", f"{settings.engine}：") + error.wording) from error
    except (Exception, SystemExit) as error:
        why = _named(error, settings)
        raise _wrong(f"{settings.engine} failed: {why}", f"{settings.engine} 运行出错：{why}") from error
    if not (hasattr(client, "submit") or hasattr(client, "submit_workflow")):
        kind = type(client).__name__
        raise _wrong(
            f"{settings.engine} returned a {kind}, which has neither submit nor submit_workflow: return the client "
            "that main.py uses",
            f"{settings.engine} 返回了 {kind}，它没有 submit 或 submit_workflow：请返回 main.py 使用的客户端",
        )
    return client


def _imported(settings: Settings, name: str) -> Any:
    here = os.getcwd()  # noqa: PTH109 - sys.path has texts
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name and not name.startswith(f"{error.name}."):  # it is there, and lacks something itself
            why = _named(error, settings)
            raise _wrong(f"{name} cannot be imported: {why}", f"{name} 无法导入：{why}") from error
        raise _wrong(
            f"there is no module {name} in {here}, nor is one installed: run the command in main.py's folder",
            f"{here} 里没有模块 {name}，也没有安装：请在 main.py 所在的文件夹里运行命令",
        ) from error
    except (Exception, SystemExit) as error:  # a program that runs when it is imported may end, too
        why = _named(error, settings)
        raise _wrong(f"{name} cannot be imported: {why}", f"{name} 无法导入：{why}") from error


def _factory(module: Any, name: str) -> Callable[..., Any]:
    try:
        factory: Callable[..., Any] = attrgetter(name)(module)
    except AttributeError as error:
        raise _wrong(f"there is no {name} in {module.__name__}", f"{module.__name__} 里没有 {name}") from error
    if not callable(factory):
        raise _wrong(
            f"{module.__name__}:{name} cannot be called: name a function that returns the client",
            f"{module.__name__}:{name} 不能调用：请指定一个返回客户端的函数",
        )
    return factory


def _called(factory: Callable[..., Any], settings: Settings) -> Any:
    """`factory(settings)` where it asks for them: by that name, or because it takes one argument."""
    try:
        signature = inspect.signature(factory)
    except ValueError:  # written in C
        return factory()
    if "settings" in signature.parameters:
        return factory(settings=settings)
    try:
        signature.bind()
    except TypeError:
        return factory(settings)
    return factory()


def _named(error: BaseException, settings: Settings) -> str:
    text = redact(str(error), settings.secrets).strip()
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _wrong(english: str, chinese: str) -> SettingsError:
    return SettingsError(Wording("WFRECOVERY_ENGINE: ", "WFRECOVERY_ENGINE：") + Wording(english, chinese))
