"""Use cases that need policies alone: which files are meant, and whether policies keep their expectations."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from os.path import isdir
from typing import TYPE_CHECKING

from portgate.core.dataclasses import dataclass
from portgate.core.diagnostics import Diagnostic, PortgateError
from portgate.engine import read_file

if TYPE_CHECKING:
    from pathlib import Path

    from portgate.core.expect import Result
    from portgate.language import Loaded


def policy_files(paths: Iterable[str]) -> tuple[str, ...]:
    """The paths, with every folder replaced by the policies below it: `*.yaml` and `*.yml`, hidden ones left out.

    Errors: PG101 for a folder without policies, lest nothing be checked in silence.
    """
    return tuple(file for path in paths for file in (_below(path) if isdir(path) else (path,)))  # noqa: PTH112 - pathlib is heavy to import


def _below(folder: str) -> tuple[str, ...]:
    from pathlib import Path

    below = (one for one in Path(folder).rglob("*") if one.suffix in (".yaml", ".yml") and one.is_file())
    found = sorted(str(one) for one in below if not _is_hidden(one.relative_to(folder)))
    if not found:
        raise PortgateError(Diagnostic("PG101", f"{folder}: no *.yaml and no *.yml in this folder"))
    return tuple(found)


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


@dataclass(frozen=True, slots=True)
class Kept:
    """An expectation and what became of it: what is wrong (`broken`, None where it holds), and, where real packets were
    sent, how many, and those that the kernel treated otherwise than the engine says.
    """

    result: Result
    broken: Diagnostic | None
    sent: int | None = None
    surprises: tuple[Diagnostic, ...] = ()

    @property
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        return (*([self.broken] if self.broken else []), *self.surprises)


@dataclass(frozen=True, slots=True)
class Tested:
    """A policy and its expectations. **Shape** without results where the policy itself is wrong, or expects nothing."""

    loaded: Loaded
    results: tuple[Kept, ...] = ()


def test(path: str, today: date) -> Tested:
    """Decides every expectation of a policy, for every packet that it names. Never raises."""
    from portgate import language
    from portgate.core.broken import diagnostic
    from portgate.core.expect import check as decided

    loaded = language.load(path, read_file, today)
    policy = loaded.policy
    if policy is None:
        return Tested(loaded)
    return Tested(loaded, tuple(Kept(one, diagnostic(policy, one, today)) for one in decided(policy, today)))
