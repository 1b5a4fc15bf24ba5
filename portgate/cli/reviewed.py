"""A plan that was saved to be looked at, and what it is worth when it is to be carried out."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import click

from portgate import engine
from portgate.core.diagnostics import Diagnostic, PortgateError
from portgate.report import shapes

_DECISIVE = {
    "backend": "the firewall to drive",
    "fingerprint": "the rules of this host",
    "native": "what would be loaded",
}


def plan(path: str) -> Callable[[engine.Planned], None]:
    """What refuses any other plan than that in a file. Errors: click.BadParameter; of what is given: PG526."""
    try:
        saved = json.loads(engine.read_file(path))
    except (OSError, ValueError, RecursionError) as error:
        raise click.BadParameter(f"{path}: {error}", param_hint="--planned") from error
    if not isinstance(saved, dict) or not saved.keys() >= _DECISIVE.keys():
        raise click.BadParameter(
            f"{path}: this is not what `portgate plan --format json` prints", param_hint="--planned"
        )
    return partial(_require, path, saved)


def _require(path: str, saved: Mapping[str, Any], planned: engine.Planned) -> None:
    now = shapes.plan(planned.plan, planned.rules)
    changed = [told for key, told in _DECISIVE.items() if now[key] != saved[key]]
    if changed:
        raise PortgateError(Diagnostic("PG526", f"{path} is out of date: {' and '.join(changed)} changed since"))
