"""The JSON Schemas of what is kept as JSON: a measurement, a comparison and a drift, made from their fields.

`python -m align_uniform.measuring.schema` writes them next to this file, `measurement.schema.json` and so on.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from align_uniform._field_docs import documented_fields
from align_uniform.measuring.comparison import AdjustedDifference, ComparisonDocument
from align_uniform.measuring.difference import Difference
from align_uniform.measuring.drift_result import Drift
from align_uniform.measuring.measurement import SCHEMA_VERSION, Measurement
from align_uniform.measuring.plain import SCALARS
from align_uniform.measuring.two_samples import PermutationTest

DIALECT = "https://json-schema.org/draft/2020-12/schema"

KINDS: dict[str, type] = {"measurement": Measurement, "comparison": ComparisonDocument, "drift": Drift}
"""The dataclasses whose JSON the schemas describe."""

WITH_VERSION = tuple(KINDS.values())
"""The dataclasses whose JSON names the version of its schema."""

PROPERTIES: dict[type, tuple[str, ...]] = {
    Measurement: ("findings",),
    Drift: ("moved", "verdict"),
    PermutationTest: ("effect",),
    Difference: ("z", "p"),
    AdjustedDifference: ("z", "p"),
}
"""The properties of dataclasses that are part of the JSON, next to their fields."""

NAMES = {float: ["number", "null"], int: "integer", str: "string", bool: "boolean"}
"""The names that JSON Schema has for the types of fields; a float that is not finite is null."""


def schema(kind: str) -> dict[str, Any]:
    """Return the JSON Schema of what `to_json` of a measurement or a drift, or `compare --json`, writes.

    The JSON may have further fields, since a new field does not raise the version. Fields that this version
    writes and an earlier one did not are not required.

    Args:
        kind: "measurement", "comparison" or "drift".

    Example:
        >>> from align_uniform.measuring.schema import schema
        >>> schema("measurement")["properties"]["n"]["type"]
        'integer'
    """
    parts: dict[str, Any] = {}
    whole = _object(KINDS[kind], parts)
    about = {"$schema": DIALECT, "title": f"{kind.capitalize()}, schema {SCHEMA_VERSION}"}
    return about | whole | ({"$defs": parts} if parts else {})


def text(kind: str) -> str:
    """Return a schema as its file has it."""
    return json.dumps(schema(kind), indent=1, ensure_ascii=False) + "\n"


def path(kind: str) -> Path:
    """Return the path of the file of a schema, which is part of the package."""
    return Path(__file__).with_name(f"{kind}.schema.json")


def _of(hint: Any, parts: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a type; those of dataclasses are collected in `parts`."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        choices = [_of(each, parts) for each in arguments if each is not types.NoneType]
        return {"anyOf": [*choices, {"type": "null"}]} if types.NoneType in arguments else {"anyOf": choices}
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin is tuple and arguments[1:] == (...,):
        return {"type": "array", "items": _of(arguments[0], parts)}
    if origin is tuple:
        count = len(arguments)
        return {"type": "array", "items": _of(arguments[0], parts), "minItems": count, "maxItems": count}
    if origin is Mapping:
        return {"type": "object", "additionalProperties": _of(arguments[1], parts)}
    if dataclasses.is_dataclass(hint):
        name = str(getattr(hint, "__name__", hint))
        if name not in parts:
            parts[name] = {}  # a class may contain itself
            parts[name] = _object(hint, parts)
        return {"$ref": f"#/$defs/{name}"}
    return {"type": NAMES[hint]} if hint in SCALARS else {}


def _object(kind: Any, parts: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a dataclass: its fields, and what its JSON has besides."""
    hints, docs = typing.get_type_hints(kind), dict(documented_fields(kind))
    kept = [each for each in dataclasses.fields(kind) if each.compare]  # others are left out of the JSON
    properties = {each.name: _described(_of(hints[each.name], parts), docs.get(each.name)) for each in kept}
    required = [each.name for each in kept if each.default is each.default_factory is dataclasses.MISSING]
    for name in PROPERTIES.get(kind, ()):
        getter = getattr(kind, name).fget
        properties[name] = _described(_of(typing.get_type_hints(getter)["return"], parts), getter.__doc__)
    if kind in WITH_VERSION:
        version = {"description": "The version of this schema.", "const": SCHEMA_VERSION}
        properties, required = {"schema_version": version} | properties, ["schema_version", *required]
    return {
        "description": " ".join(str(kind.__doc__).strip().split("\n\n")[0].split()),
        "type": "object",
        "properties": properties,
        "required": required,
    }


def _described(of: dict[str, Any], words: str | None) -> dict[str, Any]:
    return of if words is None else {"description": " ".join(words.split())} | of


if __name__ == "__main__":
    for each in KINDS:
        path(each).write_text(text(each), encoding="utf-8")
