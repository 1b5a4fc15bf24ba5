"""The use cases, as plain functions: what the command line calls, and what a library user calls.

Errors of every function: PortgateError.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import field
from datetime import date
from typing import TYPE_CHECKING

from portgate import backends, host
from portgate.backends import Backend, Parser
from portgate.core.capture import Artifact, Capture, Reading, from_json
from portgate.core.dataclasses import dataclass, replace
from portgate.core.diagnostics import Diagnostic, PortgateError, errors

if TYPE_CHECKING:
    from portgate.core import sessions
    from portgate.core.addresses import Host
    from portgate.core.audit import Audit, Finding, Situation
    from portgate.core.facts import Facts
    from portgate.core.listener import Listener, Sockets
    from portgate.core.net import Family
    from portgate.core.openings import Timed
    from portgate.core.packets import Packet
    from portgate.core.plan import Plan
    from portgate.core.policy import Policy
    from portgate.core.routes import Routes
    from portgate.core.ruleset import Ruleset
    from portgate.core.trace import Decision, Trace
    from portgate.core.verify import Difference
    from portgate.language import Loaded

MAX_FILE_BYTES = 256 << 20
PATIENCE = 60  # seconds in which rules are loaded and read back
STANDARD_INPUT = "-"
_SAVE_LISTING = "load the file where it belongs, and save what `nft list ruleset` or `iptables-save` prints there"
_IP_SOCKETS = ("stream", "datagram")
DEEPEST = 10_000
"""Calls inside of each other: each doubt is a level of a diagram, and two of them. Twice as many overflow a stack of 8 MiB (CPython 3.11)."""
sys.setrecursionlimit(max(DEEPEST, sys.getrecursionlimit()))


# ------------------------------------------------------------------ files


def read_file(path: str, limit: int = MAX_FILE_BYTES) -> bytes:
    """The content of a regular file, cut behind the limit, so that its reader sees that it is too long.

    Errors: OSError; also for what is no regular file and might never end, or never begin.
    """
    with open(path, "rb", opener=_without_waiting) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", path)
        return file.read(limit + 1)


def reader_of(path: str) -> Callable[[str], bytes]:
    """Reads the file that a command line names, and what that names; `-` on the command line is standard input."""
    if path != STANDARD_INPUT:
        return read_file
    return lambda name: _read_standard_input() if name == path else read_file(name)


def _read_standard_input() -> bytes:
    with open(0, "rb", closefd=False) as file:
        return file.read(MAX_FILE_BYTES + 1)


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def write_file(path: str, content: str, *, private: bool) -> None:
    """Writes a file whole or not at all; `private` makes it readable by its owner only. Errors: OSError.

    What is there and no regular file (a device, a pipe) is written to, never replaced.
    """
    from pathlib import Path

    target = Path(path)
    if target.exists() and not target.is_file():
        target.write_text(content, encoding="utf-8")
        return
    target = target.resolve()
    beside = target.with_name(f".{target.name[:40]}.{os.getpid()}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if private else 0o666)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(content)
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)


# ------------------------------------------------------------------ policies


@dataclass(frozen=True, slots=True)
class PolicyFile:
    """A policy without errors. `contents` are all files that it was read from, by path, the main one first."""

    policy: Policy
    warnings: tuple[Diagnostic, ...]
    sources: Mapping[str, str]
    contents: Mapping[str, bytes]


def check(path: str, today: date) -> Loaded:
    """The policy in a file with everything that is wrong or doubtful about it. Never raises."""
    from portgate import language
    from portgate.language.lint import lint

    loaded = language.load(path, reader_of(path), today)
    if loaded.policy is None:
        return loaded
    return replace(loaded, diagnostics=(*loaded.diagnostics, *lint(loaded.policy, today)))


def load(path: str, today: date, read: Callable[[str], bytes] | None = None) -> PolicyFile:
    """The policy in a file. Errors: every mistake in it."""
    from portgate import language

    read = read or reader_of(path)
    contents: dict[str, bytes] = {}

    def keep(name: str) -> bytes:
        contents[name] = read(name)
        return contents[name]

    loaded = language.load(path, keep, today)
    if loaded.policy is None:
        raise PortgateError(*loaded.diagnostics, sources=loaded.sources)
    return PolicyFile(loaded.policy, loaded.diagnostics, loaded.sources, contents)


def compile_policy(path: str, language: str, dialect: str | None, today: date) -> Artifact:
    """The native rules of a policy."""
    backend, usual = backends.languages()[language]
    if dialect and usual:
        remedy = f"leave it out; the languages are {', '.join(backends.languages())}"
        raise PortgateError(Diagnostic("PG303", f"{language} has no dialects", remedy=remedy))
    return backend.emit(rules_for(backend, load(path, today), today), dialect or usual)


def rules_for(backend: Backend, file: PolicyFile, today: date) -> Ruleset:
    """What a policy asks of a backend. Errors: PG301 at every grant that needs what the backend has not got."""
    from portgate.core.compile import compile as compiled
    from portgate.core.ruleset import Feature

    desired = compiled(file.policy, today)
    if backend.features >= {*Feature}:
        return backend.lower(desired)
    from portgate.core.features import features_used, lacking

    if not features_used(desired) <= backend.features:
        raise PortgateError(*lacking(file.policy, today, backend.features, backend.name), sources=file.sources)
    lowered = backend.lower(desired)
    _check_lowered(desired, lowered)
    return lowered


def _check_lowered(desired: Ruleset, lowered: Ruleset) -> None:
    """What a backend says in its own way means the same. Errors: PG902 with a packet that shows the difference."""
    if lowered is desired:
        return
    from portgate.core.verify import Scope, differences

    # ICMP of the other family exists on no network.
    found = [one for one in differences(desired, lowered, known={}, most_cubes=1) if one.scope is not Scope.ODD]
    if found:
        raise PortgateError(
            *(Diagnostic("PG902", f"{one.packet}: {one.before.fate}, {one.after.fate}") for one in found)
        )


# ------------------------------------------------------------------ the host


def saved_capture(path: str) -> Capture:
    """The host as `portgate capture` saved it."""
    try:
        content = reader_of(path)(path)
        if len(content) > MAX_FILE_BYTES:
            raise OSError(errno.EFBIG, f"larger than {MAX_FILE_BYTES >> 20} MiB")
        return from_json(content.decode(), path)
    except OSError as error:
        raise PortgateError(Diagnostic("PG423", f"{path}: {error.strerror}")) from error
    except UnicodeDecodeError as error:
        raise PortgateError(Diagnostic("PG423", f"{path}: not UTF-8 text at byte {error.start}")) from error


def captured_from(parts: list[tuple[str, str]]) -> Capture:
    """The host as other programs' saved output tells of it. **Shape** as for `host.from_files`.

    Errors: also what of it is not the output that it is said to be.
    """
    capture = host.from_files(parts, read_file)
    place_of(capture)  # which may refuse it
    found = [one for parser, readings in _readings(capture) for one in _remarks(parser, readings)]
    if wrong := errors(found):
        raise PortgateError(*wrong)
    return replace(capture, notes=tuple(found))


def _readings(capture: Capture) -> list[tuple[Parser, tuple[Reading, ...]]]:
    """What a capture has of rules, by who understands it."""
    known = [(parser, capture.of_kind(*parser.reading_kinds)) for parser in backends.parsers()]
    return [(parser, readings) for parser, readings in known if readings]


def _remarks(parser: Parser, readings: tuple[Reading, ...]) -> tuple[Diagnostic, ...]:
    """Why it can't be read, or what in it may be any rule (PG415)."""
    from portgate.core import unread

    try:
        found = parser.parse(readings)
    except PortgateError as error:
        return error.diagnostics
    return tuple(Diagnostic("PG415", reason, remedy=_SAVE_LISTING) for reason in unread.reasons(found))


