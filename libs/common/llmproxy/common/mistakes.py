"""What is wrong with a file that somebody wrote, in words that name the place and the fix: msgspec says what, for machines."""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Struct

NONE: Mapping[str, Iterable[str]] = {}
LIKE = 0.6  # Of 1; `kye` is a key.


def meant(written: str, known: Iterable[str], like: float = LIKE) -> str:
    """`; did you mean 'email'?`, or nothing where nothing that is known is like it."""
    close = difflib.get_close_matches(written, sorted(known), n=1, cutoff=like)
    return f"; did you mean {close[0]!r}?" if close else ""


def explained(problem: str, tree: Any, kind: type[Struct], choices: Mapping[str, Iterable[str]] = NONE) -> str:
    """`endpoints.main.provider: …` for what msgspec says of a tree that should be a `kind`, with the entries' own names and
    the likely spelling. `choices`: the end of a path -> what may stand there, where the type does not say it."""
    what, _, path = problem.partition(" - at `$")
    path, kinds = _place(path.rstrip("`"), tree, kind)
    listed = next((known for end, known in choices.items() if path.endswith(end)), None)
    unknown = UNKNOWN_FIELD.search(problem)
    if unknown:
        what = f"unknown field {unknown[1]!r}{meant(unknown[1], _fields(kinds)) or '; remove it'}"
    elif listed is not None:
        what += f"; one of {', '.join(listed)}"
    elif what.startswith(BAD_CHOICE):
        what += f"; one of {', '.join(_choices(kinds))}"
    elif what.startswith(BAD_TEXT):
        what = next(_descriptions(kinds), what)
    elif what in SPELLED:
        what += f"; {SPELLED[what]}"
    return f"{path}: {what}" if path else what


SPELLED = {
    **dict.fromkeys(
        (f"Expected `str`, got `{kind}`" for kind in ("int", "float", "bool", "date", "datetime")), "put it in quotes"
    ),
    "Expected `bool`, got `str`": "write true or false",
}
BAD_CHOICE, BAD_TEXT = "Invalid enum value", "Expected `str` matching regex"
UNKNOWN_FIELD = re.compile(r"unknown field `([^`]*)`")
STEP = re.compile(r"\[[^\]]*\]|[^.\[]+")  # Of a path: a field, or any item of a list or a mapping.
ANY_ENTRY = "[...]"  # What msgspec calls the entry of a mapping, whichever it is.


def _place(path: str, tree: Any, kind: type[Struct]) -> tuple[str, list[Any]]:
    """A path of msgspec's such as `.policy.overrides[0].kinds[...]` with the names of entries, and what may stand there."""
    kinds: list[Any] = [kind]
    named = ""
    for step in STEP.findall(path):
        kinds = [below for kind in kinds for below in _below(kind, step)]
        name = _bad_entry(tree, kinds) if step == ANY_ENTRY else step
        named += name if name.startswith("[") else f".{name}"
        tree = _item(tree, name)
    return named.lstrip("."), kinds


def _item(tree: Any, name: str) -> Any:
    if isinstance(tree, list):
        return tree[int(name[1:-1])]
    return next((value for key, value in tree.items() if str(key) == name), {})


def _bad_entry(entries: Mapping[Any, Any], kinds: list[Any]) -> str:
    return next((str(name) for name, entry in entries.items() if not any(_fits(entry, kind) for kind in kinds)), "*")


def _fits(entry: Any, kind: Any) -> bool:
    try:
        msgspec.convert(entry, kind)
    except msgspec.ValidationError:
        return False
    return True


def _choices(kinds: list[Any]) -> tuple[str, ...]:
    return tuple(value for kind in kinds if get_origin(kind) is Literal for value in get_args(kind))


def _below(kind: Any, step: str) -> list[Any]:
    if get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    if isinstance(kind, type) and issubclass(kind, Struct):
        return _alternatives(get_type_hints(kind, include_extras=True).get(step))
    items = get_args(kind)  # Of a list, a tuple of any length, a mapping.
    return _alternatives(items[get_origin(kind) is dict]) if items else []


def _alternatives(kind: Any) -> list[Any]:
    return list(get_args(kind)) if get_origin(kind) in (Union, UnionType) else [kind]


def _descriptions(kinds: list[Any]) -> Iterator[str]:
    """How a text is to be written, in words: an expression is for machines."""
    for kind in kinds:
        for about in getattr(kind, "__metadata__", ()):
            if about.description:
                yield about.description


def _fields(kinds: list[Any]) -> list[str]:
    return sorted({field for kind in kinds for field in getattr(kind, "__struct_fields__", ())})
