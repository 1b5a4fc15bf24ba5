"""What SARIF 2.1.0 and JUnit XML ask of a document, as far as portgate writes them: unknown parts are refused.

**Source** OASIS SARIF 2.1.0, the properties of each object; the JUnit schema that Jenkins publishes (`junit-10.xsd`).
"""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import jsonschema


def _object(required: str, **properties: object) -> dict[str, object]:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": required.split(),
        "properties": properties,
    }


def _list(of: object) -> dict[str, object]:
    return {"type": "array", "items": of}


_TEXT = {"type": "string", "minLength": 1}
_MESSAGE = _object("text", text=_TEXT)
_LEVEL = {"enum": ["none", "note", "warning", "error"]}
_FROM_1 = {"type": "integer", "minimum": 1}
_FROM_0 = {"type": "integer", "minimum": 0}
_URI = {"type": "string", "pattern": r"^(file:///|[^:/?#]*/|[^:/?#]*$)([A-Za-z0-9._~%/-]*)$"}
_PHYSICAL = _object(
    "artifactLocation",
    artifactLocation=_object("uri", uri=_URI),
    region=_object("startLine", startLine=_FROM_1, startColumn=_FROM_1, endLine=_FROM_1, endColumn=_FROM_1),
)
_LOCATION = _object("", id=_FROM_0, physicalLocation=_PHYSICAL, message=_MESSAGE)
_RULE = _object(
    "id",
    id=_TEXT,
    shortDescription=_MESSAGE,
    fullDescription=_MESSAGE,
    help=_MESSAGE,
    defaultConfiguration=_object("", level=_LEVEL),
)
_RESULT = _object(
    "message",
    ruleId=_TEXT,
    ruleIndex=_FROM_0,
    level=_LEVEL,
    message=_MESSAGE,
    locations=_list(_LOCATION),
    relatedLocations=_list(_LOCATION),
)
_RUN = _object(
    "tool",
    tool=_object(
        "driver", driver=_object("name", name=_TEXT, version=_TEXT, rules={**_list(_RULE), "uniqueItems": True})
    ),
    columnKind={"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
    results=_list(_RESULT),
)
SARIF: dict[str, Any] = _object("version runs", **{"$schema": _TEXT}, version={"const": "2.1.0"}, runs=_list(_RUN))


def check_sarif(document: Any) -> None:
    """**Errors** AssertionError, or jsonschema's with the place that is wrong."""
    jsonschema.Draft202012Validator(SARIF).validate(document)
    for run in document["runs"]:
        rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
        for result in run["results"]:
            assert rules[result["ruleIndex"]] == result["ruleId"]
            ids = [place["id"] for place in result.get("relatedLocations", [])]
            assert len(ids) == len(set(ids))


_CHILDREN = {
    "testsuites": {"testsuite"},
    "testsuite": {"testcase"},
    "testcase": {"failure", "system-out"},
    "failure": set(),
    "system-out": set(),
}
_ATTRIBUTES = {
    "testsuites": {"tests", "failures", "errors"},
    "testsuite": {"name", "tests", "failures", "errors"},
    "testcase": {"name", "classname"},
    "failure": {"type", "message"},
    "system-out": set(),
}


def check_junit(text: str) -> ElementTree.Element:
    """The parsed document. **Errors** AssertionError; ParseError when it is no XML."""
    root = ElementTree.fromstring(text)
    assert root.tag == "testsuites"
    for element in root.iter():
        assert set(element.attrib) == _ATTRIBUTES[element.tag], element.tag
        assert {child.tag for child in element} <= _CHILDREN[element.tag], element.tag
        if "tests" in element.attrib:
            assert int(element.attrib["tests"]) == len(element.findall(".//testcase"))
            assert int(element.attrib["failures"]) == len(element.findall(".//failure"))
    return root