def sockets(path: str | None = None, *, with_packages: bool = False) -> Sockets:
    """What listens on this host, or in a saved capture."""
    from portgate.sockets import parse

    capture = saved_capture(path) if path else host.capture_sockets(with_packages=with_packages)
    found = parse(capture.readings)
    return replace(found, notes=(*capture.notes, *found.notes, *_blind_spots(capture)))


def choose_backend(name: str = "auto", latest: str = "") -> Backend:
    """The backend of that name; else, of those that this host has, the `latest` that was used, or the one that can say most."""
    usual = sorted(backends.preferred(), key=lambda one: one.name != latest)
    asked = usual if name == "auto" else [backends.get(name)]
    found = next((one for one in asked if one.available() is None), None)
    if found is None:
        raise PortgateError(*backends.refusals(asked))
    return found


def backend_here(name: str = "auto") -> Backend:
    """As for `choose_backend`, with what was applied last on this host."""
    from portgate.apply import record, state

    with state.found(state.state_path()) as opened:
        latest = record.last(opened) if opened else None
    return choose_backend(name, latest.backend if latest else "")


# ------------------------------------------------------------------ questions about a host


@dataclass(frozen=True, slots=True)
class Seen:
    """A host as it was read. `notes` say what was not; `owners` name the backend of each container of ours."""

    capture: Capture
    rules: Ruleset
    sockets: Sockets
    host: Host
    facts: Facts
    owners: Mapping[str, str] = field(default_factory=dict)

    @property
    def notes(self) -> tuple[Diagnostic, ...]:
        return (*self.capture.notes, *self.sockets.notes)

    def by(self, backend: Backend) -> Seen:
        """As this backend has it: what portgate loaded through another one stays, as rules of others do."""
        containers = (
            replace(one, owned=one.owned and self.owners.get(one.name) == backend.name) for one in self.rules.containers
        )
        return replace(self, rules=replace(self.rules, containers=tuple(containers)))


