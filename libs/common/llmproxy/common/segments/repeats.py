"""Keys that an object has twice, of which one reader takes the first and another the last."""

from collections.abc import Callable
from typing import Any

import msgspec

from llmproxy.common import native
from llmproxy.common.segments.tree import tree_of

keys: Callable[[bytes], int] = native.call("keys")
"""How many keys the objects of a document have together. A tree has fewer where one is there twice."""

_keys_repeat = native.call("keys_repeat")


def is_ambiguous(document: bytes) -> bool:
    """Whether an object has a key twice. Of what is no JSON it says nothing."""
    if not _keys_repeat(document):
        return False
    try:
        return keys(document) != _names(tree_of(document))
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
