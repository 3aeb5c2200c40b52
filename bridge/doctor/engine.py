"""`doctor`'s question who renders for main.py, where that is no ComfyUI."""

from __future__ import annotations

from typing import Any, Final

from ..engines.chosen import engine_from
from ..engines.comfyui import ComfyUIClient
from ..engines.in_use import EngineInUse
from ..engines.runninghub import RunningHubClient
from ..settings import Settings, SettingsError
from ..wording import Wording
from . import runninghub
from .checks import Findings

TITLES: Final = {"engine": Wording("who renders", "由谁生成")}


class ChosenEngine:
    """What WFRECOVERY_ENGINE names. `readable`: False where the settings are not the user's, so that nothing is made
    of them."""

    def __init__(self, settings: Settings, *, readable: bool = True) -> None:
        self._settings, self._readable = settings, readable
        self._client: Any = None
        self._problem: Wording | None = None
        if readable:
            try:
                self._client = engine_from(settings)
            except SettingsError as error:
                self._problem = error.wording

    @property
    def comfyui_url(self) -> str | None:
        """Of the ComfyUI that renders; None where a cloud does."""
        if isinstance(self._client, ComfyUIClient):
            return self._client.base_url
        return None if self._settings.engine not in ("", "comfyui") else self._settings.comfyui_url

    @property
    def titles(self) -> dict[str, Wording]:
        """The questions that it asks for."""
        if self.comfyui_url is not None:
            return TITLES if self._settings.runninghub_api_key else {}
        known = isinstance(self._client, RunningHubClient) or self._settings.engine == "runninghub"
        return {**TITLES, **runninghub.TITLES} if known else TITLES

    def examine(self, found: Findings) -> None:
        """Of a client that is the team's own, no more is known than its name."""
        if self._problem is not None:
            advice = Wording(
                "mend that, in the environment or in config.toml, and run this again in main.py's folder",
                "在环境变量或 config.toml 里改正，然后在 main.py 所在的文件夹里再运行一次",
            )
            found.wrong("engine", self._problem, advice, blocks=self.titles)
        elif self.comfyui_url is not None and self.titles:
            found.unknown(
                "engine",
                Wording(
                    "the ComfyUI at COMFYUI_URL, although RUNNINGHUB_API_KEY is set",
                    "COMFYUI_URL 的 ComfyUI，虽然设置了 RUNNINGHUB_API_KEY",
                ),
                Wording(
                    "if main.py renders on RunningHub, set WFRECOVERY_ENGINE=runninghub: then recover, status, push "
                    "and this command work on its tasks",
                    "如果 main.py 使用 RunningHub，请设置 WFRECOVERY_ENGINE=runninghub：recover、status、push 和本命令"
                    "就会处理它的任务",
                ),
            )
        elif self.titles and self._readable:
            found.well("engine", EngineInUse.of(self._client).name)
            if isinstance(self._client, RunningHubClient):
                runninghub.examine(found, self._client, by_settings=self._settings.engine == "runninghub")