def see(path: str | None = None) -> Seen:
    """This host, or a saved capture of one. Errors: also when its rules can't be read."""
    if path:
        return understand(saved_capture(path))
    from portgate.apply import history, state

    with ExitStack() as stack:
        try:
            opened = stack.enter_context(state.found(state.state_path()))
        except PortgateError:  # whoever may not look there has everything listed
            opened = None
        return understand(host.capture(loaded=history.loaded(opened) if opened else None))


def understand(capture: Capture) -> Seen:
    """What a capture says. Errors: PG424 when it says nothing about rules."""
    from portgate.core.joining import joined
    from portgate.sockets import parse

    read = _readings(capture)
    if not read:
        raise PortgateError(*(errors(capture.notes) or [Diagnostic("PG424", "no rules of any firewall were read")]))
    parsed = [(parser, parser.parse(readings)) for parser, readings in read]
    owners = {one.name: parser.name for parser, rules in parsed for one in rules.owned().containers}
    rules = joined(rules for _, rules in parsed)
    return Seen(capture, rules, parse(capture.readings), *place_of(capture), owners)


def place_of(capture: Capture) -> tuple[Host, Facts]:
    """What a capture tells beside rules and sockets."""
    from portgate.core.addresses import Host
    from portgate.core.facts import Facts, parse_facts, parse_interfaces

    readings = [(parse_interfaces, one) for one in capture.of_kind("interfaces")]
    if listings := capture.of_kind("ifconfig"):
        from portgate.core.ifconfig import parse_ifconfig

        readings += [(parse_ifconfig, one) for one in listings]
    interfaces = tuple(one for parse, reading in readings for one in parse(reading)) if readings else None
    facts = next((parse_facts(reading) for reading in capture.of_kind("sysctl")), Facts())
    return Host(interfaces, routes=_routes_of(capture)), facts


def _routes_of(capture: Capture) -> Mapping[Family, Routes]:
    """Those that were read and are understood."""
    from portgate.core.facts import ROUTES

    readings = [(one, family) for family, kind in ROUTES.items() for one in capture.of_kind(kind)]
    if not readings:
        return {}
    from portgate.core.routes import parse_routes

    read = {family: parse_routes(one, family) for one, family in readings}
    return {family: routes for family, routes in read.items() if routes is not None}


def blind_spots(seen: Seen) -> tuple[Diagnostic, ...]:
    """A note when nothing is known about what listens. Trace and verify can do without."""
    return _blind_spots(seen.capture)


def _blind_spots(capture: Capture) -> tuple[Diagnostic, ...]:
    from portgate.sockets import source_of

    if any(source_of(one.kind) for one in capture.readings):
        return ()
    remedy = "add a part, as in `portgate capture --from ss=FILE`"
    return (Diagnostic("PG425", "the host or its capture tells of no sockets", remedy=remedy),)


def audit(seen: Seen, file: PolicyFile | None, today: date) -> Audit:
    """Every listener and every finding; with a policy also where the host and the policy disagree."""
    from portgate.core.audit import audit as audited

    return audited(_situation(seen, file, today, wanted(seen, file, today) if file else None))


def wanted(seen: Seen, file: PolicyFile, today: date) -> Ruleset:
    """What a host should have: the rules of a policy, and what is opened for a time."""
    from portgate.core.compile import compile as compiled
    from portgate.core.openings import kept

    return kept(compiled(file.policy, today), seen.rules)


