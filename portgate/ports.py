"""The everyday use cases: open a port, close a port. The policy file is edited, and applied as `changes.apply` does.

Errors of every function: PortgateError.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import date
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from portgate import changes
from portgate.changes import Applied, Change, Consent, Terms
from portgate.core.dataclasses import dataclass, replace
from portgate.core.diagnostics import Diagnostic, PortgateError
from portgate.engine import Planned, PolicyFile, Seen, backend_here, load, plan, read_file, rules_for, see

if TYPE_CHECKING:
    from portgate.backends import Backend
    from portgate.core.openings import Timed
    from portgate.core.policy import Policy
    from portgate.core.ports import Edit, RulesOf, Wish
    from portgate.core.ruleset import Ruleset
    from portgate.language.editing import NewEntry

COMMAND_LINE = "the command line"


@dataclass(frozen=True, slots=True)
class Asked:
    """A port that is to be opened or closed, in words of the policy.

    **Shape** `policy` is a path, None for the one that was applied last; no `sources` is everybody.
    **Units** `seconds` for which it is opened, None for good.
    """

    port: str
    sources: tuple[str, ...] = ()
    policy: str | None = None
    closes: bool = False
    seconds: int | None = None

    def __str__(self) -> str:
        return self.port + (f" from {', '.join(self.sources)}" if self.sources else "")

    @property
    def words(self) -> dict[str, tuple[str, ...]]:
        """As an entry of a policy says it."""
        return {"port": (self.port,)} | ({"from": self.sources} if self.sources else {})


@dataclass(frozen=True, slots=True)
class Ported:
    """What opening or closing did.

    **Shape** `removed` are the ids of entries of the policy file that went, `added` such that came: (block or allow, text);
    `applied` is None when consent was refused.
    """

    file: str
    removed: tuple[str, ...]
    added: tuple[tuple[str, str], ...]
    applied: Applied | None


def planned(asked: Asked, backend_name: str, today: date) -> Planned:
    """What it would change; nothing is written."""
    backend = backend_here(backend_name)
    seen = see().by(backend)
    way = _way(asked, backend, seen, today)
    return plan(seen, way.file, backend, today, way.timed)


def carry_out(
    asked: Asked,
    backend_name: str,
    today: date,
    consent: Consent | None,
    on_wait: Callable[[], None],
    terms: Terms,
) -> Ported:
    """Opens or closes a port on this host and in the policy, or leaves both as they were."""
    from portgate.apply import finish, history, lock, state

    with state.opened(state.state_path()) as opened, lock.exclusive(opened, on_wait):
        backend = backend_here(backend_name)
        told = finish.require_free(opened)
        opened.require_room()
        way = _way(asked, backend, see().by(backend), today)
        terms = replace(terms, message=terms.message or _message(asked))
        change = Change(way.timed, _written(way.path, way.before, way.after))
        done = changes.transact(
            way.file, backend, backend.session(history.loaded(opened)), opened, today, consent, terms, change
        )
    done = done and replace(done, warnings=(*told, *done.warnings))
    removed, added = (one.id for one in way.edit.gone), ((one.book, one.flow()) for one in way.come)
    return Ported(asked.policy or way.path, tuple(removed), tuple(added), done)


def _message(asked: Asked) -> str:
    return f"{'close' if asked.closes else 'open'} {asked}" + (f" for {asked.seconds} s" if asked.seconds else "")


# ------------------------------------------------------------------ the way there


@dataclass(frozen=True, slots=True)
class _Way:
    """How to do what is asked: the policy as it will be, and the text that makes its file say so."""

    file: PolicyFile
    path: str
    before: bytes
    after: bytes
    edit: Edit
    come: tuple[NewEntry, ...]
    timed: Timed


def _way(asked: Asked, backend: Backend, seen: Seen, today: date) -> _Way:
    from portgate.core.openings import kept
    from portgate.core.ports import carried_out, says_the_same
    from portgate.language.editing import CannotEditError, NewEntry, edited

    path = os.path.abspath(asked.policy or _last_applied())  # noqa: PTH100 - not resolved: a link may lead elsewhere tomorrow
    file = load(path, today)
    wish = _wish(asked, path, file, today)
    timed = _timed(asked, file.policy, wish, backend, today)
    edit = _edit(asked, file.policy, wish, partial(_rules_of, asked, seen, timed, today))
    come = (NewEntry(edit.book, asked.words),) if edit.book else ()
    try:
        after = edited(file.contents[path], path, edit.places, come)
    except CannotEditError as error:
        raise PortgateError(_by_hand(path, edit, come, str(error))) from error
    new = load(path, today, partial(_overlaid, {**file.contents, path: after}))
    if not says_the_same(carried_out(file.policy, edit, wish), new.policy):
        raise PortgateError(_by_hand(path, edit, come, "the edited file does not say what was meant"))
    desired = kept(rules_for(backend, new, today), seen.rules, timed)
    new = replace(new, warnings=(*new.warnings, *_contradictions(asked, new.policy, desired, seen, wish)))
    return _Way(new, path, file.contents[path], after, edit, come, timed)


def _last_applied() -> str:
    from portgate.apply import record, state

    with state.found(state.state_path()) as opened:
        latest = record.last(opened) if opened else None
    if latest is None:
        detail, remedy = "no policy was applied on this host", "name one with --policy"
        raise PortgateError(Diagnostic("PG552", detail, remedy=remedy))
    return latest.files[0][0]


def _overlaid(contents: dict[str, bytes], path: str) -> bytes:
    return contents[path] if path in contents else read_file(path)


def _wish(asked: Asked, path: str, file: PolicyFile, today: date) -> Wish:
    """It is read as an expectation of a policy that includes this one, so it may use all of its names."""
    from portgate.core.ports import Wish

    said = json.dumps({**asked.words, "is": "accepted"})
    text = f"expect: [{said}]\nportgate: 1\ninclude: [{json.dumps(path)}]\n"
    contents = {**file.contents, COMMAND_LINE: text.encode("utf-8", "surrogatepass")}
    try:
        first = load(COMMAND_LINE, today, partial(_overlaid, contents)).policy.expectations[0]
    except PortgateError as error:
        raise PortgateError(*map(_as_asked, error.diagnostics), sources=error.sources) from None
    return Wish(first.traffic, first.sources, path)


def _as_asked(one: Diagnostic) -> Diagnostic:
    """Without its place, where that is in the text which was made of the command line."""
    return replace(one, span=None) if one.span and one.span.file == COMMAND_LINE else one


def _timed(asked: Asked, policy: Policy, wish: Wish, backend: Backend, today: date) -> Timed:
    """What becomes of openings. Where the policy opens the port for good, a time makes no sense."""
    from portgate.core.compile import compile as compiled
    from portgate.core.openings import Timed, everywhere, regions
    from portgate.core.ports import is_granted
    from portgate.core.ruleset import Feature
    from portgate.language.identity import derive

    if asked.closes:
        return Timed(closed=tuple(everywhere(wish.traffic, wish.sources)))
    if asked.seconds is None or is_granted(policy, wish, lambda one: compiled(one, today)):
        return Timed()
    remedy = "open it without --for, with `expires` in the policy"
    if Feature.TIMED_ELEMENTS not in backend.features:
        detail = f"--for needs {Feature.TIMED_ELEMENTS}, which {backend.name} has not got"
        raise PortgateError(Diagnostic("PG301", detail, remedy=remedy))
    try:
        opened = tuple(regions(wish.traffic, wish.sources))
    except ValueError as error:
        raise PortgateError(Diagnostic("PG237", f"{asked}: {error}", remedy=remedy)) from error
    name = derive("opened-", {key: ",".join(values) for key, values in asked.words.items()})
    return Timed(opened=opened, seconds=asked.seconds, name=name)


def _rules_of(asked: Asked, seen: Seen, timed: Timed, today: date, policy: Policy) -> Ruleset:
    """What is opened for a time makes no grant needless, but it has to be closed as well."""
    from portgate.core.compile import compile as compiled
    from portgate.core.openings import kept

    rules = compiled(policy, today)
    return kept(rules, seen.rules, timed) if asked.closes or asked.seconds else rules


def _edit(asked: Asked, policy: Policy, wish: Wish, rules_of: RulesOf) -> Edit:
    from portgate.core.ports import Edit, require_open, to_close, to_open

    if asked.closes:
        return to_close(policy, wish, rules_of)
    if asked.seconds is None:
        return to_open(policy, wish, rules_of)
    require_open(policy, wish, rules_of)
    return Edit()


def _contradictions(asked: Asked, policy: Policy, desired: Ruleset, seen: Seen, wish: Wish) -> tuple[Diagnostic, ...]:
    from portgate.core.plan import planned as planned_rules
    from portgate.core.policy import Outcome
    from portgate.core.ports import contradictions

    outcome = Outcome.BLOCKED if asked.closes else Outcome.ACCEPTED
    return tuple(contradictions(policy, planned_rules(seen.rules, desired), seen.host, wish, outcome))


# ------------------------------------------------------------------ the policy file


def _by_hand(path: str, edit: Edit, come: tuple[NewEntry, ...], why: str) -> Diagnostic:
    remedies = [f"remove {one.id}" for one in edit.gone]
    remedies += [f"add `- {one.flow()}` to `{one.book}` of `inbound`" for one in come]
    return Diagnostic("PG236", f"{path}: {why}", remedy=" and ".join(remedies))


@contextmanager
def _written(path: str, before: bytes, after: bytes) -> Iterator[None]:
    """The policy file is edited before its rules are loaded, and gets its old text back where that fails."""
    if before == after:
        yield
        return
    _replace(path, before, after)
    done = False
    try:
        yield
        done = True
    finally:
        if not done:
            with suppress(PortgateError):  # what stopped the load matters more
                _replace(path, after, before)


def _replace(path: str, before: bytes, after: bytes) -> None:
    """Whole or not at all, with owner and permissions. Errors: PortgateError PG551."""
    target = Path(path).resolve()
    beside = target.with_name(f".{target.name[:40]}.{os.getpid()}")
    try:
        if read_file(path) != before:
            raise PortgateError(Diagnostic("PG551", f"{path} was changed in the meantime", remedy="ask again"))
        try:
            _write_like(target, beside, after)
            beside.replace(target)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise PortgateError(Diagnostic("PG551", f"{error.filename or path}: {error.strerror}")) from error


def _write_like(target: Path, beside: Path, content: bytes) -> None:
    found = target.stat()
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        os.fchown(file.fileno(), found.st_uid, found.st_gid)
        shutil.copystat(target, beside)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
