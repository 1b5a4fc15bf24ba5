"""The one impure read: what a live host says about itself, or what was saved of one.

What can't be read becomes a note of the capture; whoever needs that part decides whether it can do without.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from portgate import backends
from portgate.core.capture import Capture, Loaded, Reading
from portgate.core.diagnostics import Diagnostic, PortgateError

Part = Callable[[], Capture]
INLINE_KINDS = ("interfaces",)
"""Readings that are written on the command line itself, for they are a few words."""


def capture(*, with_packages: bool = False, loaded: Loaded | None = None) -> Capture:
    """All that portgate reads of this host: rules of every backend, sockets, interfaces, kernel settings, SSH sessions.

    Routes are read where a rule asks for them. `loaded` is what the backends' sessions are told (`Backend.session`).
    """
    rules = _rules(loaded)
    return _gather([partial(_sockets, with_packages), _facts, partial(_routes, rules), _sessions], rules)


def capture_sockets(*, with_packages: bool = False) -> Capture:
    """Only what listens."""
    return _gather([partial(_sockets, with_packages)])


def capture_rules(loaded: Loaded | None = None) -> Capture:
    """Only what decides about packets: rules, interfaces, kernel settings, and routes where a rule asks for them."""
    rules = _rules(loaded)
    return _gather([_facts, partial(_routes, rules)], rules)


def capture_facts() -> Capture:
    """Only interfaces and kernel settings."""
    return _gather([_facts])


def capture_sessions() -> Capture:
    """Only who administers this host right now."""
    return _gather([_sessions])


def from_files(parts: Iterable[tuple[str, str]], read: Callable[[str], bytes]) -> Capture:
    """A capture from saved plain output. **Shape** `parts` are (kind, path), or (kind, text) for `INLINE_KINDS`.

    Errors: PortgateError PG423 for each file that can't be read, PG446 for what is written wrong.
    """
    readings: list[Reading] = []
    failures: list[Diagnostic] = []
    for kind, value in parts:
        try:
            readings.append(_saved(kind, value, read))
        except OSError as error:
            failures.append(Diagnostic("PG423", f"{value}: {error.strerror}"))
    if failures:
        raise PortgateError(*failures)
    return Capture(tuple(readings))


def kinds() -> tuple[str, ...]:
    """What `from_files` understands: the readings of every backend and of every source of sockets."""
    from portgate import sockets
    from portgate.core.facts import ROUTES
    from portgate.core.ifconfig import KIND as IFCONFIG
    from portgate.core.sessions import KIND

    rules = (kind for parser in backends.parsers() for kind in parser.reading_kinds)
    return tuple(dict.fromkeys([*rules, *sockets.sources(), *INLINE_KINDS, IFCONFIG, "sysctl", *ROUTES.values(), KIND]))


def _saved(kind: str, value: str, read: Callable[[str], bytes]) -> Reading:
    if kind in INLINE_KINDS:
        from portgate.core.facts import parse_interfaces

        written = Reading(kind, value, "the command line")
        parse_interfaces(written)
        return written
    return Reading(kind, _text(read(value)), posixpath.basename(value))


def _text(content: bytes) -> str:
    """Names of processes and comments of rules are bytes of anybody's choice: those that are no UTF-8 must not hide the rest."""
    return content.decode("utf-8", "backslashreplace")


def _rules(loaded: Loaded | None) -> Capture:
    """Of each backend that this host has, then of the readers."""
    usable = [name for name in backends.names() if backends.get(name).available() is None]
    told = _gather(_backends(usable, loaded))
    return _gather(_readers(usable, loaded, told.readings), told)


def _gather(parts: Iterable[Part], before: Capture | None = None) -> Capture:
    """What all of the parts tell, behind what was told before."""
    readings = list(before.readings if before else ())
    notes = list(before.notes if before else ())
    for part in parts:
        try:
            found = part()
            readings.extend(found.readings)
            notes.extend(found.notes)
        except PortgateError as error:
            notes.extend(error.diagnostics)
        except OSError as error:
            notes.append(Diagnostic("PG421", f"{error.filename or 'the kernel'}: {error.strerror}"))
    return Capture(tuple(readings), tuple(dict.fromkeys(notes)))


def _backends(usable: Sequence[str], loaded: Loaded | None) -> Iterator[Part]:
    """No backend is a note, for then hardly any rule is known; so is one whose firewall is here and can't be asked."""
    if not usable:
        yield _no_backend
    readers = tuple(backends.readers())
    for name in backends.names():
        if usable and name not in readers:
            yield partial(_read_rules, name, loaded) if name in usable else partial(_refused, name)


def _readers(usable: Sequence[str], loaded: Loaded | None, told: Sequence[Reading]) -> Iterator[Part]:
    for name in backends.readers():
        alone = usable == [name]
        yield partial(_read_rules, name, loaded) if alone else partial(backends.reader(name).capture, told)


def _read_rules(backend: str, loaded: Loaded | None) -> Capture:
    return Capture(backends.get(backend).session(loaded).read())


def _refused(backend: str) -> Capture:
    """Nothing; a note says why where the firewall is here."""
    if (backends.get(backend).available() or "").startswith(backends.ABSENT):
        return Capture(())
    try:
        backends.get(backend).session()
    except PortgateError as error:
        missing = (
            Diagnostic("PG421", f"rules of {backend}: {one.detail}", remedy=one.remedy) for one in error.diagnostics
        )
        return Capture((), tuple(missing))
    return Capture(())


def _no_backend() -> Capture:
    raise PortgateError(*backends.refusals(backends.preferred()))


def _sockets(with_packages: bool) -> Capture:
    from portgate.sockets import live

    return live.captured(with_packages)


def _facts() -> Capture:
    if os.uname().sysname != "Linux":
        return _listed_interfaces()
    from portgate import linux_facts

    interfaces, notes = linux_facts.read_interfaces()
    return Capture((*interfaces, linux_facts.read_settings()), notes)


def _routes(rules: Capture) -> Capture:
    """Where one of the rules may look something up in them."""
    listings = ((parser, rules.of_kind(*parser.reading_kinds)) for parser in backends.parsers())
    asked = any(word in one.text for parser, found in listings for one in found for word in parser.routing_words)
    if not asked or os.uname().sysname != "Linux":
        return Capture(())
    from portgate import linux_facts

    return Capture(*linux_facts.read_routes())


def _listed_interfaces() -> Capture:
    """As ifconfig lists them, which all systems of the BSDs and their kin have."""
    from portgate import programs
    from portgate.core.ifconfig import KIND

    command = (programs.find("ifconfig") or "ifconfig", "-a")
    try:
        return Capture((Reading(KIND, programs.run(command), " ".join(command)),))
    except programs.ProgramError as error:
        remedy = "name them with --from interfaces=..."
        return Capture((), (Diagnostic("PG448", f"{' '.join(command)}: {error}", remedy=remedy),))


def _sessions() -> Capture:
    from portgate.sockets.live import sessions as live

    found = live.capture()
    return Capture((found,) if found else ())
