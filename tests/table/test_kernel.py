"""Which kernel we run under: the same answer in every process of a boot, and None where it cannot be known."""

from __future__ import annotations

import ctypes
import platform
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from wfrecovery.bridge.table import kernel
from wfrecovery.bridge.table.kernel import kernel_boot

#: Past what is remembered: the beat of an owner that another test has left behind asks at any moment, and would have it
#: remembered in the middle of a test.
asked_boot, asked_computer = kernel_boot.__wrapped__, kernel.computer.__wrapped__
UUID_A = "0b0c9a8e-6f0e-4a51-9d0c-0a3f9b5f7a11"


@pytest.fixture(autouse=True, scope="module")
def _remembered() -> None:
    """The truth, before a test pretends to be elsewhere: that beat would have the pretence remembered."""
    kernel_boot()
    kernel.computer()


class _Libc:
    """A `sysctlbyname` that knows one name."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer

    def sysctlbyname(self, name: bytes, buffer: Any, size: Any, _new: None, _length: Any) -> int:
        if name != b"kern.bootsessionuuid" or not self.answer:
            return -1
        buffer.value = self.answer
        return 0


class _Registry:
    """A `winreg` with one value; an exception stands for a key that may not be opened."""

    HKEY_LOCAL_MACHINE, KEY_READ, KEY_WOW64_64KEY = object(), 0x20019, 0x100

    def __init__(self, machine: str | Exception) -> None:
        self.machine = machine

    def OpenKey(self, root: object, path: str, _reserved: int, access: int) -> _Registry:  # noqa: N802
        assert (root, path, access) == (self.HKEY_LOCAL_MACHINE, r"SOFTWARE\Microsoft\Cryptography", 0x20119)
        if isinstance(self.machine, Exception):
            raise self.machine
        return self

    def QueryValueEx(self, _key: object, name: str) -> tuple[object, int]:  # noqa: N802
        assert name == "MachineGuid"
        return self.machine, 1

    def __enter__(self) -> _Registry:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def on_windows(monkeypatch: pytest.MonkeyPatch, machine: str | Exception, name: str = "RENDER-1") -> str | None:
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setitem(sys.modules, "winreg", _Registry(machine))
    monkeypatch.setattr(platform, "node", lambda: name)
    return asked_boot()


@pytest.mark.skipif(sys.platform not in ("linux", "darwin", "win32"), reason="not known elsewhere")
def test_another_process_of_this_boot_says_the_same() -> None:
    code = "from wfrecovery.bridge.table.kernel import kernel_boot; print(kernel_boot())"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == str(kernel_boot())
    assert kernel_boot() is not None


def test_it_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    first = kernel_boot()
    monkeypatch.setattr(sys, "platform", "plan9")
    assert kernel_boot() == first


def test_an_unknown_system_cannot_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "freebsd14")
    assert asked_boot() is None


def test_linux_tells_one_boot_from_another(tmp_path: Path) -> None:
    path = tmp_path / "boot_id"
    path.write_text(f"{UUID_A}\n")
    assert kernel._linux_boot(path) == f"linux:{UUID_A}"


@pytest.mark.parametrize("content", [None, "", "no id\n", "00000000-0000-0000-0000-000000000000\n"])
def test_linux_without_a_boot_id_cannot_be_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None
) -> None:
    path = tmp_path / "boot_id"
    if content is not None:
        path.write_text(content)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(kernel, "_linux_boot", lambda real=kernel._linux_boot: real(path))
    assert asked_boot() is None


def test_macos_is_asked_by_sysctl() -> None:
    assert kernel._macos_boot(_Libc(UUID_A.upper().encode())) == f"macos:{UUID_A}"


@pytest.mark.parametrize("libc", [_Libc(b""), _Libc(b"garbage"), SimpleNamespace()])
def test_macos_without_it_cannot_be_told(monkeypatch: pytest.MonkeyPatch, libc: Any) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(ctypes, "CDLL", lambda *_args, **_kwargs: libc)
    assert asked_boot() is None


def test_windows_computers_differ_by_installation_and_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies of one virtual machine have the same MachineGuid; neither name nor id can be read off."""
    here = on_windows(monkeypatch, "guid-1")
    assert here is not None
    assert here == on_windows(monkeypatch, "guid-1", "render-1")
    assert len({here, on_windows(monkeypatch, "guid-2"), on_windows(monkeypatch, "guid-1", "RENDER-2")}) == 3
    assert "guid" not in here
    assert "render" not in here.lower()


