"""Where a caller wrote what an error names by its place in the canonical request.

It is looked for when there is such an error, in the body as it came: an answer that goes well pays nothing for it.
"""

import re
from collections.abc import Callable, Mapping, Sequence

from llmproxy.common.errors import GatewayError

MESSAGE = re.compile(r"messages\[(\d{1,6})\]\.?(.*)", re.DOTALL)
TOOL = re.compile(r"tools\[(\d{1,6})\]\.?(.*)", re.DOTALL)
ENTRY = re.compile(r"(\w+)\[(\d{1,6})\]\.?(.*)", re.DOTALL)
OTHER_INDEX = re.compile(r"\.\[?(\d{1,6})\]?(?=[.\[]|$)")
"""`messages.[1].role` and `messages.1.role`, as some vendors write it."""
QUOTED = re.compile(r"'([^'\s]{1,200})'")

FUNCTION = {"function": "", "function.name": "name", "function.description": "description", "function.strict": "strict"}
"""The fields of a declared function, where it is not wrapped up."""


def retold(error: GatewayError, place: Callable[[str], str]) -> GatewayError:
    """The error in the caller's words, when it names a field. `place` says where the caller wrote what is at a canonical path."""
    if not error.param:
        return error

    def word(found: re.Match[str]) -> str:
        is_path = found[1] == error.param or found[1].startswith("messages")
        return f"'{place(found[1])}'" if is_path else found[0]

    return GatewayError(
        error.code,
        QUOTED.sub(word, error.message),
        param=place(error.param),
        retry_after_ms=error.retry_after_ms,
        status=error.status,
    )


def brackets(path: str) -> str:
    """The path with its indices written one way."""
    return OTHER_INDEX.sub(r"[\1]", path)


def renamed(names: Mapping[str, str], path: str) -> str:
    """The path with the longest beginning that has another name under that name; a path without one is the same for everybody."""
    found = _longest(names, path)
    return path if found is None else joined(names[found], path[len(found) :])


def inside(at: str, names: Mapping[str, str], path: str) -> str:
    """The same within an object of the caller's at `at`: what has no name there is the object itself."""
    found = _longest(names, path)
    return at if found is None else joined(joined(at, names[found]), path[len(found) :])


def joined(at: str, rest: str) -> str:
    rest = rest.removeprefix(".")
    return f"{at}.{rest}" if at and rest and rest[0] != "[" else f"{at}{rest}"


def nth(places: Sequence[str], number: int, otherwise: str) -> str:
    return places[number] if number < len(places) else otherwise


def _longest(names: Mapping[str, str], path: str) -> str | None:
    beginning = path
    while beginning and beginning not in names:
        beginning = beginning[: max(beginning.rfind("."), beginning.rfind("["), 0)]
    return beginning or None
