"""Writes all texts anew: `python -m tests.golden.write`. The change is to be read before it is committed."""

from __future__ import annotations

from tests.conformance.writers import WRITERS
from tests.golden.texts import NAMES, golden, path

if __name__ == "__main__":
    for name in NAMES:
        for writer in WRITERS:
            path(name, writer).write_text(golden(name, writer), encoding="utf-8")
