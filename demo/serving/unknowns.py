"""Switches: what nobody knows of a service, or what varies, each with the values that it may have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any, ClassVar, Literal, TypeVar, get_args, get_origin, get_type_hints

__all__ = ["Unknowns"]

Self = TypeVar("Self", bound="Unknowns")


class Unknowns:
    """The ground of a dataclass of switches. A name or value that it does not know is an error."""

    #: by name, all that each may be; with all of these a client can do its work
    possible: ClassVar[Mapping[str, Sequence[Any]]] = {}
    #: under these it may not, or may not see that it has
    harsh: ClassVar[Mapping[str, Sequence[Any]]] = {}

    #: all switches, and the values of those that have a fixed set of them
    _choices: ClassVar[Mapping[str, tuple[Any, ...]]] = {}

    def __init_subclass__(cls) -> None:
        hints = {name: hint for name, hint in get_type_hints(cls).items() if get_origin(hint) is not ClassVar}
        cls._choices = {name: get_args(hint) if get_origin(hint) is Literal else () for name, hint in hints.items()}

    def __setattr__(self, name: str, value: Any) -> None:
        choices = self._choices
        if name not in choices:
            raise AttributeError(f"there is no switch {name}")
        if choices[name] and value not in choices[name]:
            raise ValueError(f"{name} is one of {', '.join(map(repr, choices[name]))}")
        super().__setattr__(name, value)

    @classmethod
    def drawn(cls: type[Self], rng: Random, *, harsh: bool = False, **fixed: Any) -> Self:
        """Any service that could be: every unknown by chance, but those in `fixed`; with `harsh` the harsh ones too."""
        unknowns = {**cls.possible, **(cls.harsh if harsh else {})}
        # Each is drawn even where it is fixed: so fixing one changes no other.
        drawn = {name: rng.choice(values) for name, values in sorted(unknowns.items())}
        return cls(**{**drawn, **fixed})
