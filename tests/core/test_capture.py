"""A capture is a file: what is written is read back, and a damaged file is refused with a place."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portgate.core.capture import Capture, Reading, from_json, to_json
from portgate.core.diagnostics import Diagnostic, PortgateError

texts = st.text(max_size=30)
readings = st.builds(Reading, texts, texts, texts)
notes = st.builds(Diagnostic, st.sampled_from(["PG421", "PG440"]), texts, remedy=st.none() | texts)
captures = st.builds(Capture, st.lists(readings, max_size=4).map(tuple), st.lists(notes, max_size=2).map(tuple))


@given(captures)
def test_a_capture_survives_its_file(capture: Capture) -> None:
    assert from_json(to_json(capture), "host.json") == capture


def test_a_damaged_file_is_refused_with_its_line_and_column() -> None:
    with pytest.raises(PortgateError) as refused:
        from_json('{"schema": 1,\n "readings": [}', "host.json")
    assert str(refused.value.diagnostics[0].span) == "host.json:2:15"
    assert refused.value.exit_code == 3


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"schema": 2}, "its schema is 2"),
        ({"schema": None}, "its schema is None"),
        ({"readings": {}}, "'readings' must be a list"),
        ({"readings": ["x"]}, "readings[0]: an object is expected"),
        ({"readings": [{"kind": "nft", "source": "x"}]}, "readings[0]: 'text' must be text"),
        ({"readings": [{"kind": "nft", "source": "x", "text": 7}]}, "readings[0]: 'text' must be text"),
        ({"readings": [{"kind": "nft", "source": "x", "text": "", "more": 1}]}, "readings[0]: unknown key 'more'"),
        ({"notes": [{"code": "PG000", "detail": ""}]}, "notes[0]: its code is unknown"),
        ({"surprise": 1}, "unknown key 'surprise'"),
    ],
)
def test_what_is_not_a_capture_is_refused_at_the_value_that_is_wrong(change: dict[str, object], complaint: str) -> None:
    text = json.dumps({"schema": 1, "readings": [], "notes": []} | change)
    with pytest.raises(PortgateError, match="PG420") as refused:
        from_json(text, "host.json")
    assert complaint in refused.value.diagnostics[0].detail


@pytest.mark.parametrize("text", ["", "[]", "7", '"x"', "null", "[" * 100_000, "9" * 5000])
def test_any_other_json_is_refused(text: str) -> None:
    with pytest.raises(PortgateError, match="PG420"):
        from_json(text, "host.json")
