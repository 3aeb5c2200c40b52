"""The settings, and those of them that are set in ComfyUI's own settings dialog: kept in a file of their own.

What the environment or `config.toml` says cannot be changed in the page. Changes take effect at once.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ...bridge.settings import (
    CONFIG_NAME,
    PAGE_SETTINGS,
    Settings,
    SettingsError,
    config_file,
    fixed_settings,
    load_settings,
    typed,
)
from ...bridge.table.disk import AtomicFiles, Disk

log = logging.getLogger("wfrecovery")

FILE_NAME: Final = "page_settings.json"


class FixedSettingError(SettingsError):
    """The environment or `config.toml` decides this one."""


class PageSettings:
    """What applies now (`current`), and what is wrong with it (`error`). For several threads at once."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._path = folder, folder / FILE_NAME
        self._files = AtomicFiles(Disk())
        self._mutex = threading.Lock()
        #: names that the page cannot change, and where they are set
        self.fixed: dict[str, str] = {}
        #: why the settings of environment and `config.toml` are not used
        self.config_error: str | None = None
        self._page, self._page_error = self._read()
        if self._page_error:
            log.warning("[wfrecovery] %s", self._page_error)
        self.current = self._load()

    @property
    def config(self) -> Path | None:
        """The file in which a person writes settings."""
        return config_file(self._folder / CONFIG_NAME)

    @property
    def error(self) -> str | None:
        """What is wrong with any of the settings."""
        return self.config_error or self._page_error

    @property
    def why_not_publishing(self) -> str | None:
        """What publishing lacks; None where it is on."""
        missing = self.current.missing
        return self.config_error or (f"not set: {', '.join(missing)}" if missing else None)

    def shown(self) -> dict[str, Any]:
        """For the page."""
        return {
            "settings": {name: getattr(self.current, name) for name in PAGE_SETTINGS},
            "fixed": dict(self.fixed),
            "feishu_configured": self.current.feishu_configured,
        }

    def change(self, values: Mapping[str, Any]) -> Settings:
        """Store some of the page's settings and use them from now on.

        Raises FixedSettingError, SettingsError for an unknown name or a bad value, or OSError: then nothing changes.
        """
        unknown = sorted(values.keys() - set(PAGE_SETTINGS))
        if unknown:
            raise SettingsError(f"{', '.join(unknown)}: the page can set {', '.join(PAGE_SETTINGS)}")
        checked = {name: _plain(name, value) for name, value in values.items()}
        with self._mutex:
            for name in checked.keys() & self.fixed.keys():
                if checked[name] != getattr(self.current, name):
                    raise FixedSettingError(f"{name} is set by {self.fixed[name]} and can only be changed there")
            page = {**self._page, **{name: value for name, value in checked.items() if name not in self.fixed}}
            if page != self._page:
                self._folder.mkdir(parents=True, exist_ok=True)
                self._files.write(self._path, json.dumps(page, indent=1).encode())
                self._page = page
                self.current = self._load()
            return self.current

    def _load(self) -> Settings:
        """Settings that cannot be used switch publishing off; recording goes on with the others."""
        config = self._folder / CONFIG_NAME
        try:
            settings = load_settings(config, page=self._page)
            self.fixed = fixed_settings(config)
        except (SettingsError, OSError) as error:
            if self.config_error is None:
                log.error(
                    "[wfrecovery] %s. Publishing is off until this is mended and ComfyUI is started again.", error
                )
            self.config_error = str(error)
            return Settings(**{name: typed(name, self._page[name]) for name in PAGE_SETTINGS if name in self._page})
        return settings

    def _read(self) -> tuple[dict[str, Any], str | None]:
        """What the page stored, without what cannot be used, and what is wrong with that."""
        try:
            stored = json.loads(self._path.read_text("utf-8"))
            if not isinstance(stored, dict):
                raise TypeError("it is not an object")
        except FileNotFoundError:
            return {}, None
        except (OSError, ValueError, TypeError, RecursionError) as error:
            self._set_aside()
            return {}, f"{self._path} cannot be read ({error}): the page's settings have their defaults"
        usable, bad = dict(stored), []  # what a newer version stored stays in the file
        for name in PAGE_SETTINGS:
            try:
                if name in stored:
                    usable[name] = _plain(name, stored[name])
            except SettingsError:
                bad.append(name)
                del usable[name]
        return usable, f"{self._path}: {', '.join(bad)} cannot be used and has its default" if bad else None

    def _set_aside(self) -> None:
        """The next change must not overwrite what a person may want to look at."""
        try:
            self._path.replace(self._path.with_name(f"{FILE_NAME}.damaged"))
        except OSError as error:
            log.warning("[wfrecovery] %s cannot be set aside: %s", self._path, error)


def _plain(name: str, value: Any) -> Any:
    """A checked value as JSON holds it."""
    checked = typed(name, value)
    return getattr(checked, "value", checked)
