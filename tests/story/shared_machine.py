"""The machine that makes stories of a table that several work in."""

from __future__ import annotations

from typing import ClassVar

import shared_judge
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from savers import Shape
from shared_world import CANCELS, COMFYS, DEADLY, MAINS, SHAPES, SharedWorld
from versions import OLDER

COMFY = st.sampled_from(COMFYS)
MAIN = st.sampled_from(list(MAINS))
#: At which operation of the disk it dies; mostly at none.
DIES = st.none() | st.none() | st.integers(1, 60)
SHAPE = st.sampled_from([*SHAPES.values(), DEADLY])
PASSES = st.integers(0, 12)
INDEX = st.integers(0, 7)


class SharedMachine(RuleBasedStateMachine):
    """One story. `told` counts them."""

    told: ClassVar[int] = 0
    #: whether locks exclude in the folder
    locks: ClassVar[bool] = True

    @initialize(six=st.booleans(), both=st.sampled_from([True, True, False]), late=st.booleans())
    def begin(self, six: bool, both: bool, late: bool) -> None:
        SharedMachine.told += 1
        self.world = SharedWorld(six=six, locks=self.locks)
        for name in COMFYS if both else COMFYS[:1]:
            self.world.start(name, late=late)
        self.world.rest()

    # ------------------------------------------------------------------ work

    @rule(passes=st.integers(1, 40))
    def go_on(self, passes: int) -> None:
        self.world.breathe(passes)

    @rule(name=COMFY, turns=st.integers(1, 6), passes=PASSES)
    def work(self, name: str, turns: int, passes: int) -> None:
        self.world.work(name, turns)
        self.world.breathe(passes)

    @rule(seconds=st.sampled_from([1.0, 2.0, 5.0, 5.0, 30.0, 130.0]))
    def time_goes_by(self, seconds: float) -> None:
        self.world.wait(seconds)

    @rule(name=MAIN, passes=st.integers(0, 60), dies=DIES)
    def a_program_begins_its_batch(self, name: str, passes: int, dies: int | None) -> None:
        main = self.world.mains[name]
        if main is None or not (main.busy or main.stopped):
            self.world.begin(name, passes=passes, dies=dies)

    @rule(name=COMFY, shapes=st.lists(SHAPE, min_size=1, max_size=3), passes=PASSES, dies=DIES)
    def post(self, name: str, shapes: list[Shape], passes: int, dies: int | None) -> None:
        for shape in shapes:
            self.world.post(name, shape, dies=dies)
        self.world.breathe(passes)

    # ------------------------------------------------------------------ death, and sleep

    @rule(which=INDEX, dies=DIES, passes=st.integers(1, 60))
    def kill(self, which: int, dies: int | None, passes: int) -> None:
        processes = self.world.processes()
        if processes:
            process = processes[which % len(processes)]
            if dies is None or process.stopped:
                self.world.kill(process)
            else:
                with self.world.mortal(process, dies):
                    self.world.wait(1.0)
                    self.world.breathe(passes)

    @rule(name=MAIN, passes=st.integers(20, 60), seconds=st.sampled_from([2.0, 5.0, 30.0]))
    def a_program_follows_what_comfyui_does_not_tell_any_more(self, name: str, passes: int, seconds: float) -> None:
        self.world.begin_again(name)
        self.world.breathe(passes)
        self.world.kill_when_whole(MAINS[name])
        self.world.wait(seconds)

    @rule(which=INDEX)
    def stop_or_continue(self, which: int) -> None:
        processes = self.world.processes()
        if processes:
            process = processes[which % len(processes)]
            process.stopped = not process.stopped

    @rule(name=COMFY, passes=PASSES, dies=DIES, late=st.booleans())
    def start(self, name: str, passes: int, dies: int | None, late: bool) -> None:
        """One that runs already is started a second time by mistake."""
        if self.world.comfys[name] is None:
            self.world.start(name, dies=dies, late=late)
            self.world.breathe(passes)
        else:
            self.world.start_by_mistake()

    @rule(name=st.sampled_from([*COMFYS, *MAINS]))
    def end(self, name: str) -> None:
        """ComfyUI in good order; a program by Ctrl-C, which takes it back to its menu."""
        if name in COMFYS:
            self.world.end(name)
        else:
            self.world.ctrl_c(name)

    @rule()
    def the_power_fails(self) -> None:
        self.world.power_cut()

    # ------------------------------------------------------------------ people, and disks

    @rule(name=COMFY, passes=PASSES)
    def recover(self, name: str, passes: int) -> None:
        self.world.recover(name)
        self.world.breathe(passes)

    @rule(name=COMFY, which=INDEX, turns=st.integers(0, 3), passes=PASSES)
    def take_over(self, name: str, which: int, turns: int, passes: int) -> None:
        """From whoever is at work on something; where nobody is, the other ComfyUI gets work first."""
        if not self.world.owners():
            other = COMFYS[1 - COMFYS.index(name)]
            for shape in ("slow", "one"):
                self.world.post(other, SHAPES[shape])
            self.world.work(other, turns)
        owners = self.world.owners()
        if owners:
            self.world.recover(name, take_over=owners[which % len(owners)])
            self.world.breathe(passes)

    @rule(how=st.sampled_from(OLDER))
    def an_older_program_was_here(self, how: str) -> None:
        self.world.older(how)

    @rule(where=st.sampled_from(["active", "done"]))
    def a_newer_program_works_here(self, where: str) -> None:
        self.world.newer(where)

    @rule(name=COMFY, how=st.sampled_from(CANCELS), which=INDEX, dies=DIES, passes=PASSES)
    def cancel(self, name: str, how: str, which: int, dies: int | None, passes: int) -> None:
        self.world.cancel(name, how, which, dies=dies)
        self.world.breathe(passes)

    @rule(what=st.sampled_from(["all", "table", "owners", "locks"]))
    def delete(self, what: str) -> None:
        self.world.delete(what)

    @rule(what=st.sampled_from(["full", "held"]), tries=st.integers(1, 4), passes=PASSES)
    def the_disk_refuses(self, what: str, tries: int, passes: int) -> None:
        self.world.refuse(what, tries)
        self.world.breathe(passes)

    # ------------------------------------------------------------------ the judge

    @invariant()
    def nothing_is_wrong(self) -> None:
        if hasattr(self, "world"):
            shared_judge.always(self.world)

    def teardown(self) -> None:
        if hasattr(self, "world"):
            try:
                self.world.heal()
                shared_judge.healed(self.world)
            finally:
                self.world.close()


class BeatMachine(SharedMachine):
    """The same where locks prove nothing."""

    locks = False
