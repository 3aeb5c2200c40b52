"""`wfrecovery doctor`: the one command that has to work with settings that cannot be read."""

from __future__ import annotations

import argparse
import json
import os

from ..doctor.report import report
from ..settings import Settings, SettingsError, config_file, load_settings
from ..terminal import ProgressBar
from ..wording import Wording, wording_of
from .context import ATTENTION, WELL, CommandError, sentence, settings_of


def run(arguments: argparse.Namespace, language: str) -> int:
    """Settings that cannot be read are one of its findings."""
    problem: Wording | None = None
    try:
        settings = settings_of(arguments)
    except (CommandError, OSError) as error:
        problem = error.wording if isinstance(error, CommandError) else wording_of(sentence(error))
        settings = _where_only()
    bar = ProgressBar(Wording("checking", "正在检查").text(language))
    try:
        found = report(
            settings,
            settings.output_dir or "output",
            settings_error=problem,
            config=config_file(arguments.config),
            on_progress=bar.show,
        )
    finally:
        bar.end()
    if arguments.json:
        print(json.dumps(found.to_json(language), ensure_ascii=False, indent=1))
    else:
        print(found.text(language))
    return WELL if found.ok else ATTENTION


def _where_only() -> Settings:
    """Who renders and where the folder is, from the environment, as far as that can be used."""
    names = ("COMFYUI_URL", "WFRECOVERY_ENGINE", "WFRECOVERY_OUTPUT")
    kept = {name: os.environ[name] for name in names if name in os.environ}
    try:
        return load_settings(environ=kept)
    except SettingsError:
        return Settings()
