"""Keys that an object has twice, of which one reader takes the first and another the last."""

import ctypes
from typing import Any

import msgspec

from llmproxy.common import native

_keys = native.function("llmproxy_keys", ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t)
_keys_repeat = native.function("llmproxy_keys_repeat", ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t)


def keys(body: bytes) -> int:
    """How many keys the objects of a document have together. A tree has fewer where one is there twice."""
    found: int = _keys(body, len(body))
    return found


def is_ambiguous(document: bytes) -> bool:
    """Whether an object has a key twice. Of what is no JSON it says nothing."""
    if not _keys_repeat(document, len(document)):
        return False
    try:
        return keys(document) != _names(msgspec.json.decode(document))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return True


def _names(tree: Any) -> int:
    """How many names the objects of a tree have together."""
    count, rest = 0, [tree]
    while rest:
        node = rest.pop()
        if type(node) is dict:
            count += len(node)
            rest += node.values()
        elif type(node) is list:
            rest += node
    return count
