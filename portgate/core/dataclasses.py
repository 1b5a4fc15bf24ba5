"""Frozen values with slots, declared as dataclasses are, that take a seventh of the time to define.

Theory
    For each dataclass the standard library writes and compiles six functions, which takes 0.3 ms; a command defines a
    hundred of them, and that was a third of its time. For a value only `__init__` need be written, the others can be shared.
    It is written when FEW values have been made, for most classes of a command have none or hardly any.

Rules of this file
    What is asked for beyond `@dataclass(slots=True)`, frozen or not, is left to the standard library.
    Its `replace`, `asdict` and `fields` take these values for dataclasses, and so do type checkers; `replace` of this file
    does not need the fields, which take a millisecond to make.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import repeat
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

__all__ = ["dataclass", "many", "replace"]

T = TypeVar("T")

FEW = 8
"""Values of a class, from which on it pays to write its `__init__`."""

if TYPE_CHECKING:
    from dataclasses import dataclass, replace
else:

    def dataclass(**options: bool) -> Callable[[type], type]:
        """As in the standard library."""
        return lambda cls: _value(cls, options) if _is_plain(cls, options) else dataclasses.dataclass(**options)(cls)

    def replace(value: T, /, **changes: object) -> T:
        """As in the standard library."""
        return type(value)(**{name: getattr(value, name) for name in _names(type(value))} | changes)


def many(like: T, count: int, **columns: Iterable[object]) -> list[T]:
    """So many values that differ from one in these fields, of which each has a column. It takes half the time of making each."""
    made = list(map(object.__new__, repeat(type(like), count)))
    for name in _names(type(like)):
        column = columns[name] if name in columns else repeat(getattr(like, name))
        deque(map(vars(type(like))[name].__set__, made, column), maxlen=0)
    return made


def _names(cls: type) -> tuple[str, ...]:
    """The fields of one of these classes, in order."""
    names: tuple[str, ...] = vars(cls)["__match_args__"]
    return names


def _is_plain(cls: type, options: Mapping[str, bool]) -> bool:
    asked = {**options, "frozen": True} == {"frozen": True, "slots": True}
    return asked and cls.__bases__ == (object,) and not hasattr(cls, "__post_init__")


def _value(cls: type, options: Mapping[str, bool]) -> type:
    body = {name: one for name, one in vars(cls).items() if name not in ("__dict__", "__weakref__")}
    names = tuple(cls.__annotations__)
    declared = {name: body.pop(name) for name in names if name in body}
    uncompared = {name for name, one in declared.items() if isinstance(one, dataclasses.Field) and not one.compare}
    key = _key(tuple(name for name in names if name not in uncompared))

    def equal(self: object, other: object) -> bool:
        return bool(key(self) == key(other)) if other.__class__ is self.__class__ else NotImplemented

    def hashed(self: object) -> int:
        return hash(key(self))

    own = {"__qualname__": cls.__qualname__, "__slots__": names, "__match_args__": names, "__eq__": equal}
    kind = {**_FROZEN, "__hash__": hashed} if options.get("frozen") else {"__hash__": None}
    made = type(cls.__name__, (), {**own, **_SHARED, **kind, **body})
    type.__setattr__(made, "__init__", _first(made, names, dict(_defaults(declared))))
    return made


def _first(cls: type, names: tuple[str, ...], defaults: Mapping[str, object]) -> Callable[..., None]:
    """The `__init__` of the first values: slow, and made in no time. Whatever is wrong with the arguments, the written one tells."""
    setters = [(name, vars(cls)[name].__set__) for name in names]
    left = FEW

    def init(self: object, *values: object, **named: object) -> None:
        nonlocal left
        left -= 1
        given = {**defaults, **dict(zip(names, values, strict=False)), **named}
        wrong = (
            len(given) != len(names) or len(values) > len(names) or not named.keys().isdisjoint(names[: len(values)])
        )
        if left < 0 or wrong:
            written = _init(cls, names, defaults)
            type.__setattr__(cls, "__init__", written)
            written(self, *values, **named)
            return
        for name, set_it in setters:
            value = given[name]
            set_it(self, value.make() if isinstance(value, _Anew) else value)

    return init


def _key(names: tuple[str, ...]) -> Callable[[object], object]:
    return attrgetter(*names) if names else lambda _: ()


class _Anew(NamedTuple):
    """Stands for a default that is made anew for each value."""

    make: Callable[[], object]


def _defaults(declared: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    for name, one in declared.items():
        if not isinstance(one, dataclasses.Field):
            yield name, one
        elif one.default_factory is not dataclasses.MISSING:
            yield name, _Anew(one.default_factory)
        elif one.default is not dataclasses.MISSING:
            yield name, one.default


def _init(cls: type, names: tuple[str, ...], defaults: Mapping[str, object]) -> Callable[..., None]:
    """Written as text, as the standard library does, so that it is called as fast as one written by hand."""
    arguments = [f"{name}=_{name}" if name in defaults else name for name in names]
    values = {name: name for name in names}
    values |= {
        name: f"_{name}.make() if {name} is _{name} else {name}"
        for name, default in defaults.items()
        if isinstance(default, _Anew)
    }
    lines = [f"    set_{name}(self, {value})\n" for name, value in values.items()] or ["    pass\n"]
    scope: dict[str, Any] = {f"_{name}": value for name, value in defaults.items()}
    scope |= {f"set_{name}": vars(cls)[name].__set__ for name in names}
    exec(f"def __init__({', '.join(['self', *arguments])}):\n{''.join(lines)}", scope)  # noqa: S102 - of the names of our own fields
    made: Callable[..., None] = scope["__init__"]
    return made


def _repr(self: object) -> str:
    fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in _names(type(self)))
    return f"{type(self).__qualname__}({fields})"


def _reduce(self: object) -> tuple[type, tuple[object, ...]]:
    return type(self), tuple(getattr(self, name) for name in _names(type(self)))


def _refuse(self: object, name: str, value: object = None) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")


class _Fields:
    """What makes a class a dataclass to the standard library, which is asked for it when that is wanted."""

    def __get__(self, instance: object, owner: type) -> Mapping[str, dataclasses.Field[Any]]:
        told = {"__doc__": owner.__name__}  # else it is made of a signature, which takes longer than all the rest
        bare = dataclasses.make_dataclass(
            owner.__name__, _names(owner), namespace=told, init=False, repr=False, eq=False
        )
        fields = dataclasses.fields(bare)
        found = {one.name: one for one in fields}
        type.__setattr__(owner, "__dataclass_fields__", found)
        return found


_SHARED = {
    "__repr__": _repr,
    "__reduce__": _reduce,
    "__dataclass_fields__": _Fields(),
}
_FROZEN = {"__setattr__": _refuse, "__delattr__": _refuse}
