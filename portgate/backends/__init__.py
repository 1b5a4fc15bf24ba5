"""The contract of a backend, and how backends are found.

A backend is a folder `portgate/backends/NAME/` whose `__init__` holds a value `BACKEND: Backend`. Nothing else
in portgate names a backend. `emit`, `parse` and `transaction` are pure; only the session acts.
A folder without a module `emit` only reads: its `__init__` holds a value `READER: Reader`.

The laws (tests/conformance runs them for every backend):
1 `parse(emit(r))` means `r`. 2 `emit` is stable. 3 `parse` never raises on a real listing: what it can't read is opaque.
4 each claimed feature is exercised, each lacking one is lowered or diagnosed. 5 after `load`, what is read back
means `r`. 6 `check` rejects what `load` rejects and changes nothing. 7 a failing `load` leaves the old rules in force.
8 `load` leaves every foreign object as it was. 9 restoring what was read is the identity. 10 a second apply of
the same policy is an empty plan.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # the names of backends are wanted by `portgate --help`, the values are not
    from portgate.core.capture import Artifact, Capture, Reading
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
        """Loads it in one transaction; on failure the old rules stay."""

    def generation(self) -> str | None:
        """A cheap token that changes whenever any rule of the host does, else None."""

    def outline_after(self, generation: str | None) -> Reading | None:
        """What is ours without the elements of its sets, if there was exactly one transaction, anybody's, since then; else None."""


class Parser(Protocol):
    """A firewall whose listings portgate understands."""

    reading_kinds: tuple[str, ...]

    def parse(self, readings: tuple[Reading, ...]) -> Ruleset:
        """All rules in the readings of these kinds."""


class Reader(Parser, Protocol):
    """A firewall whose rules portgate reads, and does not change."""

    def capture(self) -> Capture:
        """Its rules on this host, nothing when the host does not have it; what could not be read is a note."""


class Backend(Protocol):
    """A firewall that portgate can drive. Values of this type are stateless."""

    name: str
    reading_kinds: tuple[str, ...]

    @property
    def features(self) -> frozenset[Feature]:
        """What its language can say."""

    def available(self) -> str | None:
        """None when this host has it, else why not and what to install."""

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

    def words(self, rule: Rule) -> str:
        """A rule as this backend writes it. Rules of ours with the same words are the same rule."""

    def session(self) -> Session:
        """Errors: PortgateError when the host does not have this backend or permission lacks."""


def names() -> Iterator[str]:
    """The backends."""
    return (name for name in _folders() if _writes(name))


def readers() -> Iterator[str]:
    """Those that only read."""
    return (name for name in _folders() if not _writes(name))


def _folders() -> Iterator[str]:
    return (module.name for module in iter_modules(__path__) if module.ispkg)


def _writes(name: str) -> bool:
    """Found without an import, for `portgate --help` asks."""
    return any(module.name == "emit" for module in iter_modules([f"{path}/{name}" for path in __path__]))


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
    yield from map(get, names())
    yield from map(reader, readers())