@pytest.mark.parametrize(
    ("machine", "name"), [(PermissionError("no"), "A"), (FileNotFoundError("no"), "A"), ("", "A"), ("guid", "")]
)
def test_windows_without_it_cannot_be_told(
    monkeypatch: pytest.MonkeyPatch, machine: str | Exception, name: str
) -> None:
    assert on_windows(monkeypatch, machine, name) is None


def test_windows_without_winreg_cannot_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setitem(sys.modules, "winreg", None)
    assert asked_boot() is None


# ------------------------------------------------------------------ the computer, over its restarts

ON_A_DISK = "proc /proc proc rw 0 0\n/dev/sda1 / ext4 rw 0 0\n"
IN_A_CONTAINER = "overlay / overlay rw,lowerdir=/var/lib/x 0 0\nproc /proc proc rw 0 0\n"
ID = "3d1219c7c4c5404aaa1f6d2a48adfda4"


@pytest.fixture
def linux(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A computer of that name, with these files; its id."""

    def on_linux(machine: str | None = ID, name: str = "render-1", mounts: str | None = ON_A_DISK) -> str | None:
        paths = tmp_path / "machine-id", tmp_path / "mounts"
        for path, content in zip(paths, (machine, mounts), strict=True):
            path.unlink(missing_ok=True)
            if content is not None:
                path.write_text(content)
        monkeypatch.setattr(sys, "platform", "linux")
        monkeypatch.setattr(platform, "node", lambda: name)
        monkeypatch.setattr(kernel, "_linux_computer", lambda: real(*paths))
        return asked_computer()

    real = kernel._linux_computer
    return on_linux


def test_linux_computers_differ_by_installation_and_by_name(linux: Any) -> None:
    here = linux()
    assert here == linux(f"{ID}\n", "Render-1")
    assert len({here, linux(ID[::-1]), linux(ID, "render-2"), None}) == 4
    assert ID not in here
    assert "render" not in here


@pytest.mark.parametrize("machine", [None, "", "uninitialized\n", "0" * 32])
def test_linux_without_a_machine_id_cannot_be_told(linux: Any, machine: str | None) -> None:
    assert linux(machine) is None


def test_linux_without_a_name_or_its_mounts_cannot_be_told(linux: Any) -> None:
    assert linux(name="") is None
    assert linux(mounts=None) is None


def test_a_container_may_run_anywhere(linux: Any) -> None:
    """Those of one image may have its machine-id, and those of one service its name."""
    assert linux(mounts=IN_A_CONTAINER) is None
    assert linux(mounts=ON_A_DISK + IN_A_CONTAINER) is None, "the last one that was mounted counts"


def test_macos_is_asked_for_its_hardware(monkeypatch: pytest.MonkeyPatch) -> None:
    class Libc:
        def gethostuuid(self, found: Any, _wait: Any) -> int:
            found[:] = bytes.fromhex(ID)
            return 0

    assert kernel._macos_computer(Libc()) == "3d1219c7-c4c5-404a-aa1f-6d2a48adfda4"
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(ctypes, "CDLL", lambda *_args, **_kwargs: SimpleNamespace())
    assert asked_computer() is None


@pytest.mark.parametrize("system", ["win32", "freebsd14"])
def test_where_it_is_not_asked_it_cannot_be_told(monkeypatch: pytest.MonkeyPatch, system: str) -> None:
    monkeypatch.setattr(sys, "platform", system)
    assert asked_computer() is None
