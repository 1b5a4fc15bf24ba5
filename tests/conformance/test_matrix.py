"""The table of features in docs/backends.md is what the code says."""

from __future__ import annotations

from pathlib import Path

from portgate import backends
from portgate.core.ruleset import Feature

DOCUMENT = Path(__file__).parents[2] / "docs" / "backends.md"
BEGIN, END = "<!-- features -->\n", "<!-- end of features -->"


def matrix() -> str:
    found = [backends.get(name) for name in sorted(backends.names())]
    rows = [
        f"| feature | {' | '.join(one.name for one in found)} |",
        f"|{'---|' * (len(found) + 1)}",
        *(
            f"| {feature} | {' | '.join('yes' if feature in one.features else '-' for one in found)} |"
            for feature in Feature
        ),
    ]
    return "".join(f"{row}\n" for row in rows)


def test_the_table_of_features_is_current() -> None:
    written = DOCUMENT.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]
    assert written == matrix()
