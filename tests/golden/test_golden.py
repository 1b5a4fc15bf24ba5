"""What a policy looks like in every language, side by side, in tests/golden/cases."""

from __future__ import annotations

import pytest

from tests.conformance.writers import WRITERS, Writer
from tests.golden.texts import CASES, NAMES, golden, path


@pytest.mark.parametrize("writer", WRITERS, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_a_policy_is_written_as_it_was_when_somebody_read_it(name: str, writer: Writer) -> None:
    assert path(name, writer).read_text(encoding="utf-8") == golden(name, writer), "see python -m tests.golden.write"


def test_there_is_nothing_but_one_text_for_each_language() -> None:
    expected = {"policy.yaml", *(f"{writer}.txt" for writer in WRITERS)}
    assert {name: {one.name for one in (CASES / name).iterdir()} for name in NAMES} == dict.fromkeys(NAMES, expected)
