"""The short cut holds only while nothing at all has changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from portgate.apply.record import Record, digest, host_identity, last, save
from portgate.apply.state import State, opened

CONTENT = {"web.yaml": b"portgate: 1", "lists/bad.netset": b"192.0.2.1"}


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    with opened(tmp_path / "state") as state:
        yield state


@pytest.fixture
def record() -> Record:
    files = tuple((name, digest(content)) for name, content in CONTENT.items())
    return Record("web", files, "2026-11-21", "2026-11-21T10:00:00+00:00", "nftables", "17", host_identity())


def holds(record: Record, main: str = "web.yaml", day: str = "2026-11-21", generation: str | None = "17") -> bool:
    return record.still_holds(main, day, generation, CONTENT.get)


needs_cookie = pytest.mark.skipif(host_identity() is None, reason="this kernel gives network namespaces no cookie")


def test_a_record_is_read_back(state: State, record: Record) -> None:
    assert last(state) is None
    save(state, record)
    assert last(state) == record


@needs_cookie
def test_the_short_cut_holds_when_nothing_changed(record: Record) -> None:
    assert holds(record)


@pytest.mark.parametrize(
    "change",
    [
        {"generation": None},
        {"generation": "18"},
        {"host": None},
        {"host": "another boot/1"},
        {"version": "0.0.0"},
        {"day": "2026-11-20"},
        {"files": (("other.yaml", "00"),)},
        {"files": (("web.yaml", "00"),)},
        {"files": (("web.yaml", digest(CONTENT["web.yaml"])), ("gone.yaml", "00"))},
    ],
)
def test_the_short_cut_ends_with_any_change(record: Record, change: dict[str, object]) -> None:
    assert not holds(replace(record, **change))  # type: ignore[arg-type]


def test_the_short_cut_ends_with_the_day_the_policy_and_the_generation(record: Record) -> None:
    assert not holds(record, day="2026-11-22")
    assert not holds(record, main="lists/bad.netset")
    assert not holds(record, generation="18")
    assert not holds(record, generation=None)


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"[" * 9999,
        b'{"schema": 2}',
        b'{"schema": 1}',
        b'{"schema": 1, "files": 3}',
        b"\xff\xfe",
    ],
)
def test_a_damaged_record_only_costs_the_short_cut(state: State, damage: bytes) -> None:
    state.write("applied.json", damage)
    assert last(state) is None


def test_a_host_is_the_same_as_long_as_nobody_reboots() -> None:
    assert host_identity() == host_identity()
