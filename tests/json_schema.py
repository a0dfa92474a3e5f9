"""The part of JSON Schema that our schemas use, checked by hand: what is wrong with a document."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from align_uniform.measuring import schema

TYPES: dict[str, tuple[type, ...]] = {
    "null": (type(None),),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
    "string": (str,),
    "array": (list,),
    "object": (dict,),
}

KEYWORDS = {
    "$schema", "title", "description", "$defs", "$ref", "anyOf", "const", "enum", "type", "items", "minItems",
    "maxItems", "properties", "additionalProperties", "required",
}  # fmt: skip
"""The keywords that are understood; any other is an error in the schema."""


@cache
def published(kind: str) -> Any:
    """Return a schema as the package has it."""
    return json.loads(schema.path(kind).read_text(encoding="utf-8"))


def check(document: Any, kind: str = "measurement") -> None:
    """Fail if a document does not follow a schema of the package, or has a field that it does not name."""
    assert list(faults(document, published(kind))) == []


def faults(value: Any, part: Any, whole: Any = None, path: str = "") -> Iterator[str]:
    """Yield what is wrong with a value; fields that the schema does not name are faults too."""
    whole = part if whole is None else whole
    assert part.keys() <= KEYWORDS, part.keys() - KEYWORDS
    if "$ref" in part:
        yield from faults(value, whole["$defs"][part["$ref"].removeprefix("#/$defs/")], whole, path)
    if "anyOf" in part:
        found = [list(faults(value, choice, whole, path)) for choice in part["anyOf"]]
        yield from min(found, key=len)
    if "const" in part and value != part["const"]:
        yield f"{path} must be {part['const']}, got {value!r}"
    if "enum" in part and value not in part["enum"]:
        yield f"{path} must be one of {part['enum']}, got {value!r}"
    names = part.get("type", [])
    names = [names] if isinstance(names, str) else names
    if names and type(value) not in {kind for name in names for kind in TYPES[name]}:
        yield f"{path} must be {' or '.join(names)}, got {value!r}"
        return
    yield from _inside(value, part, whole, path)


def _inside(value: Any, part: Any, whole: Any, path: str) -> Iterator[str]:
    if isinstance(value, list):
        if not part.get("minItems", 0) <= len(value) <= part.get("maxItems", len(value)):
            yield f"{path} must not have {len(value)} items"
        for number, item in enumerate(value):
            yield from faults(item, part.get("items", {}), whole, f"{path}.{number}")
    if isinstance(value, Mapping) and part.get("type") == "object":
        known = part.get("properties", {})
        yield from (f"{path}.{name} is missing" for name in part.get("required", ()) if name not in value)
        for name, inner in value.items():
            if name not in known and "additionalProperties" not in part:
                yield f"{path}.{name} is not in the schema"
            of = known.get(name, part.get("additionalProperties", {}))
            yield from faults(inner, of, whole, f"{path}.{name}")
