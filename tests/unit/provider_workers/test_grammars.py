"""Schemas as they are taken by those who make grammars of them."""

import json
import time
from copy import deepcopy
from typing import Any

import pytest
from anthropic.lib._parse._transform import transform_schema
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from llmproxy.common.errors import GatewayError
from llmproxy.provider_workers.grammars import DEPTH_MAX, FORMATS, fitted


def fit(schema: Any) -> tuple[Any, list[str]]:
    dropped: list[str] = []
    found = fitted(Raw(json.dumps(schema).encode()), "at", dropped)
    return None if found is None else json.loads(bytes(found)), dropped


def closed(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "additionalProperties": False}


def test_a_schema_that_needs_no_change_keeps_its_bytes() -> None:
    asked = Raw(b'{ "type":"object", "properties": {"n": {"enum": [1.0]}}, "additionalProperties": false }')
    assert fitted(asked, "at", []) is asked


@pytest.mark.parametrize(
    ("asked", "made", "told"),
    [
        ({"type": "integer", "minimum": 1}, {"type": "integer", "description": "{minimum: 1}"}, ["at.minimum"]),
        (
            {"type": "string", "maxLength": 3, "description": "A code."},
            {"type": "string", "description": "A code.\n\n{maxLength: 3}"},
            ["at.maxLength"],
        ),
        ({"type": "string", "format": "iban"}, {"type": "string", "description": '{format: "iban"}'}, ["at.format"]),
        ({"type": "array", "minItems": 2}, {"type": "array", "description": "{minItems: 2}"}, ["at.minItems"]),
        ({"type": "array", "minItems": 1}, {"type": "array", "minItems": 1}, []),
        ({"oneOf": [{"type": "null"}]}, {"anyOf": [{"type": "null"}]}, []),
    ],
)
def test_what_is_refused_is_told_in_words_and_listed(asked: Any, made: Any, told: list[str]) -> None:
    assert fit(closed(a=asked)) == (closed(a=made), told)
    assert fit({"$defs": {"x": asked}, "anyOf": [asked]}) == ({"$defs": {"x": made}, "anyOf": [made]}, told)


def test_objects_are_closed() -> None:
    asked = {"type": "object", "properties": {"a": {"type": ["object", "null"], "properties": {}}}}
    assert fit(asked)[0] == closed(a={"type": ["object", "null"], "properties": {}, "additionalProperties": False})


@pytest.mark.parametrize("more", [{}, {"additionalProperties": True}, {"additionalProperties": {"type": "integer"}}])
def test_an_object_of_any_fields_cannot_be_had(more: dict[str, Any]) -> None:
    assert fit(closed(a={"type": "array", "items": {"type": "object", **more}})) == (None, [])


def test_a_field_may_be_called_like_a_word_of_schemas() -> None:
    asked = closed(minimum={"type": "string"}, format={"type": "string"}, additionalProperties={"type": "string"})
    assert fit(asked) == (asked, [])


def test_a_schema_without_end_is_refused() -> None:
    deep: dict[str, Any] = {"type": "string"}
    for _ in range(DEPTH_MAX + 1):
        deep = {"type": "array", "items": deep}
    with pytest.raises(GatewayError, match="too deep"):
        fit(deep)


LEAVES = st.sampled_from(
    [
        {"type": "string", "minLength": 1},
        {"type": "string", "format": "date"},
        {"type": "string", "format": "iban", "description": "Where to."},
        {"type": "integer", "minimum": 0, "maximum": 9},
        {"type": "boolean"},
        {"enum": ["a", "b"]},
    ]
)
SCHEMAS = st.recursive(
    LEAVES,
    lambda inner: (
        st.dictionaries(st.sampled_from("abc"), inner, max_size=3).map(lambda made: closed(**made))
        | inner.map(lambda one: {"type": "array", "items": one, "minItems": 2})
        | st.lists(inner, min_size=1, max_size=2).map(lambda some: {"anyOf": some})
    ),
    max_leaves=6,
)


def shape(schema: Any) -> Any:
    """Without the words, which each writes in its own way."""
    if isinstance(schema, list):
        return [shape(one) for one in schema]
    return (
        {key: shape(one) for key, one in schema.items() if key != "description"} if isinstance(schema, dict) else schema
    )


@given(SCHEMAS)
def test_the_vendors_own_package_makes_the_same_of_it(schema: Any) -> None:
    assert shape(fit(schema)[0]) == shape(transform_schema(deepcopy(schema)))


def test_the_formats_are_the_vendors() -> None:
    kept = {name for name in FORMATS if "format" in transform_schema({"type": "string", "format": name})}
    assert kept == FORMATS


def test_a_schema_of_large_numbers_takes_no_longer_than_one_of_others() -> None:
    """Some 8 us each, as msgspec reads them by itself: seconds of the worker's loop for a megabyte."""

    def seconds(number: str) -> float:
        asked = Raw(b'{"enum":[%b]}' % ",".join([number] * 20_000).encode())
        began = time.thread_time()
        fitted(asked, "at", [])
        return time.thread_time() - began

    usual = min(seconds("12345.25") for _ in range(3))
    assert min(seconds("1e300") for _ in range(3)) < 4 * usual
