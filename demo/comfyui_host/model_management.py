"""``comfy.model_management``: the part about interruption."""

import threading

_interrupted = threading.Event()


class InterruptProcessingException(Exception):  # noqa: N818 - the name is ComfyUI's
    """The running prompt was interrupted by the user."""


def interrupt_current_processing(value: bool = True) -> None:
    """Ask the running prompt to stop (or take the request back)."""
    if value:
        _interrupted.set()
    else:
        _interrupted.clear()


def processing_interrupted() -> bool:
    """Whether a stop was asked for."""
    return _interrupted.is_set()


def throw_exception_if_processing_interrupted() -> None:
    """Raise once when a stop was asked for; the request is used up by that."""
    if _interrupted.is_set():
        _interrupted.clear()
        raise InterruptProcessingException


def unload_all_models() -> None:
    """There are no models; plugins may call this all the same."""


def soft_empty_cache(force: bool = False) -> None:
    """There is no GPU memory; plugins may call this all the same."""
