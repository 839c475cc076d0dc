"""Protobuf's JSON has two spellings of every field, and Google's schemas a dialect of their own: both are made one here.

https://protobuf.dev/programming-guides/json/, https://ai.google.dev/api/caching#Schema
"""

import re
from typing import Any

from llmproxy.provider_workers.reading import invalid

SNAKE = re.compile(r"_([a-z0-9])")
DEPTH_MAX = 64  # Of a schema; the shield bounds the body's depth, this is for callers without it.

VALUES = frozenset({"args", "response", "parametersJsonSchema", "responseJsonSchema", "labels", "partMetadata"})
"""Fields whose value is the caller's own JSON: nothing in it is spelled by Google."""

NAMES = frozenset({"properties", "defs", "$defs"})
"""Fields whose value is keyed by names of the caller's."""

RENAMED = {"ref": "$ref", "defs": "$defs"}
NUMBERS = frozenset({"minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"})


def camel(name: str) -> str:
    return SNAKE.sub(lambda found: found[1].upper(), name)


def respelled(value: Any) -> Any:
    """The same body in camelCase. Raises GatewayError when a field stands there in both spellings."""
    match value:
        case dict():
            made: dict[str, Any] = {}
            for name, inner in value.items():
                field = camel(name)
                if field in made:
                    raise invalid(field, "stands there in two spellings")
                made[field] = inner if field in VALUES else _named(inner) if field in NAMES else respelled(inner)
            return made
        case list():
            return [respelled(inner) for inner in value]
    return value


def _named(value: Any) -> Any:
    return {name: respelled(inner) for name, inner in value.items()} if isinstance(value, dict) else value


def json_schema(schema: Any, at: str, depth: int = 0) -> Any:
    """Google's subset of OpenAPI 3.0 as JSON Schema: types in lower case, `nullable` as a type, counts as numbers."""
    if not isinstance(schema, dict):
        return schema
    if depth > DEPTH_MAX:
        raise invalid(at, "is nested too deeply")
    made: dict[str, Any] = {}
    for written, value in schema.items():
        name = written if written.startswith("$") else camel(written)
        match name:
            case "type" if isinstance(value, str):
                if value != "TYPE_UNSPECIFIED":
                    made["type"] = value.lower()
            case "properties" | "defs" | "$defs" if isinstance(value, dict):
                inner = {key: json_schema(one, at, depth + 1) for key, one in value.items()}
                made[RENAMED.get(name, name)] = inner
            case "anyOf" if isinstance(value, list):
                made["anyOf"] = [json_schema(one, at, depth + 1) for one in value]
            case "items" | "additionalProperties":
                made[name] = json_schema(value, at, depth + 1)
            case "example":
                made["examples"] = [value]
            case "nullable" | "propertyOrdering":
                pass
            case "format" if value == "enum":
                pass  # Google's mark of what `enum` says already.
            case _ if name in NUMBERS and isinstance(value, str) and value.isdigit():
                made[name] = int(value)  # 64-bit integers are texts in protobuf's JSON.
            case _:
                made[RENAMED.get(name, name)] = value
    _order(made, schema.get("propertyOrdering", schema.get("property_ordering")))
    if schema.get("nullable") is True:
        _nullable(made)
    return made


def _order(made: dict[str, Any], ordering: Any) -> None:
    """Models write properties in the order in which the schema names them."""
    properties = made.get("properties")
    if isinstance(properties, dict) and isinstance(ordering, list):
        first = [name for name in ordering if isinstance(name, str) and name in properties]
        made["properties"] = {name: properties[name] for name in (*first, *properties)}


def _nullable(made: dict[str, Any]) -> None:
    if isinstance(made.get("type"), str) and made["type"] != "null":
        made["type"] = [made["type"], "null"]
        if isinstance(made.get("enum"), list):
            made["enum"] = [*made["enum"], None]
    elif isinstance(made.get("anyOf"), list):
        made["anyOf"] = [*made["anyOf"], {"type": "null"}]
