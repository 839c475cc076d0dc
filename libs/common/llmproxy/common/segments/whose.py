"""Whose text stands at a path, by what messages, items and contents state."""

from collections.abc import Callable
from typing import Any

from llmproxy.common.segments.names import RETURNED, RETURNED_PARTS, ROOT_ROLES
from llmproxy.common.segments.places import Path

Role = Callable[[Path], str]
"""Whose text stands at a path."""

MESSAGE_ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})


def roles(tree: Any) -> Role:
    """Whose text a path holds, by the roles that messages, items and contents state. The APIs share no root field."""

    def role(path: Path) -> str:
        if not path:
            return "parameter"
        match path[0]:
            case "messages":
                return _of_message(tree, path)
            case "input" if len(path) > 1:
                return _of_item(tree, path)
            case "contents" if len(path) > 1:
                return _of_content(tree, path)
            case name:
                return ROOT_ROLES.get(name, "parameter") if isinstance(name, str) else "unknown"

    return role


def _of_message(tree: Any, path: Path) -> str:
    """A result is a tool's, or a search's, whose message it stands in: Anthropic's are the user's, or the assistant's own."""
    block = _at(tree, path[:4]) if len(path) > 3 and path[2] == "content" else None
    if type(block) is dict and str(block.get("type")).endswith(("tool_result", "search_result")):
        return "tool"
    stated = _stated(tree, path[:2])
    return stated if stated in MESSAGE_ROLES else "unknown"


def _of_item(tree: Any, path: Path) -> str:
    item = _at(tree, path[:2])
    if type(item) is not dict:
        return "user"
    kind = item.get("type")
    if kind == "mcp_list_tools":
        return "definition"
    if (isinstance(kind, str) and kind.endswith("_output")) or (len(path) > 2 and path[2] in RETURNED):
        return "tool"
    stated = _stated(tree, path[:2])
    if stated:
        return stated if stated in MESSAGE_ROLES else "unknown"
    return "assistant" if isinstance(kind, str) and kind.endswith(("_call", "reasoning")) else "user"


def _of_content(tree: Any, path: Path) -> str:
    if len(path) > 4 and path[4] in RETURNED_PARTS:
        return "tool"
    return {"user": "user", "model": "assistant", "function": "tool", "": "user"}.get(
        _stated(tree, path[:2]), "unknown"
    )


def _stated(tree: Any, path: Path) -> str:
    node = _at(tree, path)
    role = node.get("role", "") if type(node) is dict else None
    return role if isinstance(role, str) else "unknown"


def _at(tree: Any, path: Path) -> Any:
    """What stands at a path; None when nothing does."""
    for place in path:
        if type(tree) is dict:
            tree = tree.get(place)
        elif type(tree) is list and isinstance(place, int) and place < len(tree):
            tree = tree[place]
        else:
            return None
    return tree