def shortfalls(seen: Seen, file: PolicyFile) -> tuple[Diagnostic, ...]:
    """Warnings about what of a policy has no effect on a host as it is now."""
    from portgate.core.shortfalls import shortfalls as found

    return tuple(found(file.policy, seen.host, seen.facts))


def shortfalls_here(file: PolicyFile) -> tuple[Diagnostic, ...]:
    """The same of this host, which is read only if it matters."""
    from portgate.core.shortfalls import concerns
    from portgate.core.shortfalls import shortfalls as found

    return tuple(found(file.policy, *place_of(host.capture_facts()))) if concerns(file.policy) else ()


def _situation(seen: Seen, file: PolicyFile | None, today: date, desired: Ruleset | None) -> Situation:
    from portgate.core.audit import Situation

    listeners = seen.sockets.listeners
    bound = {(one.family, one.address) for one in listeners if one.family is not None and one.address is not None}
    return Situation(
        seen.rules,
        listeners,
        replace(seen.host, others=tuple(sorted(bound))),
        file.policy if file else None,
        desired,
        today,
        seen.facts,
        knows_listeners=not blind_spots(seen),
        risks=_risks(listeners),
    )


def _risks(listeners: Iterable[Listener]) -> Mapping[tuple[int, int], str]:
    """Why what listens should not be open to everybody, by protocol and port."""
    from portgate.core.policy import Traffic
    from portgate.language.services import risks

    ports = {(one.protocol, one.port) for one in listeners if one.port is not None and one.kind in _IP_SOCKETS}
    found = {place: risks(Traffic(place[0], place[1], place[1])) for place in ports}
    return {place: "; ".join(f"{one.name}: {one.risk}" for one in risky) for place, risky in found.items() if risky}


def verify(seen: Seen, file: PolicyFile, today: date) -> tuple[Difference, ...]:
    """Every packet of a new connection that the host treats otherwise than the policy; () is a proof.

    What is opened for a time counts as wanted.
    """
    from portgate.core.verify import against_policy

    return against_policy(wanted(seen, file, today), seen.rules, seen.host)


@dataclass(frozen=True, slots=True)
class Imported:
    """A policy made of live rules. **Shape** `left` is what the policy can't say; () when it is proven to mean them."""

    text: str
    left: tuple[Difference, ...]


def import_policy(seen: Seen, name: str, today: date) -> Imported:
    """The live rules as the text of a policy, which is then read again and compared with them.

    What no policy decides is compared with nothing.
    """
    from portgate.core.compile import compile as compiled
    from portgate.core.imported import imported, undecided
    from portgate.core.verify import Scope, differences
    from portgate.language.write import text_of

    text = text_of(imported(seen.rules, seen.host, name))
    file = load("imported policy", today, lambda _: text.encode())
    found = differences(seen.rules, compiled(file.policy, today), seen.host, besides=undecided())
    return Imported(text, tuple(one for one in found if one.scope in (Scope.TO_HOST, Scope.FROM_HOST)))


def at_grants(file: PolicyFile, found: Sequence[Difference], today: date) -> tuple[Diagnostic, ...]:
    """Where a host and a policy disagree, at the lines of the policy that decide."""
    from portgate.core.compile import compile as compiled
    from portgate.core.expect import deciding_grant

    rules = compiled(file.policy, today)
    grants = [deciding_grant(file.policy, rules, one.packet) for one in found]
    return tuple(
        Diagnostic(
            "PG525",
            f"{one.packet} ({one.scope}): {one.before.fate} by the policy, {one.after.fate} on this host",
            grant.span if grant else None,
        )
        for one, grant in zip(found, grants, strict=True)
    )


def trace(seen: Seen, packet: Packet) -> Trace:
    """A packet's way through the rules of a host."""
    from portgate.core.trace import trace as traced

    return traced(seen.rules, packet, seen.host)


def decide(seen: Seen, packets: Sequence[Packet]) -> tuple[Decision, ...]:
    """What becomes of each packet, in order."""
    from portgate.core.trace import decide as decided

    return decided(seen.rules, packets, seen.host)


# ------------------------------------------------------------------ plan and apply


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan with what it is shown with: the rules of the host as they would be, and the texts of the policy's files."""

    plan: Plan
    rules: Ruleset
    sources: Mapping[str, str] = field(default_factory=dict)


