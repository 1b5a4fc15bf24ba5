"""The contract of a backend, and how backends are found.

A backend is a folder `portgate/backends/NAME/` whose `__init__` holds a value `BACKEND: Backend`. Nothing else
in portgate names a backend. `emit`, `parse` and `transaction` are pure; only the session acts.
A folder with a package `live` reads by itself what its programs tell, also where portgate can't drive that firewall: its
`__init__` holds a value `READER: Reader`, which may be the backend.

The laws (tests/conformance runs them for every backend):
1 `parse(emit(r))` means `r`. 2 `emit` is stable. 3 `parse` never raises on a real listing: what it can't read is opaque.
4 each claimed feature is exercised, each lacking one is lowered or diagnosed. 5 after `load`, what is read back
means `r`. 6 `check` rejects what `load` rejects and changes nothing. 7 a failing `load` leaves the old rules in force.
8 `load` leaves every foreign object as it was. 9 restoring what was read is the identity. 10 a second apply of
the same policy is an empty plan.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # the names of backends are wanted by `portgate --help`, the values are not
    from portgate.core.capture import Artifact, Capture, Loaded, Reading, Step
    from portgate.core.diagnostics import Diagnostic
    from portgate.core.ruleset import Feature, Rule, Ruleset


class Session(Protocol):
    """A live host, through one backend. Errors of every method: PortgateError with 4xx or 5xx diagnostics."""

    def read(self) -> tuple[Reading, ...]:
        """All rules of the host, everybody's."""

    def read_own(self) -> Reading:
        """What is ours, or has its name; the text is "" when that is nothing."""

    def check(self, artifact: Artifact) -> None:
        """Asks the kernel (or the native parser) whether it would take the artifact; changes nothing."""

    def load(self, artifact: Artifact) -> None:
        """Loads it in one transaction, or in several where nothing is to pass in between; on failure of the first the old rules stay."""

    def generation(self) -> str | None:
        """A cheap token that changes whenever any rule of the host does, else None."""

    def outline_after(self, generation: str | None) -> Reading | None:
        """What is ours without the elements of its sets, if since then nothing, anybody's, changed any rule but this session's last load; else None."""


class Parser(Protocol):
    """A firewall whose listings portgate understands."""

    name: str
    reading_kinds: tuple[str, ...]
    routing_words: tuple[str, ...]
    """One of these is in every listing of which the answer hangs on the host's routes."""

    def parse(self, readings: tuple[Reading, ...]) -> Ruleset:
        """All rules in the readings of these kinds."""


class Reader(Parser, Protocol):
    """A firewall whose rules portgate reads, and does not change."""

    def capture(self, others: Sequence[Reading] = ()) -> Capture:
        """Its rules on this host, nothing when the host does not have it; what could not be read is a note.

        `others` is what other backends told: what they make sure that there is not need not be asked for.
        """


class Backend(Protocol):
    """A firewall that portgate can drive. Values of this type are stateless."""

    name: str
    reading_kinds: tuple[str, ...]
    routing_words: tuple[str, ...]
    languages: tuple[str, ...]
    """What `compile` can write; where there are several, each is a dialect of its own."""
    lacking: tuple[str, ...]
    """The names of the features that its language has not."""

    @property
    def features(self) -> frozenset[Feature]:
        """What its language can say."""

    def available(self) -> str | None:
        """None when this host has it, else why not and what to install."""

    def lower(self, desired: Ruleset) -> Ruleset:
        """The same rules as this backend says them; itself where it says them as they are. Errors: PG302."""

    def emit(self, desired: Ruleset, dialect: str | None = None) -> Artifact:
        """The complete native text that makes `desired` true on a host, whatever was there before of ours."""

    def parse(self, readings: tuple[Reading, ...]) -> Ruleset:
        """All rules in the readings of this backend's kinds. Ours are marked as owned."""

    def transaction(self, observed: Ruleset, desired: Ruleset) -> Artifact | None:
        """The smallest native text that turns what is ours in `observed` into `desired`; None when there is nothing to do."""

    def restoring(self, own: Reading, elapsed: float = 0) -> Artifact:
        """What makes ours again as `Session.read_own` found it, to the counter, also when it was nothing.

        **Units** `elapsed` in seconds since it was read, which what expires has less left.
        """

    def starting(self, closed: str, text: str) -> tuple[tuple[Step, ...], tuple[Step, ...]]:
        """What loads the complete text `closed` without Python, and what then makes it the complete text `text`."""

    def words(self, rule: Rule) -> str:
        """A rule as this backend writes it. Rules of ours with the same words are the same rule."""

    def session(self, loaded: Loaded | None = None) -> Session:
        """What was `loaded` last may be taken for what is there, where it is proven that nobody has changed it since.

        Errors: PortgateError when the host does not have this backend or permission lacks.
        """


def names() -> Iterator[str]:
    """The backends."""
    return (name for name in _folders() if _has(name, "emit"))


def readers() -> Iterator[str]:
    """Those that read by themselves."""
    return (name for name in _folders() if _has(name, "live"))


_HERE = os.path.dirname(__file__)


@cache
def _folders() -> tuple[str, ...]:
    return tuple(sorted(name for name in os.listdir(_HERE) if os.path.exists(f"{_HERE}/{name}/__init__.py")))


@cache
def _has(name: str, part: str) -> bool:
    """Found without an import, for `portgate --help` asks."""
    return any(os.path.exists(f"{_HERE}/{name}/{part}{rest}") for rest in (".py", "/__init__.py"))


def get(name: str) -> Backend:
    """Errors: KeyError for an unknown name."""
    if name not in names():
        raise KeyError(name)
    backend: Backend = import_module(f"{__name__}.{name}").BACKEND
    return backend


def reader(name: str) -> Reader:
    """Errors: KeyError for an unknown name."""
    if name not in readers():
        raise KeyError(name)
    found: Reader = import_module(f"{__name__}.{name}").READER
    return found


def parsers() -> Iterator[Parser]:
    """Backends and readers: all whose listings are understood."""
    backends = tuple(names())
    yield from map(get, backends)
    yield from (reader(name) for name in readers() if name not in backends)


def languages() -> dict[str, tuple[Backend, str | None]]:
    """What policies can be compiled to: the backend, and the dialect that it needs for it."""
    return {
        language: (one, language if len(one.languages) > 1 else None)
        for one in map(get, names())
        for language in one.languages
    }


ABSENT = "there is no "
"""How the reason of `available` begins where a host has not got the firewall at all."""


def refusals(some: Iterable[Backend]) -> tuple[Diagnostic, ...]:
    """Why none of these can be used: the first of those that are here, for the others lack the same; if none is here, each."""
    from portgate.core.diagnostics import Diagnostic

    told = [(one.name, one.available() or "") for one in some]
    here = [(name, reason) for name, reason in told if not reason.startswith(ABSENT)]
    return tuple(Diagnostic("PG422", f"{name}: {reason}") for name, reason in here[:1] or told)


def preferred() -> list[Backend]:
    """Those that can say most first."""
    return sorted(map(get, names()), key=lambda one: (len(one.lacking), one.name))
