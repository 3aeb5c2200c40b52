"""`doctor` changes nothing, and says who else can read the settings and the records."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import preloaded
import pytest
from table_support import GRAPH, finish, img, job, job_id

from wfrecovery.bridge.doctor.checks import Findings
from wfrecovery.bridge.doctor.folder import PACKAGE_TITLES, examine
from wfrecovery.bridge.doctor.folder import TITLES as FOLDER_TITLES
from wfrecovery.bridge.doctor.privacy import TITLES, examine_config, examine_reach, listens_on
from wfrecovery.bridge.doctor.report import report
from wfrecovery.bridge.settings import Settings
from wfrecovery.bridge.table.database import WorkflowDatabase

POSIX_ONLY = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such rights")
#: Nothing answers there.
NOBODY = "http://127.0.0.1:9"


def everything(folder: Path) -> dict[str, tuple[Any, ...]]:
    """Each file and folder: content, times, rights, and whether it is still the same one. That locks were tried in the
    output folder, and what that made is gone again, is seen by the folder's own time."""
    found = {}
    for path in (folder, *folder.rglob("*")):
        status = path.lstat()
        content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        times = (status.st_mtime_ns, status.st_ctime_ns) if path != folder else ()
        found[str(path)] = (content, *times, status.st_mode, status.st_ino, status.st_size)
    return found


def worn_table(output: Path) -> WorkflowDatabase:
    """Records that are fine, damaged (with and without a graph), newer, half moved, set aside; and a crash's litter."""
    table = WorkflowDatabase(output)
    for number in range(1, 7):
        table.create(job(number), GRAPH if number % 2 else None)
    table.create(img(1), GRAPH)
    table.claim_id(None, wanted="job_20200101_001")
    active = table.files.active
    (active / f"{job_id(1)}.json").write_text("{ cut off", "utf-8")
    (active / f"{job_id(2)}.json").write_bytes(b"\xff\xfe")
    newer = json.loads((active / f"{job_id(3)}.json").read_text("utf-8"))
    (active / f"{job_id(3)}.json").write_text(json.dumps({**newer, "schema": 99}), "utf-8")
    moved = table.update(job_id(4), finish)
    shutil.copy(table.files.done_path(moved.task_id), active / f"{moved.task_id}.json")
    (active / f".{job_id(5)}.json.1-2.tmp").write_text("half")
    table.files.corrupt.mkdir()
    (table.files.corrupt / f"{job_id(9)}.json").write_text("{")
    (table.files.corrupt / f"{job_id(9)}.json.reason.txt").write_text("cut off")
    return table


def looked_at(output: Path) -> dict[str, Any]:
    found = Findings({**PACKAGE_TITLES, **FOLDER_TITLES})
    found.well("filelock")
    examine(found, output, None, alone=False)
    return {check.id: check for check in found.checks()}


def test_a_worn_table_is_told_and_left_as_it_is(tmp_path: Path) -> None:
    worn_table(tmp_path)
    before = everything(tmp_path)
    checks = looked_at(tmp_path)
    assert everything(tmp_path) == before
    assert checks["table"].ok
    assert checks["damaged"].ok is False
    for name in (f"active/{job_id(1)}.json", f"active/{job_id(2)}.json", "schema 99", f"{job_id(9)}.json"):
        assert name in checks["damaged"].detail.en
    assert checks["damaged"].detail.en.startswith("4: ")


def test_the_command_and_the_whole_report_leave_all_as_it_is(tmp_path: Path) -> None:
    worn_table(tmp_path)
    before = everything(tmp_path)
    environment = {**os.environ, "WFRECOVERY_OUTPUT": str(tmp_path), "COMFYUI_URL": NOBODY}
    command = [sys.executable, "-m", "wfrecovery.bridge.cli", "doctor", "--json"]
    ended = preloaded.run(command, env=environment)
    assert {check["id"] for check in json.loads(ended.stdout)["checks"]} >= {"table", "damaged"}, ended.stderr
    report(Settings(comfyui_url=NOBODY), tmp_path, inside={"version": "x", "boot_id": "y", "corrupt": 0})
    assert everything(tmp_path) == before


@pytest.mark.parametrize("there", ["nothing", "an empty folder", "no lock file", "no folders"])
def test_what_is_not_there_is_not_made(tmp_path: Path, there: str) -> None:
    if there != "nothing":
        (tmp_path / "wfrecovery").mkdir()
    if there == "no lock file":
        WorkflowDatabase(tmp_path).create(job(1))
        (tmp_path / "wfrecovery" / "table.lock").unlink()
    before = everything(tmp_path)
    checks = looked_at(tmp_path)
    assert all(check.ok is not False for check in checks.values())
    assert everything(tmp_path) == before


