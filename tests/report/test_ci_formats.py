"""SARIF, JUnit XML and annotations of GitHub: each is what its readers expect, whatever stands in a policy."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portgate.core.diagnostics import CATALOGUE, Diagnostic, Span
from portgate.report import github, junit, sarif
from portgate.report.suites import Case, Suite
from tests.report.structure import check_junit, check_sarif

PLACE = Span("policies/a b.yaml", 3, 5, 3, 9)
ERROR = Diagnostic("PG620", "tcp is dropped", PLACE, "grant it", ((Span("policies/b.yaml", 7, 1, 8, 2), "blocks it"),))
WARNING = Diagnostic("PG231", "twice", Span("policies/a b.yaml", 4, 5, 6, 2))
NOTE = Diagnostic("PG603", "nothing listens")
SUITES = (
    Suite("policies/a b.yaml", (Case("line 3", (ERROR,)), Case("line 4"), Case("host", (WARNING, NOTE)))),
    Suite("empty.yaml", (Case("check", (NOTE,)),), "empty.yaml"),
)

hostile = st.text(st.characters(codec="utf-8") | st.sampled_from("\x00\x1b\u202e\ufffe]]>&<\"'%,:\r\n"), max_size=30)
diagnostics = st.builds(
    Diagnostic,
    st.sampled_from(sorted(CATALOGUE)),
    hostile.filter(bool),
    st.none() | st.builds(Span, hostile, st.just(2), st.just(3), st.integers(2, 3), st.just(4)),
    st.none() | hostile,
    st.lists(st.tuples(st.builds(Span, hostile, st.just(1), st.just(1), st.just(1), st.just(2)), hostile.filter(bool)), max_size=2).map(tuple),
)  # fmt: skip
suites = st.lists(
    st.builds(
        Suite,
        hostile,
        st.lists(st.builds(Case, hostile, st.lists(diagnostics, max_size=2).map(tuple)), max_size=2).map(tuple),
        st.none() | hostile,
    ),
    max_size=2,
)


def test_sarif_places_are_the_lines_of_the_policy() -> None:
    document = sarif.log(SUITES)
    check_sarif(document)
    first = json.loads(json.dumps(document))["runs"][0]["results"][0]
    assert first["ruleId"] == "PG620"
    assert first["locations"] == [
        {
            "physicalLocation": {
                "artifactLocation": {"uri": "policies/a%20b.yaml"},
                "region": {"startLine": 3, "startColumn": 5, "endLine": 3, "endColumn": 9},
            }
        }
    ]
    assert first["relatedLocations"][0]["message"] == {"text": "blocks it"}


def test_a_sarif_finding_without_a_place_belongs_to_the_file() -> None:
    places = [json.loads(json.dumps(one))["locations"] for one in _results()]
    assert places[2] == []
    assert places[3] == [{"physicalLocation": {"artifactLocation": {"uri": "empty.yaml"}}}]


def _results() -> list[object]:
    runs = sarif.log(SUITES)["runs"]
    assert isinstance(runs, list)
    return list(runs[0]["results"])


@pytest.mark.parametrize(
    ("path", "uri"),
    [
        ("/etc/portgate/a.yaml", "file:///etc/portgate/a.yaml"),
        ("./a.yaml", "a.yaml"),
        ("c:d#e?.yaml", "c%3Ad%23e%3F.yaml"),
    ],
)
def test_a_path_becomes_a_uri(path: str, uri: str) -> None:
    assert sarif.uri(path) == uri


def test_junit_counts_failures_and_notes_are_none() -> None:
    root = check_junit(junit.document(SUITES))
    assert root.attrib == {"tests": "4", "failures": "2", "errors": "0"}
    failure = root.findall(".//failure")[0]
    assert failure.attrib["type"] == "PG620"
    assert "policies/b.yaml:7:1: blocks it" in (failure.text or "")
    assert "help: grant it" in (failure.text or "")
    assert len(root.findall(".//system-out")) == 2


def test_annotations_stand_at_the_line() -> None:
    error, warning, note, other = github.commands(SUITES)
    assert error == (
        "::error file=policies/a b.yaml,line=3,endLine=3,col=5,endColumn=9,"
        "title=PG620 what should be accepted is blocked::"
        "tcp is dropped%0Apolicies/b.yaml:7:1: blocks it%0Ahelp: grant it"
    )
    assert warning.startswith("::warning file=policies/a b.yaml,line=4,endLine=6,title=")
    assert note.startswith("::notice title=")
    assert other.startswith("::notice file=empty.yaml,title=")


@given(suites)
def test_hostile_text_breaks_no_sarif(found: list[Suite]) -> None:
    check_sarif(json.loads(json.dumps(sarif.log(found))))


@given(suites)
def test_hostile_text_breaks_no_junit(found: list[Suite]) -> None:
    check_junit(junit.document(found))


@given(suites)
def test_hostile_text_makes_no_annotation_of_its_own(found: list[Suite]) -> None:
    lines = list(github.commands(found))
    assert len(lines) == sum(len(case.diagnostics) for suite in found for case in suite.cases)
    for line in lines:
        assert line.isprintable()
        properties = re.fullmatch(r"::(error|warning|notice) ([^:]*)::.*", line)
        assert properties is not None
        names = [part.split("=")[0] for part in properties[2].split(",")]
        assert set(names) <= {"file", "line", "endLine", "col", "endColumn", "title"}
