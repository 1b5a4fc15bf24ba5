"""The quick dataclasses against those of the standard library: nobody should notice the difference."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portgate.core.dataclasses import FEW, dataclass, many, replace


@dataclass(frozen=True, slots=True)
class Quick:
    """A value."""

    name: str
    port: int = 22
    where: object = dataclasses.field(default=None, compare=False)

    @property
    def text(self) -> str:
        return f"{self.name}:{self.port}"


@dataclasses.dataclass(frozen=True, slots=True)
class Usual:
    """The same of the standard library."""

    name: str
    port: int = 22
    where: object = dataclasses.field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Empty:
    """Without fields."""


@dataclass(frozen=True, slots=True)
class OtherEmpty:
    """Another."""


@dataclass(frozen=True, slots=True)
class Anew:
    """With a default that is made anew for each value."""

    parts: list[str] = dataclasses.field(default_factory=list)


@dataclass(slots=True)
class Changing:
    """One that can be changed."""

    parts: list[str] = dataclasses.field(default_factory=list)


@dataclass(frozen=True, order=True)
class Exotic:
    """What is left to the standard library."""

    port: int = 22


FIELDS = st.tuples(st.text(max_size=3), st.integers(0, 3), st.integers(0, 3))


@given(FIELDS, FIELDS)
def test_they_are_equal_hash_and_show_as_those_of_the_standard_library(
    left: tuple[str, int, int], right: tuple[str, int, int]
) -> None:
    quick, usual = (Quick(*left), Quick(*right)), (Usual(*left), Usual(*right))
    assert (quick[0] == quick[1]) == (usual[0] == usual[1])
    assert (hash(quick[0]) == hash(quick[1])) == (hash(usual[0]) == hash(usual[1]))
    assert repr(quick[0]) == repr(usual[0]).replace("Usual", "Quick")


def test_values_of_different_classes_are_never_equal() -> None:
    assert Empty() == Empty()
    assert len({Empty(), OtherEmpty(), Quick("a"), Usual("a")}) == 4


@pytest.mark.parametrize("make", [Quick, lambda: Quick("a", 1, 2, 3), lambda: Quick("a", prot=1)])  # type: ignore[call-arg]
def test_wrong_arguments_are_refused(make: Callable[[], object]) -> None:
    with pytest.raises(TypeError):
        make()


def test_a_value_never_changes() -> None:
    value: Any = Quick("a")
    for name in ("port", "more"):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, name, 1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        delattr(value, "port")
    assert not hasattr(value, "__dict__")


@given(st.lists(FIELDS, max_size=5), FIELDS)
def test_many_at_once_are_as_if_made_one_by_one(rows: list[tuple[str, int, int]], like: tuple[str, int, int]) -> None:
    names = [name for name, _, _ in rows]
    made = many(Quick(*like), len(rows), name=names, where=[where for _, _, where in rows])

    assert made == [Quick(name, like[1]) for name in names]
    assert [one.where for one in made] == [where for _, _, where in rows]


def test_arguments_are_checked_from_the_first_value_on() -> None:
    @dataclass(frozen=True, slots=True)
    class Fresh:
        port: int

    for _ in range(2):
        with pytest.raises(TypeError, match="port"):
            Fresh()  # type: ignore[call-arg]
        with pytest.raises(TypeError, match="name"):
            Fresh(1, name=2)  # type: ignore[call-arg]
    assert Fresh(port=1) == Fresh(1)


def test_the_standard_library_takes_them_for_dataclasses() -> None:
    value = Quick("a", where=Quick("b"))
    assert dataclasses.replace(value, port=80) == Quick("a", 80)
    assert dataclasses.asdict(value) == dataclasses.asdict(Usual("a", where=Usual("b")))
    assert [one.name for one in dataclasses.fields(Quick)] == ["name", "port", "where"]
    assert value.text == "a:22"


@pytest.mark.parametrize("value", [Quick("a", 1, ["b"]), Empty(), Anew(["a"]), Changing(["a"]), Exotic(80)])
def test_values_are_copied_and_pickled(value: object) -> None:
    assert copy.deepcopy(value) == value
    assert pickle.loads(pickle.dumps(value)) == value


def test_they_can_be_taken_apart_by_a_pattern() -> None:
    match Quick("a", 80):
        case Quick(name, port):
            assert (name, port) == ("a", 80)


@pytest.mark.parametrize("kind", [Anew, Changing])
def test_a_default_can_be_made_anew_for_each_value(kind: type[Anew] | type[Changing]) -> None:
    assert kind().parts == [] == kind(parts=[]).parts
    assert kind().parts is not kind().parts


def test_what_can_be_changed_is_no_key() -> None:
    value = Changing()
    value.parts = ["a"]
    assert value == Changing(["a"])
    with pytest.raises(AttributeError):
        value.more = 1  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match="unhashable"):
        hash(value)


def test_what_is_asked_for_beyond_that_is_left_to_the_standard_library() -> None:
    assert Exotic(1) < Exotic(2) == replace(Exotic(1), port=2)


@given(st.lists(FIELDS, min_size=FEW, max_size=FEW + 3))
def test_the_first_values_are_made_as_all_others(rows: list[tuple[str, int, int]]) -> None:
    @dataclass(frozen=True, slots=True)
    class Fresh:
        name: str
        port: int = 22
        parts: list[str] = dataclasses.field(default_factory=list)

    for name, port, _ in rows:
        made = (Fresh(name), Fresh(name, port), Fresh(port=port, name=name), replace(Fresh(name), port=port))
        assert [(one.name, one.port, one.parts) for one in made] == [
            (name, 22, []),
            (name, port, []),
            (name, port, []),
            (name, port, []),
        ]
        assert Fresh(name).parts is not Fresh(name).parts


@pytest.mark.parametrize("already", [0, FEW + 1])
def test_a_wrong_argument_is_told_by_the_same_words_at_any_time(already: int) -> None:
    @dataclass(frozen=True, slots=True)
    class Fresh:
        name: str
        port: int = 22

    for _ in range(already):
        Fresh("a")
    make: Any = Fresh
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'name'"):
        make()
    with pytest.raises(TypeError, match="takes from 2 to 3 positional arguments but 4 were given"):
        make("a", 1, 2)
    with pytest.raises(TypeError, match="multiple values for argument 'name'"):
        make("a", name="b")
    with pytest.raises(TypeError, match="unexpected keyword argument 'prot'"):
        replace(make("a"), prot=1)
