"""Whether a body has the shape of a struct, and where it has not: the part of a vendor's strictness that types can say."""

import re
from typing import Any, TypeVar

import msgspec

T = TypeVar("T", bound=msgspec.Struct)

PROBLEM = re.compile(r"^(?P<what>.*?)(?: - at `(?:key in )?\$\.?(?P<path>.*?)`)?$", re.DOTALL)
UNKNOWN = re.compile(r"unknown field `([^`]*)`")
MISSING = re.compile(r"missing required field `([^`]*)`")


def words(text: str) -> frozenset[str]:
    """A set of names, written with spaces between them."""
    return frozenset(text.split())


class Misfit(Exception):
    """`path` is as in `messages[0].content`; `field` is set when one is unknown or missing there."""

    def __init__(self, what: str, path: str, unknown: str = "", missing: str = "") -> None:
        super().__init__(what)
        self.what, self.path, self.unknown, self.missing = what, path, unknown, missing

    @property
    def param(self) -> str:
        """The place itself, with the field that is unknown or missing."""
        return ".".join(step for step in (self.path, self.unknown or self.missing) if step)

    @property
    def dotted(self) -> str:
        """The same with numbers as steps: `messages.0.content`"""
        return self.param.replace("[", ".").replace("]", "").lstrip(".")


def fit(body: Any, kind: type[T], *, ignore_unknown: bool = False) -> T:
    """The body as `kind`. Raises Misfit. `ignore_unknown` is about the top level alone."""
    if ignore_unknown and isinstance(body, dict):
        names = {field.encode_name for field in msgspec.structs.fields(kind)}
        body = {name: value for name, value in body.items() if name in names}
    try:
        return msgspec.convert(body, kind)
    except msgspec.ValidationError as error:
        found = PROBLEM.match(str(error))
        assert found is not None
        what, path = found["what"], found["path"] or ""
        unknown, missing = UNKNOWN.search(what), MISSING.search(what)
        raise Misfit(what, path, unknown[1] if unknown else "", missing[1] if missing else "") from None
