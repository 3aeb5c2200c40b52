"""What all commands share: the settings, ComfyUI, main.py's table, how an answer is shown, and the exit codes."""

from __future__ import annotations

import argparse
import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from ..engines.chosen import engine_from
from ..engines.comfyui import ComfyUIClient, ComfyUIError
from ..settings import Settings, SettingsError, load_settings
from ..table.files import FOLDER_NAME
from ..table.manager import DatabaseManager
from ..terminal import ProgressBar, printable
from ..wording import Wording, wording_of

#: Exit codes.
WELL: Final = 0
ATTENTION: Final = 1
NOT_DONE: Final = 2


class CommandError(Exception):
    """The command cannot be carried out; the text says what to do, `kind` is for scripts."""

    def __init__(self, kind: str, wording: Wording | str) -> None:
        self.kind, self.wording = kind, wording_of(wording)
        super().__init__(self.wording.en)


class Context:
    """What every command needs: settings, who renders, and main.py's table where there is one."""

    def __init__(self, arguments: argparse.Namespace, language: str) -> None:
        self.arguments, self.language = arguments, language
        self.settings = settings_of(arguments)
        try:
            self.engine = engine_from(self.settings)
        except SettingsError as error:
            raise CommandError("settings", error.wording) from error
        #: None where a cloud renders: then no ComfyUI is asked, and all is about main.py's table
        self.comfy = self.engine if isinstance(self.engine, ComfyUIClient) else None
        self.output_dir = Path(self.settings.output_dir or "output")
        self.db = DatabaseManager(self.output_dir) if (self.output_dir / FOLDER_NAME).is_dir() else None
        if self.db is not None:  # else others take it for a main.py
            self.db.owners.name = self.db.owners.name.replace("main.py", "wfrecovery", 1)

    @property
    def only_here(self) -> bool:
        """Whether main.py's table alone is meant: a person says so, or there is no other."""
        return self.comfy is None or bool(getattr(self.arguments, "local", False))

    def table(self) -> DatabaseManager:
        """Main.py's; raises CommandError where there is none."""
        if self.db is None:
            raise CommandError(
                "no_table",
                Wording(
                    f"there is no task table in {self.output_dir}: set WFRECOVERY_OUTPUT to main.py's output folder",
                    f"{self.output_dir} 里没有任务表：请把 WFRECOVERY_OUTPUT 设为 main.py 的输出文件夹",
                ),
            )
        return self.db

    def say(self, wording: Wording) -> str:
        """In the reader's language."""
        return wording.text(self.language)

    def last_error(self, feishu: Mapping[str, Any]) -> str:
        """Why a result is not in the sheet, in the reader's language where it was said in that."""
        chinese = feishu.get("last_error_zh") if self.language == "zh" else None
        return str(chinese or feishu.get("last_error") or "")

    def show(self, data: Any, lines: Sequence[str]) -> None:
        """Print for a script or for a person."""
        print(json.dumps(data, ensure_ascii=False, indent=1) if self.arguments.json else printable("\n".join(lines)))

    @contextlib.contextmanager
    def progress(self, what: Wording) -> Iterator[ProgressBar]:
        """A progress bar for as long as something goes on."""
        bar = ProgressBar(self.say(what))
        try:
            yield bar
        finally:
            bar.end()

    async def plugin(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The plugin's answer; raises CommandError that says what is wrong."""
        if self.comfy is None:
            name = getattr(self.engine, "engine", None) or type(self.engine).__name__
            raise CommandError("no_plugin", Wording(f"{name} has no plugin", f"{name} 没有插件"))
        if method == "POST":
            path = f"{path}?lang={self.language}"
        try:
            status, answer = await self.comfy.ask_plugin(method, path, body)
        except ComfyUIError as error:
            raise CommandError(
                "unreachable",
                Wording(
                    f"{error}. Start ComfyUI, or set COMFYUI_URL to where it runs (wfrecovery doctor finds out more)",
                    f"ComfyUI 没有响应（{self.comfy.base_url}）。请启动 ComfyUI，或把 COMFYUI_URL 设为它的地址"
                    "（wfrecovery doctor 可以查明原因）",
                ),
            ) from error
        refusal = answer.get("error") if isinstance(answer, Mapping) else None
        if status == 404 and not refusal:
            raise CommandError(
                "no_plugin",
                Wording(
                    f"ComfyUI at {self.comfy.base_url} runs without the plugin: put wfrecovery into custom_nodes",
                    f"{self.comfy.base_url} 上的 ComfyUI 没有加载插件：请把 wfrecovery 放进 custom_nodes",
                ),
            )
        if status >= 400:
            said = refusal.get("message") if isinstance(refusal, Mapping) else None
            kind = str(refusal.get("type")) if isinstance(refusal, Mapping) else "refused"
            raise CommandError(kind, str(said or f"the plugin answered HTTP {status} to {method} {path}"))
        return answer


def settings_of(arguments: argparse.Namespace) -> Settings:
    """What the environment and `--config` say; raises CommandError that names what is wrong."""
    if arguments.config and not Path(arguments.config).is_file():
        raise CommandError("settings", Wording(f"there is no file {arguments.config}", f"没有文件 {arguments.config}"))
    try:
        return load_settings(arguments.config)
    except SettingsError as error:
        raise CommandError("settings", error.wording) from error


def sentence(error: OSError) -> str:
    """What the system refuses, and of which file."""
    return f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error)
