"""The JSON Schema of the policy language, for editors. It is made from the grammar that the reader uses.

Facts
    A schema sees YAML after somebody else's typing and knows nothing of names, ranges and files, so it accepts more than `load` does.
    What it refuses, `load` refuses too.
"""

from __future__ import annotations

from typing import Any

from portgate.language import grammar
from portgate.language.grammar import Day, Either, Flag, Many, Named, Number, Record, Shape, Text, Word

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_PLAIN = ["string", "number", "boolean"]
"""Free text: `name: 1984` is a number to YAML."""
_NOT_TEXT = ["number", "boolean", "array", "object", "null"]
"""A day is text, or for a reader of YAML 1.1 a date, which has no type in JSON."""


def schema() -> dict[str, Any]:
    """A JSON Schema, draft 2020-12, of a policy file."""
    definitions: dict[str, Any] = {}
    root = _record(grammar.POLICY, definitions)
    return {"$schema": DIALECT, "title": "portgate policy", **root, "$defs": definitions}


def _shape(shape: Shape, definitions: dict[str, Any]) -> dict[str, Any]:
    match shape:
        case Text(""):
            return {"type": _PLAIN}
        case Text(pattern, or_number):
            return {"type": _PLAIN if or_number else "string", "pattern": f"^(?:{pattern})$"}
        case Day():
            return {"pattern": f"^(?:{grammar.DATE_PATTERN})$", "not": {"type": _NOT_TEXT}}
        case Word(words):
            return {"enum": list(words)}
        case Flag():
            return {"type": "boolean"}
        case Number(first, last):
            return {"type": "integer", "minimum": first, "maximum": last}
        case Many(item, True):
            one = _shape(item, definitions)
            return {"anyOf": [one, {"type": "array", "items": one}]}
        case Many(item):
            return {"type": ["array", "null"], "items": _shape(item, definitions)}
        case Named(value):
            names = {"pattern": f"^(?:{grammar.NAME_PATTERN})$", "not": {"const": "any"}}
            found = {"type": ["object", "null"], "propertyNames": names}
            return {**found, "additionalProperties": _shape(value, definitions)}
        case Either(shapes):
            return {"anyOf": [_shape(one, definitions) for one in shapes]}
        case Record():
            if shape.title not in definitions:
                definitions[shape.title] = _record(shape, definitions)
            return {"$ref": f"#/$defs/{shape.title}"}


def _record(record: Record, definitions: dict[str, Any]) -> dict[str, Any]:
    properties = {key.name: _shape(key.shape, definitions) | {"description": key.meaning} for key in record.keys}
    found: dict[str, Any] = {"type": "object", "additionalProperties": False, "properties": properties}
    return {**found, "required": [key.name for key in record.keys if key.required]} if record.required else found
