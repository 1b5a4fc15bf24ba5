"""A line on the terminal while something takes long."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from threading import Event, Thread

PATIENCE = 1.0  # seconds that nobody needs an explanation for


class Progress:
    """A context manager: after a second standard error, if a terminal, tells what goes on; at the end the line is erased."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._teller: tuple[Thread, Event] | None = None

    def __enter__(self) -> None:
        if not sys.stderr.isatty():
            return
        from threading import Event, Thread

        done = Event()
        teller = Thread(target=self._tell, args=(done,), daemon=True)
        teller.start()
        self._teller = teller, done

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._teller is not None:
            teller, done = self._teller
            done.set()
            teller.join()
            self._teller = None

    def tell(self, what: str) -> None:
        """What goes on now."""
        self._what = what

    @contextmanager
    def paused(self) -> Iterator[None]:
        """While somebody is asked."""
        self.__exit__(None, None, None)
        try:
            yield
        finally:
            self.__enter__()

    def _tell(self, done: Event) -> None:
        seconds, line = 0, ""
        while not done.wait(PATIENCE):
            seconds += 1
            before, line = line, f"{self._what} ... {seconds} s"
            print(f"\r{line.ljust(len(before))}", end="", file=sys.stderr, flush=True)
        print("\r" + " " * len(line) + "\r" if line else "", end="", file=sys.stderr, flush=True)