def plan(seen: Seen, file: PolicyFile, backend: Backend, today: date, timed: Timed | None = None) -> Planned:
    """What applying the policy to this host would change, and what would become of what is opened for a time."""
    from portgate.core import plan as planning
    from portgate.core.audit import audit as audited
    from portgate.core.openings import Timed, kept
    from portgate.language.lint import risky

    seen = seen.by(backend)
    desired = kept(rules_for(backend, file, today), seen.rules, timed or Timed())
    artifact = backend.transaction(seen.rules, desired)
    # What is loaded is told as it will be read: a firewall may judge more than a policy speaks of, as pf what passes through.
    after = planning.planned(seen.rules, seen.rules.owned() if artifact is None else _own_output(backend, desired))
    made = planning.Plan(
        policy=file.policy.name,
        backend=backend.name,
        readings=tuple(
            one.text for parser in backends.parsers() for one in seen.capture.of_kind(*parser.reading_kinds)
        ),
        artifact=artifact,
        traffic=() if artifact is None else planning.traffic(seen.rules, after, seen.host, backend.words),
        rules=() if artifact is None else planning.rule_changes(seen.rules, desired, backend.words),
        audit=audited(_situation(replace(seen, rules=after), file, today, desired)),
        warnings=(*file.warnings, *risky(file.policy, today), *shortfalls(seen, file)),
        objections=() if artifact is None else lockouts(seen, file, desired, today),
    )
    return Planned(made, after, file.sources)


def sessions_in(capture: Capture) -> tuple[sessions.Session, ...]:
    from portgate.core.sessions import KIND, parse_sessions

    return tuple(one for reading in capture.of_kind(KIND) for one in parse_sessions(reading))


def lockouts(seen: Seen, file: PolicyFile, desired: Ruleset, today: date) -> tuple[Finding, ...]:
    from portgate.core.lockout import lockouts

    return lockouts(_situation(seen, file, today, desired), sessions_in(seen.capture))


def require_way_back(
    objections: Sequence[Finding], file: PolicyFile, overrides: Collection[str]
) -> tuple[Diagnostic, ...]:
    """That an apply locks no administrator out. What may be wrong all the same, as warnings.

    Errors: the objections that are not among the `overrides`.
    """
    left = tuple(one.diagnostic for one in objections if one.code not in overrides)
    if stopping := errors(left):
        raise PortgateError(*stopping, sources=file.sources)
    return left


def _own_output(backend: Backend, desired: Ruleset) -> Ruleset:
    """What would be loaded, as the backend reads it: it must mean the policy. Errors: PG902 with a packet that shows the difference."""
    artifact = backend.emit(desired)
    again = backend.parse((Reading(backend.reading_kinds[-1], artifact.text, "portgate's own output"),))
    wrong = proof(backend, desired)(again)
    if wrong:
        raise PortgateError(Diagnostic("PG902", "; ".join(one.detail for one in wrong)))
    return again.owned()


def proof(backend: Backend, desired: Ruleset) -> Callable[[Ruleset], tuple[Diagnostic, ...]]:
    """Whether rules that were read mean the desired ones: by their structure, and where that differs by the engine.

    Of what is opened for a time only that matters that should be open for longer than reading takes.
    """

    from portgate.core.openings import lost, timeless

    always = timeless(desired)

    def prove(observed: Ruleset) -> tuple[Diagnostic, ...]:
        if gone := lost(desired, observed, PATIENCE):
            return tuple(Diagnostic("PG525", f"{one} should be open for {one.seconds} seconds") for one in gone)
        if backend.transaction(timeless(observed), always) is None:
            return ()
        from portgate.core.verify import differences, equivalent

        ours = timeless(observed.owned())
        if equivalent(always, ours):
            return ()
        found = differences(always, ours, known={}, most_cubes=1)
        shown = [f"{one.packet}: {one.before.fate} is wanted, {one.after.fate} is loaded" for one in found]
        return tuple(
            Diagnostic("PG525", text) for text in shown or ["they differ in what can't be decided for a packet"]
        )

    return prove


def backend_of(capture: Capture) -> str:
    """The backend whose rules a capture holds."""
    for one in backends.preferred():
        if capture.of_kind(*one.reading_kinds):
            return one.name
    raise PortgateError(Diagnostic("PG424", "the capture has no rules of any firewall"))
