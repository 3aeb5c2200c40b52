"""Which kernel a process runs under: a lock tells something about its holder only to those under the same one.

And which computer that is, over its restarts: who ran on another one has not ended with the power of this one.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import logging
import platform
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, Final
from uuid import UUID

log = logging.getLogger("wfrecovery")

#: random(4): a random UUID, made once at each start of the kernel; the same in every container on it.
_LINUX_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
#: XNU's bsd/kern/kern_sysctl.c: a random UUID of this boot session.
_MACOS_BOOT_ID: Final = b"kern.bootsessionuuid"
#: machine-id(5): made when Linux is installed; a container has its image's, or none.
_LINUX_MACHINE_ID: Final = Path("/etc/machine-id")
_LINUX_MOUNTS: Final = Path("/proc/self/mounts")
#: Made when Windows is installed. 32-bit Pythons would look into a registry of their own without the second flag.
_WINDOWS_MACHINE_ID: Final = r"SOFTWARE\Microsoft\Cryptography"


@functools.cache
def kernel_boot() -> str | None:
    """An id of this computer and this start of its kernel, the same in all of its processes and containers.

    None where nothing can be known: that is like another kernel, never like the same. On Windows it is the computer
    alone, see `_windows_computer`.
    """
    asked = {"linux": _linux_boot, "darwin": _macos_boot, "win32": _windows_computer}.get(sys.platform)
    if asked is None:
        return None
    try:
        return asked()
    except (OSError, ValueError, AttributeError, ImportError) as error:
        log.debug("[wfrecovery] this start of the kernel cannot be told: %s", error)
        return None


@functools.cache
def computer() -> str | None:
    """An id of this computer that its restarts leave as it is.

    None where it cannot be told from any other: that is like another computer, never like the same. On Windows it is
    not needed, see `_windows_computer`. Hashed: it is written into a folder that others read.
    """
    asked: dict[str, Callable[[], str]] = {"linux": _linux_computer, "darwin": _macos_computer}
    ask = asked.get(sys.platform)
    try:
        return hashlib.sha256(f"wfrecovery/{ask()}".encode()).hexdigest()[:32] if ask else None
    except (OSError, ValueError, AttributeError) as error:
        log.debug("[wfrecovery] this computer cannot be told from others: %s", error)
        return None


def _linux_computer(path: Path = _LINUX_MACHINE_ID, mounts: Path = _LINUX_MOUNTS) -> str:
    """The name is a part of it because copies of a virtual machine may have one id. All containers of an image may have
    both, on whatever computer they are: their root is layers of that image."""
    root = [line.split()[2] for line in mounts.read_text("utf-8", "replace").splitlines() if line.split()[1:2] == ["/"]]
    if root[-1:] == ["overlay"]:
        raise ValueError("a container may run anywhere")
    name = platform.node()
    if not name:
        raise ValueError("the computer has no name")
    return f"{name.lower()}/{_some_uuid(path.read_text('ascii'))}"


def _macos_computer(libc: Any = None) -> str:
    """By gethostuuid(3): of the hardware; the name changes with the network there."""
    libc = ctypes.CDLL(None, use_errno=True) if libc is None else libc
    found, wait = (ctypes.c_ubyte * 16)(), (ctypes.c_long * 2)(1, 0)
    if libc.gethostuuid(found, wait) != 0:
        raise OSError(ctypes.get_errno(), "gethostuuid")
    return str(_some_uuid(bytes(found).hex()))


def _linux_boot(path: Path = _LINUX_BOOT_ID) -> str:
    return f"linux:{_some_uuid(path.read_text('ascii'))}"


def _macos_boot(libc: Any = None) -> str:
    """By sysctlbyname(3): a process for `sysctl` would cost more, and may be forbidden in a sandbox."""
    libc = ctypes.CDLL(None, use_errno=True) if libc is None else libc
    size = ctypes.c_size_t(64)
    buffer = ctypes.create_string_buffer(size.value)
    if libc.sysctlbyname(_MACOS_BOOT_ID, buffer, ctypes.byref(size), None, ctypes.c_size_t(0)) != 0:
        raise OSError(ctypes.get_errno(), "sysctl kern.bootsessionuuid")
    return f"macos:{_some_uuid(buffer.value.decode('ascii'))}"


def _windows_computer() -> str:
    """The computer without its boot.

    Windows has no documented id of a boot; the time of the boot is computed from the clock, and moves when the clock
    is set, so two processes of one boot would disagree. It is not missed: a restart ends every holder of a lock, and
    within one computer a free lock tells that rightly. The name is a part of it because copies of a virtual machine
    have the same MachineGuid. Hashed: it is written into a folder that others read.
    """
    registry = import_module("winreg")
    access = registry.KEY_READ | registry.KEY_WOW64_64KEY
    with registry.OpenKey(registry.HKEY_LOCAL_MACHINE, _WINDOWS_MACHINE_ID, 0, access) as key:
        machine, _ = registry.QueryValueEx(key, "MachineGuid")
    name = platform.node()
    if not (machine and name):
        raise ValueError("the computer has no name")
    return f"windows:{hashlib.sha256(f'{name.lower()}/{machine}'.encode()).hexdigest()[:32]}"


def _some_uuid(text: str) -> UUID:
    """The id in `text`. A sandbox that imitates it with zeros would make all computers one."""
    found = UUID(text.strip())
    if not found.int:
        raise ValueError("the id is all zeros")
    return found