def test_a_table_that_somebody_holds_is_told_and_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wfrecovery.bridge.doctor.folder._LOCK_PATIENCE", 0.1)
    table = worn_table(tmp_path)
    with table.locked():
        before = everything(tmp_path)
        checks = looked_at(tmp_path)
        assert everything(tmp_path) == before
    assert checks["table"].ok is False
    assert "table.lock" in checks["table"].detail.en


@pytest.mark.parametrize("place", ["active", "done", "done/2026-11"])
def test_a_file_in_the_place_of_a_folder_is_told(tmp_path: Path, place: str) -> None:
    """Nothing is recorded or listed then."""
    WorkflowDatabase(tmp_path).create(job(1))
    folder = tmp_path / "wfrecovery" / place
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(exist_ok=True)
    folder.write_text("a person's")
    before = everything(tmp_path)
    check = looked_at(tmp_path)["table"]
    assert everything(tmp_path) == before
    assert check.ok is False
    assert str(folder) in check.detail.en


@POSIX_ONLY
def test_a_disk_without_locks_is_told_in_both_languages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno  # noqa: PLC0415
    import fcntl  # noqa: PLC0415

    worn_table(tmp_path)

    def flock(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(fcntl, "flock", flock)
    detail = looked_at(tmp_path)["table"].detail
    assert "file locks" in detail.en
    assert "文件锁" in detail.zh


# ------------------------------------------------------------------ who can read the settings


def config_check(config: Path | None) -> Any:
    found = Findings(TITLES)
    examine_config(found, config)
    return found.checks()[0] if found.checks() else None


@POSIX_ONLY
@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o620])
def test_a_config_that_others_can_read_is_told_with_what_mends_it(tmp_path: Path, mode: int) -> None:
    config = tmp_path / "my user's folder" / "config.toml"
    config.parent.mkdir()
    config.write_text("feishu_app_secret = 'x'")
    config.chmod(mode)
    before = everything(tmp_path)
    check = config_check(config)
    assert everything(tmp_path) == before
    assert check.ok is False
    command = f"chmod 600 {shlex.quote(str(config))}"
    assert command in check.advice.en
    assert command in check.advice.zh
    subprocess.run(command, shell=True, check=True)
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    assert config_check(config).ok


def test_without_a_config_nothing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert config_check(None) is None
    assert config_check(tmp_path / "none.toml") is None
    config = tmp_path / "config.toml"
    config.write_text("")
    config.chmod(0o644)
    monkeypatch.setattr("wfrecovery.bridge.doctor.privacy._HAS_RIGHTS", False)
    assert config_check(config) is None


@POSIX_ONLY
def test_the_command_looks_at_the_file_that_it_reads(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("write_failed = true\n")
    config.chmod(0o644)
    environment = {**os.environ, "WFRECOVERY_OUTPUT": str(tmp_path), "COMFYUI_URL": NOBODY}
    command = [sys.executable, "-m", "wfrecovery.bridge.cli", "doctor", "--json"]
    for more, arguments in (({}, ["--config", str(config)]), ({"WFRECOVERY_CONFIG": str(config)}, [])):
        ended = preloaded.run([*command, *arguments], env={**environment, **more})
        checks = {check["id"]: check for check in json.loads(ended.stdout)["checks"]}
        assert str(config) in checks["config_rights"]["advice"]


# ------------------------------------------------------------------ who can see the records


@pytest.mark.parametrize(
    ("argv", "addresses"),
    [
        (["main.py"], ["127.0.0.1"]),
        (["main.py", "--listen"], ["0.0.0.0", "::"]),
        (["main.py", "--listen", "--port", "80"], ["0.0.0.0", "::"]),
        (["main.py", "--listen", "192.168.1.5"], ["192.168.1.5"]),
        (["main.py", "--listen=127.0.0.1,10.0.0.3"], ["127.0.0.1", "10.0.0.3"]),
        (["main.py", "--listen", "localhost"], ["localhost"]),
        (None, ["127.0.0.1"]),
    ],
)
def test_where_comfyui_listens(argv: Any, addresses: list[str]) -> None:
    assert listens_on(argv) == addresses
    found = Findings(TITLES)
    examine_reach(found, argv)
    (check,) = found.checks()
    others = [address for address in addresses if address not in ("127.0.0.1", "localhost")]
    assert check.ok is (None if others else True)
    assert all(address in check.detail.en and address in check.detail.zh for address in others)
    assert ("--listen" in check.advice.en, "--listen" in check.advice.zh) == (bool(others), bool(others))
    for text in (check.detail.en, check.detail.zh):
        assert "/view" in text
        assert "wfrecovery/" in text


@pytest.mark.parametrize(("url", "well"), [("http://10.0.0.3:8188", None), ("http://[::1]:8188", True), (NOBODY, True)])
def test_the_address_under_which_it_answers_tells_as_well(url: str, well: bool | None) -> None:
    found = Findings(TITLES)
    examine_reach(found, ["main.py"], url)
    assert found.checks()[0].ok is well
