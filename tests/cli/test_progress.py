"""What a terminal is told while something takes long."""

from __future__ import annotations

import io
import time
from types import SimpleNamespace

import pytest

from portgate.cli import progress
from portgate.cli.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Standard error is a terminal, and a second is short."""
    terminal = Terminal()
    monkeypatch.setattr(progress, "sys", SimpleNamespace(stderr=terminal))
    monkeypatch.setattr(progress, "PATIENCE", 0.02)
    return terminal


def shown(written: str) -> str:
    """The line that is left on the screen."""
    line = ""
    for part in written.split("\r"):
        line = part + line[len(part) :]
    return line.rstrip()


def test_what_takes_long_is_told_and_the_line_is_erased(terminal: Terminal) -> None:
    with Progress("planning"):
        time.sleep(0.1)
        assert shown(terminal.getvalue()).startswith("planning ... ")
    assert shown(terminal.getvalue()) == ""


def test_what_is_quick_is_not_told(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PATIENCE", 60)
    with Progress("planning"):
        pass
    assert terminal.getvalue() == ""


def test_the_line_makes_room_for_a_question_and_comes_back(terminal: Terminal) -> None:
    told = Progress("applying")
    with told:
        time.sleep(0.05)
        with told.paused():
            written = terminal.getvalue()
            assert shown(written) == ""
            time.sleep(0.05)
            assert terminal.getvalue() == written
        time.sleep(0.05)
        assert shown(terminal.getvalue()).startswith("applying")
    assert shown(terminal.getvalue()) == ""


def test_an_error_erases_the_line_too(terminal: Terminal) -> None:
    with pytest.raises(ZeroDivisionError), Progress("planning"):
        time.sleep(0.05)
        raise ZeroDivisionError
    assert shown(terminal.getvalue()) == ""


def test_nothing_is_told_where_no_terminal_is(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = io.StringIO()
    monkeypatch.setattr(progress, "sys", SimpleNamespace(stderr=pipe))
    monkeypatch.setattr(progress, "PATIENCE", 0.01)
    with Progress("planning"):
        time.sleep(0.05)
    assert pipe.getvalue() == ""
