"""Several programs at once, and programs that die: real `main.py`s, real signals, and the stand-in of ComfyUI."""

from __future__ import annotations

from pathlib import Path

from main_processes import Main, Supervised, pictures, records, until

from wfrecovery.bridge.table.records import Stage

KILLER = 2
FORTY = range(KILLER, KILLER + 41)


# ------------------------------------------------------------------ a row that takes ComfyUI down


def test_main_py_lives_through_a_row_that_kills_comfyui(tmp_path: Path) -> None:
    """ComfyUI has no plugin and counts nothing. The forty rows that waited behind it are not to blame."""
    output = tmp_path / "output"
    with Supervised(tmp_path) as comfy, Main(comfy.url, output, FORTY, killer=KILLER) as main:
        assert main.ends() == list(FORTY)
        assert_only_the_killer_failed(comfy, output)


def test_main_py_dies_too_with_each_row_that_kills_comfyui(tmp_path: Path) -> None:
    """As where both are on the computer that hangs then."""
    output, mains = tmp_path / "output", list[Main]()

    def die_with_it() -> None:
        mains[-1].kill()

    with Supervised(tmp_path, before=die_with_it) as comfy:
        while True:
            known = comfy.killed()
            with Main(comfy.url, output, FORTY, killer=KILLER, steps="once" if mains else "") as main:
                mains.append(main)
                until(lambda: main.process.poll() is not None)
                if main.process.returncode == 0:
                    break
                assert comfy.killed() > known
                assert len(mains) < 12
        assert_only_the_killer_failed(comfy, output)


def assert_only_the_killer_failed(comfy: Supervised, output: Path) -> None:
    """A row may take the blame once, and come before the killer once: it was rendered, and nobody had heard of that."""
    tasks = records(output)
    killer = tasks.pop(KILLER)
    assert (killer.stage, killer.attempts) == (Stage.FAILED, 3)
    assert "3 times" in (killer.error_message or "")
    assert {task.stage for task in tasks.values()} == {Stage.FINISHED}
    blamed = {number: task.attempts for number, task in tasks.items() if task.attempts}
    assert set(blamed.values()) <= {1}, blamed
    assert comfy.killed() == 3 + len(blamed)
    assert min(pictures(comfy, number) for number in tasks) == 1
