"""Generations: kept in order, bounded in number, read back as they were written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from portgate.apply import history
from portgate.apply.history import KEPT, Generation
from portgate.apply.state import State, opened
from portgate.core.diagnostics import PortgateError

ONE = Generation("web", (("web.yaml", "a\udcff"), ("list", "")), "nftables", "table", "now", "me", "", "why")


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    with opened(tmp_path / "state") as state:
        yield state


def confirmed(state: State, *messages: str) -> None:
    for message in messages:
        history.prepare(state, replace(ONE, message=message))
        history.confirm(state)


def test_a_generation_is_read_as_it_was_written(state: State) -> None:
    confirmed(state, "why")
    assert list(history.generations(state)) == [replace(ONE, revision=1)]
    assert (Path(state.path) / "history").stat().st_mode & 0o777 == 0o700
    assert (Path(state.path) / "history" / "000001").stat().st_mode & 0o777 == 0o600


def test_what_is_not_confirmed_is_no_generation(state: State) -> None:
    history.prepare(state, ONE)
    assert list(history.generations(state)) == []


def test_confirming_twice_is_confirming_once(state: State) -> None:
    confirmed(state, "one")
    history.confirm(state)
    assert [one.revision for one in history.generations(state)] == [1]


def test_the_latest_stands_first_and_the_one_before_it_is_the_default(state: State) -> None:
    confirmed(state, "one", "two", "three")
    assert [one.message for one in history.generations(state)] == ["three", "two", "one"]
    assert history.find(state, None).message == "two"
    assert history.find(state, 1).message == "one"


@pytest.mark.parametrize("revision", [None, 2, 99])
def test_what_is_not_kept_cannot_be_gone_back_to(state: State, revision: int | None) -> None:
    confirmed(state, "one")
    with pytest.raises(PortgateError, match="PG549"):
        history.find(state, revision)


def test_a_bounded_number_is_kept_and_numbers_go_on(state: State) -> None:
    confirmed(state, *map(str, range(KEPT + 3)))
    assert [one.revision for one in history.generations(state)] == list(range(KEPT + 3, 3, -1))


def test_a_damaged_generation_is_left_out(state: State) -> None:
    confirmed(state, "one", "two")
    (Path(state.path) / "history" / "000001").write_bytes(b"nonsense")
    assert [one.revision for one in history.generations(state)] == [2]
    with pytest.raises(PortgateError, match="PG549"):
        history.find(state, 1)


def test_a_link_in_place_of_the_folder_is_not_followed(state: State, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (Path(state.path) / "history").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PortgateError, match="PG520"):
        confirmed(state, "one")
    assert list((tmp_path / "elsewhere").iterdir()) == []
