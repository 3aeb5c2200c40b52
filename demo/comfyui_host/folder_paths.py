"""``folder_paths``: where things lie, and how output files are numbered."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

from .options import options

base_path = ""
models_dir = ""
output_directory = ""
input_directory = ""
temp_directory = ""
user_directory = ""
#: kind of model -> (folders, file extensions)
folder_names_and_paths: dict[str, tuple[list[str], set[str]]] = {}

_MODEL_KINDS = ("checkpoints", "configs", "loras", "vae", "text_encoders", "diffusion_models", "embeddings")
_MODEL_FILES = {".ckpt", ".pt", ".pth", ".safetensors"}
_ANNOTATION = re.compile(r"^(?P<name>.*) ?\[(?P<kind>output|input|temp)\]$", re.DOTALL)


def configure() -> None:
    """Take the base directory from the options and create what is missing in it."""
    base = options.base_directory.resolve()
    names = globals()
    names["base_path"] = str(base)
    for kind in ("output", "input", "temp", "user"):
        (base / kind).mkdir(parents=True, exist_ok=True)
        names[f"{kind}_directory"] = str(base / kind)
    names["models_dir"] = str(base / "models")
    for kind in _MODEL_KINDS:
        (base / "models" / kind).mkdir(parents=True, exist_ok=True)
        folder_names_and_paths[kind] = ([str(base / "models" / kind)], _MODEL_FILES)
    (base / "custom_nodes").mkdir(exist_ok=True)
    folder_names_and_paths["custom_nodes"] = ([str(base / "custom_nodes")], set())
    if options.six:
        # 0.33.0 has it, 0.3.64 does not: plugins test with hasattr.
        names["get_system_user_directory"] = _system_user_directory


def get_output_directory() -> str:
    """Where results are saved."""
    return output_directory


def get_input_directory() -> str:
    """Where uploads lie."""
    return input_directory


def get_temp_directory() -> str:
    """Where previews are saved; emptied at start."""
    return temp_directory


def get_user_directory() -> str:
    """Where settings and workflows lie."""
    return user_directory


def _system_user_directory(name: str = "system") -> str:
    """A private folder that no user can reach over HTTP."""
    if not name or name.startswith("_") or not name.replace("_", "").isalnum():
        raise ValueError(f"Invalid system user name: {name!r}")
    return str(Path(user_directory) / f"__{name}")


def get_directory_by_type(type_name: str) -> str | None:
    """The folder for ``output``, ``input`` or ``temp``; None for anything else."""
    return {"output": output_directory, "input": input_directory, "temp": temp_directory}.get(type_name)


def get_folder_paths(folder_name: str) -> list[str]:
    """The folders of one kind of model, or of custom_nodes."""
    return folder_names_and_paths[folder_name][0][:]


def get_filename_list(folder_name: str) -> list[str]:
    """The model files of one kind, relative to their folder."""
    folders, extensions = folder_names_and_paths[folder_name]
    found: set[str] = set()
    for folder in map(Path, folders):
        for file in folder.rglob("*"):
            if file.is_file() and (not extensions or file.suffix.lower() in extensions):
                found.add(str(file.relative_to(folder)))
    return sorted(found)


def annotated_filepath(name: str) -> tuple[str, str | None]:
    """Split ``"a.png [output]"`` into the name and the folder; no annotation gives None."""
    match = _ANNOTATION.match(name)
    if match is None:
        return name, None
    return match["name"].rstrip(" "), get_directory_by_type(match["kind"])


def get_annotated_filepath(name: str, default_dir: str | None = None) -> str:
    """The full path of an input file, wherever its annotation says that it lies."""
    bare, folder = annotated_filepath(name)
    return str(Path(folder or default_dir or input_directory) / bare)


def exists_annotated_filepath(name: str) -> bool:
    """Whether that input file is there."""
    return Path(get_annotated_filepath(name)).exists()


def get_save_image_path(
    filename_prefix: str, output_dir: str, image_width: int = 0, image_height: int = 0
) -> tuple[str, str, int, str, str]:
    """Folder, file name, counter, sub-folder and prefix for the next file: highest counter there, plus one."""
    prefix = _fill_in(filename_prefix, image_width, image_height)
    normal = Path(os.path.normpath(prefix))
    subfolder = "" if str(normal.parent) == "." else str(normal.parent)
    folder = Path(os.path.normpath(Path(output_dir) / subfolder))
    if not folder.is_relative_to(output_dir):
        raise Exception(  # noqa: TRY002 - ComfyUI raises just that
            f"**** ERROR: Saving image outside the output folder is not allowed.\n full_output_folder: {folder}"
        )
    counter = 1
    if folder.is_dir():
        counter = 1 + max((_counter(entry.name, normal.name) for entry in os.scandir(folder)), default=0)
    else:
        folder.mkdir(parents=True)
    return str(folder), normal.name, counter, subfolder, prefix


def _counter(file: str, name: str) -> int:
    start = f"{name}_"
    if os.path.normcase(file[: len(start)]) != os.path.normcase(start):
        return 0
    digits = file[len(start) :].split("_", maxsplit=1)[0]
    return int(digits) if digits.isdecimal() else 0


def _fill_in(prefix: str, width: int, height: int) -> str:
    now = time.localtime()
    values = {"width": str(width), "height": str(height), "year": str(now.tm_year)}
    for key, number in (
        ("month", now.tm_mon),
        ("day", now.tm_mday),
        ("hour", now.tm_hour),
        ("minute", now.tm_min),
        ("second", now.tm_sec),
    ):
        values[key] = f"{number:02}"
    for key, value in values.items():
        prefix = prefix.replace(f"%{key}%", value)
    return prefix


def is_folder(path: str) -> bool:
    """Whether there is such a folder (kept out of the event loop's modules, which do no file work of their own)."""
    return Path(path).is_dir()
