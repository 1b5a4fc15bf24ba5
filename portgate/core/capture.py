"""The values that cross the rim: what was read from a host, and what is to be loaded into one.

Theory
    A capture is everything that portgate learns from a host, as raw text. All commands are pure functions of
    (policy, capture), so CI, bug reports, other operating systems and golden tests share one mechanism.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, NoReturn

from portgate.core.dataclasses import dataclass
from portgate.core.diagnostics import CATALOGUE, Diagnostic, PortgateError, Span

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Reading:
    """Native text, as the host gave it.

    **Shape** `kind` names the parser: `nft-json`, `nft`, `iptables-save`, `ss`, `linux-sockets`, `interfaces`,
    `sysctl`, ... `source` says in words where it came from ("nft -j list ruleset", a file name).
    """

    kind: str
    text: str
    source: str


@dataclass(frozen=True, slots=True)
class Capture:
    """All readings of one host. `notes` say what could not be read, and why."""

    readings: tuple[Reading, ...]
    notes: tuple[Diagnostic, ...] = ()

    def of_kind(self, *kinds: str) -> tuple[Reading, ...]:
        return tuple(one for one in self.readings if one.kind in kinds)


@dataclass(frozen=True, slots=True)
class Artifact:
    """Native text to be loaded. `backend` is its name, `dialect` a variant of the language."""

    backend: str
    text: str
    dialect: str | None = None


@dataclass(frozen=True, slots=True)
class Loaded:
    """What was loaded last into this host, and the session's count of changes then.

    `text` gives the complete text that was loaded, which has so many characters, None when it is not kept any more.
    """

    generation: str
    length: int
    text: Callable[[], str | None]


class Step(NamedTuple):
    """A program that loads a text at the start of the machine: its words, the file is the last. `suffix` is that of the file."""

    argv: tuple[str, ...]
    suffix: str
    text: str


# ------------------------------------------------------------------ captures as files


def to_json(capture: Capture) -> str:
    """The file that `--host` reads.

    **Shape** `{"schema": 1, "readings": [{"kind", "source", "text"}], "notes": [{"code", "detail", "remedy"}]}`.
    """
    import json

    readings = [{"kind": one.kind, "source": one.source, "text": one.text} for one in capture.readings]
    notes = [{"code": one.code, "detail": one.detail, "remedy": one.remedy} for one in capture.notes]
    return json.dumps({"schema": SCHEMA, "readings": readings, "notes": notes}, indent=1) + "\n"


def from_json(text: str, source: str) -> Capture:
    """The inverse of `to_json`. `source` is the name of the file. Errors: PortgateError."""
    whole = _Object(_decoded(text, source), source, "")
    if whole.fields.get("schema") != SCHEMA:
        whole.refuse(f"its schema is {whole.fields.get('schema')!r}, this portgate reads {SCHEMA}")
    whole.only("schema", "readings", "notes")
    readings = tuple(_reading(one) for one in whole.objects("readings"))
    return Capture(readings, tuple(_note(one) for one in whole.objects("notes")))


def _decoded(text: str, source: str) -> object:
    import json

    try:
        value: object = json.loads(text)
    except json.JSONDecodeError as error:
        place = Span(source, error.lineno, error.colno, error.lineno, error.colno + 1)
        raise PortgateError(Diagnostic("PG420", f"not JSON: {error.msg}", place, _REMEDY)) from None
    except RecursionError:
        raise PortgateError(Diagnostic("PG420", f"{source}: nested too deeply", remedy=_REMEDY)) from None
    except ValueError as error:  # of a number with thousands of digits
        raise PortgateError(Diagnostic("PG420", f"{source}: not JSON: {error}", remedy=_REMEDY)) from None
    return value


def _reading(one: _Object) -> Reading:
    one.only("kind", "source", "text")
    return Reading(one.text("kind"), one.text("text"), one.text("source"))


def _note(one: _Object) -> Diagnostic:
    one.only("code", "detail", "remedy")
    if one.text("code") not in CATALOGUE:
        one.refuse("its code is unknown")
    remedy = None if one.fields.get("remedy") is None else one.text("remedy")
    return Diagnostic(one.text("code"), one.text("detail"), remedy=remedy)


class _Object:
    """A JSON object of which nothing is believed; `path` leads to it."""

    def __init__(self, value: object, source: str, path: str) -> None:
        self.source, self.path = source, path
        if not isinstance(value, Mapping):
            self.refuse("an object is expected")
        self.fields: Mapping[str, object] = value

    def refuse(self, why: str) -> NoReturn:
        where = f"{self.source}: {self.path}" if self.path else self.source
        raise PortgateError(Diagnostic("PG420", f"{where}: {why}", remedy=_REMEDY))

    def only(self, *names: str) -> None:
        if unknown := sorted(self.fields.keys() - set(names)):
            self.refuse(f"unknown key {unknown[0]!r}")

    def text(self, name: str) -> str:
        value = self.fields.get(name)
        if not isinstance(value, str):
            self.refuse(f"{name!r} must be text")
        return value

    def objects(self, name: str) -> list[_Object]:
        value = self.fields.get(name)
        if not isinstance(value, list):
            self.refuse(f"{name!r} must be a list")
        return [_Object(one, self.source, f"{name}[{index}]") for index, one in enumerate(value)]


_REMEDY = "make the file with: portgate capture -o host.json"
