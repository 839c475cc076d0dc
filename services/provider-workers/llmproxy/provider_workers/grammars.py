"""JSON schemas for those who make grammars of them, Anthropic and Bedrock: what they take as it is, the rest in words.

The vendor's own packages do the same. https://docs.claude.com/en/docs/build-with-claude/structured-outputs
"""

from typing import Any

from msgspec import Raw

from llmproxy.common.errors import GatewayError
from llmproxy.common.segments.tree import tree_of
from llmproxy.provider_workers.wire import ENCODER

IN_WORDS = frozenset(
    {
        *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength"),
        *("minItems", "maxItems", "uniqueItems", "prefixItems", "contains", "minContains", "maxContains"),
        *("minProperties", "maxProperties", "patternProperties", "propertyNames", "dependentRequired"),
        *("dependentSchemas", "unevaluatedItems", "unevaluatedProperties", "not", "if", "then", "else", "oneOf"),
        "format",
    }
)
"""What is refused. The model is told it in the description, and nobody else sees to it."""
FORMATS = frozenset(
    {"date", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "time", "uri", "uuid"},
)
DEPTH_MAX = 100


class OpenObject(Exception):
    """One whose fields the schema does not name."""


def fitted(schema: Raw, at: str, dropped: list[str]) -> Raw | None:
    """The schema as it is taken, with what is told in words listed in `dropped` below `at`; None when some object of it
    may have any fields, since only closed ones are taken."""
    asked = tree_of(schema)
    told: set[str] = set()
    try:
        made = _fitted(asked, told, 0)
    except OpenObject:
        return None
    dropped += [f"{at}.{name}" for name in sorted(told)]
    return schema if made == asked else Raw(ENCODER.encode(made))


def _fitted(schema: Any, told: set[str], depth: int) -> Any:
    if depth > DEPTH_MAX:
        raise GatewayError("too_deep", "a schema is nested too deeply")
    if isinstance(schema, list):
        return [_fitted(one, told, depth + 1) for one in schema]
    if not isinstance(schema, dict):
        return schema
    made: dict[str, Any] = {}
    words = []
    for name, value in schema.items():
        match name:
            case "properties" | "$defs" | "definitions" if isinstance(value, dict):
                made[name] = {key: _fitted(one, told, depth + 1) for key, one in value.items()}
            case "items" | "anyOf" | "allOf":
                made[name] = _fitted(value, told, depth + 1)
            case "oneOf" if "anyOf" not in schema:
                made["anyOf"] = _fitted(value, told, depth + 1)
            case _ if name in IN_WORDS and not _is_taken(name, value):
                told.add(name)
                words.append(f"{name}: {ENCODER.encode(value).decode()}")
            case _:
                made[name] = value
    if words:
        said = [schema["description"]] if isinstance(schema.get("description"), str) else []
        made["description"] = "\n\n".join([*said, f"{{{', '.join(words)}}}"])
    if _is_object(schema):
        if schema.get("additionalProperties", "properties" not in schema) is not False:
            raise OpenObject
        made["additionalProperties"] = False
    return made


def _is_taken(name: str, value: Any) -> bool:
    return (name == "minItems" and value in (0, 1)) or (name == "format" and value in FORMATS)


def _is_object(schema: dict[str, Any]) -> bool:
    kind = schema.get("type")
    return "properties" in schema or kind == "object" or (isinstance(kind, list) and "object" in kind)
