"""Rulesets of real hosts and tools, where they are to be had."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(os.environ.get("PORTGATE_CORPUS", Path(__file__).parents[3] / "shared" / "corpus"))
needed = pytest.mark.skipif(
    not ROOT.is_dir(), reason=f"no corpus of rulesets at {ROOT}; PORTGATE_CORPUS names another place"
)


class Pair(NamedTuple):
    """A script, and what `nft -j list ruleset` gave after it was loaded (nft 1.0.6)."""

    script: str
    listing: str


def files(kind: str) -> list[str]:
    """All of a kind (`nft`, `nft-json`), as paths from the root."""
    return sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / kind).rglob("*") if path.is_file())


def text(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8", errors="replace")


def pairs() -> Iterator[Pair]:
    for line in text("INDEX.tsv").splitlines():
        path, *_, description = line.split("\t")
        loaded = re.search(r"after loading (\S.*)$", description)
        if path.startswith("nft-json/") and loaded:
            yield Pair(loaded[1], path)
