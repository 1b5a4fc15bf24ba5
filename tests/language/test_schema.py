"""The JSON Schema and the documentation say what the reader does."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from portgate.core.diagnostics import errors
from portgate.language import grammar, load
from portgate.language.json_schema import schema
from portgate.language.lint import lint

ROOT = Path(__file__).parents[2]
TODAY = date(2026, 6, 1)
POLICIES = sorted((ROOT / "policies").glob("**/*.yaml"))
LANGUAGE = (ROOT / "docs" / "language.md").read_text()
EXAMPLES = re.findall(r"```yaml\n(.*?)```", LANGUAGE, re.DOTALL)


class Yaml12(yaml.SafeLoader):
    """As editors type values: YAML 1.2, without dates and base 60."""


Yaml12.yaml_implicit_resolvers = {}
for kind, pattern, first in (
    ("bool", r"true|false", "tf"),
    ("int", r"[-+]?[0-9]+", "-+0123456789"),
    ("null", r"~|null|", ["~", "n", ""]),
):
    Yaml12.add_implicit_resolver(f"tag:yaml.org,2002:{kind}", re.compile(f"^(?:{pattern})$"), list(first))


def typed(text: str) -> Any:
    return yaml.load(text, Yaml12)


def test_a_reader_that_makes_dates_of_days_finds_the_policies_right() -> None:
    validator = jsonschema.Draft202012Validator(schema())
    texts = [path.read_text() for path in POLICIES]

    assert any("expires: 2" in text for text in texts)
    assert all(validator.is_valid(yaml.safe_load(text)) for text in texts)


def accepts(text: str) -> bool:
    return jsonschema.Draft202012Validator(schema()).is_valid(typed(text))


def loads(text: str) -> bool:
    return not errors(load("policy.yaml", lambda path: text.encode(), TODAY).diagnostics)


def records(shape: grammar.Shape) -> list[grammar.Record]:
    match shape:
        case grammar.Record():
            return [shape, *(found for key in shape.keys for found in records(key.shape))]
        case grammar.Many(item) | grammar.Named(item):
            return records(item)
        case grammar.Either(shapes):
            return [found for one in shapes for found in records(one)]
    return []


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())


@pytest.mark.parametrize("path", POLICIES, ids=lambda path: path.stem)
def test_every_policy_of_the_project_fits_the_schema_and_loads_without_a_remark(path: Path) -> None:
    loaded = load(str(path), lambda name: Path(name).read_bytes(), TODAY)

    assert loaded.diagnostics == ()
    assert loaded.policy is not None
    assert lint(loaded.policy, TODAY) == ()
    jsonschema.Draft202012Validator(schema()).validate(typed(path.read_text()))


@pytest.mark.parametrize(
    "path", [path for path in POLICIES if path.parent.name == "policies"], ids=lambda path: path.stem
)
def test_every_policy_of_the_project_can_be_copied_whole(path: Path) -> None:
    policy = load(str(path), lambda name: Path(name).read_bytes(), TODAY).policy
    assert policy is not None

    assert policy.name == path.stem
    assert policy.description
    assert policy.expectations
    assert policy.inbound.default == "drop"


@pytest.mark.parametrize(
    "text",
    [
        "inbound: {allow: [ssh]}",
        "portgate: 2",
        "portgate: 1\nadresses: {}",
        "portgate: 1\ninbound: {allow: [8080]}",
        "portgate: 1\ninbound: {allow: [22:22]}",
        "portgate: 1\ninbound: {allow: {port: ssh}}",
        "portgate: 1\ninbound: {allow: [{port: ssh, log: 'yes'}]}",
        "portgate: 1\ninbound: {allow: [{port: ssh, limit: 10 per minute}]}",
        "portgate: 1\ninbound: {allow: [{port: ssh, expires: tomorrow}]}",
        "portgate: 1\ninbound: {default: open}",
        "portgate: 1\nzones: {any: {interfaces: [eth0]}}",
        "portgate: 1\nzones: {1st: {interfaces: [eth0]}}",
        "portgate: 1\nforward: [{port: 80/tcp}]",
        "portgate: 1\ncontainers: maybe",
    ],
)
def test_what_the_schema_refuses_the_reader_refuses_too(text: str) -> None:
    assert not accepts(text)
    assert not loads(text)


def test_the_documentation_has_a_line_for_every_key() -> None:
    for record in records(grammar.POLICY):
        for key in record.keys:
            assert f"| `{key.name}` |" in LANGUAGE, (record.title, key.name)


@pytest.mark.parametrize("text", EXAMPLES, ids=range(len(EXAMPLES)))
def test_every_example_of_the_documentation_loads(text: str) -> None:
    whole = text if "portgate:" in text else "portgate: 1\n" + text
    files = {
        "policy.yaml": whole,
        "common/base.yaml": (ROOT / "policies/common/base.yaml").read_text() if "include" in text else "",
        "lists/abusers.netset": "203.0.113.66\n",
    }
    loaded = load("policy.yaml", lambda path: files[path].encode(), TODAY)

    assert not errors(loaded.diagnostics), loaded.diagnostics
    assert accepts(whole)


@pytest.mark.parametrize(
    "entry",
    [
        "include:",
        "inbound: {allow: [{port: ssh, id: 7}]}",
        "inbound: {allow: [{port: ssh, id: true}]}",
        "zones: {lan: {interfaces: [7, lan1]}}",
        "zones: {lan: {interfaces: '*'}}",
    ],
)
def test_what_the_reader_takes_the_schema_takes(entry: str) -> None:
    text = f"portgate: 1\n{entry}\n"

    assert loads(text)
    assert accepts(text)


@pytest.mark.parametrize("nothing", ["~", "null", ""])
@pytest.mark.parametrize(
    "entry", ["name: {}", "zones: {{lan: {{interfaces: {} }}}}", "inbound: {{allow: [{{port: ssh, note: {} }}]}}"]
)
def test_nothing_is_no_text_to_either(entry: str, nothing: str) -> None:
    text = f"portgate: 1\n{entry.format(nothing)}\n"

    assert not loads(text)
    assert not accepts(text)
