"""The tree of a body, or what is wrong with it and where."""

import re
from collections.abc import Iterator
from typing import Any, NoReturn

import msgspec

from llmproxy.common.errors import GatewayError
from llmproxy.common.segments.exact import DEPTH_MAX, Scan
from llmproxy.common.segments.segment import Segment
from llmproxy.common.segments.tree import tree_of

LONE_SURROGATE = re.compile(r"[\ud800-\udfff]")
ESCAPED_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def decode(body: bytes, max_depth: int = DEPTH_MAX) -> Any:
    """The tree of a body. Raises GatewayError naming the field: bad JSON, encoding, depth, duplicate keys."""
    try:
        tree = tree_of(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        _explain(body, max_depth)
    if type(tree) is not dict:
        raise GatewayError("invalid_type", "the body must be a JSON object")
    return tree


def strings(value: Any) -> Iterator[str]:
    """Every text of a tree, or of a part of one, without names."""
    if type(value) is str:
        yield value
    elif type(value) is list:
        for item in value:
            yield from strings(item)
    elif type(value) is dict:
        for item in value.values():
            yield from strings(item)


def _explain(body: bytes, max_depth: int) -> NoReturn:
    """Raises the GatewayError for a body that does not decode."""
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        text = body.decode(errors="surrogateescape")
        where = _first(text, LONE_SURROGATE, max_depth)
        raise GatewayError(
            "invalid_encoding", f"{where or 'the body'} is not valid UTF-8 (byte {error.start})", param=where
        ) from None
    if ESCAPED_SURROGATE.search(text) and (where := _first(text, LONE_SURROGATE, max_depth)):
        raise GatewayError("invalid_encoding", f"{where} holds half of a surrogate pair", param=where)
    _scan_loosely(text, max_depth)
    raise GatewayError("invalid_json", f"the body is not valid JSON{_position(body)}")


def _position(body: bytes) -> str:
    try:
        tree_of(body)
    except (msgspec.DecodeError, RecursionError) as error:
        at = re.search(r"\(byte \d+\)", str(error))
        return f" {at[0]}" if at else ""
    return ""


def _first(text: str, pattern: re.Pattern[str], max_depth: int) -> str:
    """The path of the first segment with such a text, as far as the body can be read."""
    for segment in _scan_loosely(text, max_depth):
        if pattern.search(segment.text):
            return segment.path
    return ""


def _scan_loosely(text: str, max_depth: int) -> list[Segment]:
    """What can be read of a body that is not JSON. Raises GatewayError only for depth."""
    scan = Scan(lambda _: "unknown", max_depth)
    scan.chars_min = 1
    try:
        return scan.run(text)
    except GatewayError as error:
        if error.code == "too_deep":
            raise
    except (IndexError, AssertionError, ValueError, TypeError):
        pass
    return scan.found
