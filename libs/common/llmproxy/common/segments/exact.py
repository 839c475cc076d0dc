"""The exact pass: every segment with its path and its place in the bytes, for the bodies in which a guard might see something."""

from typing import Any

import msgspec

from llmproxy.common.errors import GatewayError
from llmproxy.common.segments.binaries import BLOB_CHARS_MIN, blobs
from llmproxy.common.segments.names import BLOB_KEYS, DRAWN_NUMBERS, KNOWN_KEYS
from llmproxy.common.segments.places import Path, is_filled, join
from llmproxy.common.segments.segment import NUMBER_CHARS_MIN, TEXT_CHARS_MIN, Form, Segment, is_telling
from llmproxy.common.segments.tree import tree_of
from llmproxy.common.segments.whose import Role, roles
from llmproxy.common.segments.written import TOKEN, plain_digits, unescape

DEPTH_MAX = 64
EMBEDDED_DEPTH_MAX = 3  # Documents in strings in documents in strings; deeper ones are read as plain text.


def segments(
    text: str, tree: Any, max_depth: int = DEPTH_MAX, *, embedded: bool = True, shortest: int = TEXT_CHARS_MIN
) -> list[Segment]:
    """Every segment of a body that `decode` has accepted, in order; those inside tool-call arguments, if `embedded`."""
    places = frozenset(path for path, _, _ in blobs(tree))
    scan = Scan(roles(tree), max_depth, embedded=0 if embedded else EMBEDDED_DEPTH_MAX, places=places)
    scan.chars_min = shortest
    return scan.run(text)


def check(text: str, max_depth: int) -> None:
    """Raises GatewayError naming what is nested too deep, or given twice."""
    Scan(lambda _: "unknown", max_depth).run(text)


class _Level:
    """An open object (`keys` are those seen, `at` the current one) or array (`at` is the index)."""

    __slots__ = ("at", "keys")

    def __init__(self, keys: set[str] | None) -> None:
        self.keys = keys
        self.at: str | int | None = None if keys is not None else 0


class Scan:
    """One pass over the tokens of one JSON document: the body, or one embedded in a string of it (`host`)."""

    def __init__(
        self,
        role: Role,
        max_depth: int,
        host: Segment | None = None,
        embedded: int = 0,
        places: frozenset[Path] = frozenset(),
    ) -> None:
        self.found: list[Segment] = []
        self.chars_min = TEXT_CHARS_MIN
        self._role, self._max_depth, self._host, self._embedded = role, max_depth, host, embedded
        self._places = places  # Of the blobs.
        self._open: list[_Level] = []

    def run(self, text: str) -> list[Segment]:
        for token in TOKEN.finditer(text):
            written = token[0]
            match written[0]:
                case "{":
                    self._enter(_Level(set()))
                    continue
                case "[":
                    self._enter(_Level(None))
                    continue
                case "}" | "]":
                    self._open.pop()
                case '"':
                    inside = written[1:-1]
                    if self._awaits_key():
                        self._key(inside, token.start() + 1)
                        continue
                    if len(inside) >= self.chars_min:
                        self._value(inside, token.start() + 1)
                case _:
                    if len(written) >= NUMBER_CHARS_MIN and not self._is_drawn():
                        self.found.append(self._segment(written, token.start(), "number"))
            if self._open:
                level = self._open[-1]
                level.at = None if level.keys is not None else int(level.at or 0) + 1
        return self.found

    def _enter(self, level: _Level) -> None:
        if len(self._open) == self._max_depth:
            where = self._where()
            raise GatewayError(
                "too_deep",
                f"{where or 'the body'} is nested deeper than {self._max_depth} levels; flatten it",
                param=where,
            )
        self._open.append(level)

    def _awaits_key(self) -> bool:
        return bool(self._open) and self._open[-1].keys is not None and self._open[-1].at is None

    def _key(self, written: str, start: int) -> None:
        level = self._open[-1]
        assert level.keys is not None
        if len(written) >= self.chars_min and written not in KNOWN_KEYS:
            self.found.append(self._segment(written, start, "key"))
        level.at = unescape(written)
        if level.at in level.keys:
            where = self._where()
            raise GatewayError("duplicate_key", f"{where} is given twice; give it once", param=where)
        level.keys.add(level.at)

    def _value(self, written: str, start: int) -> None:
        key = self._open[-1].at if self._open else None
        segment = self._segment(written, start, "value")
        if key in BLOB_KEYS and len(written) >= BLOB_CHARS_MIN and self._places and tuple(self._path()) in self._places:
            return
        inner = self._inner(segment) if key == "arguments" else None
        if inner is None:
            self.found.append(segment)
        else:
            self.found += inner

    def _inner(self, segment: Segment) -> list[Segment] | None:
        """The segments of tool-call arguments, which are a JSON document in a string; None when they are not one."""
        if self._embedded == EMBEDDED_DEPTH_MAX or segment.text.lstrip()[:1] not in ("{", "["):
            return None
        try:
            tree_of(segment.text)
            scan = Scan(self._role, self._max_depth, segment, self._embedded + 1)
            scan.chars_min = self.chars_min
            return scan.run(segment.text)
        except (msgspec.DecodeError, UnicodeError, RecursionError, GatewayError):
            return None

    def _segment(self, written: str, start: int, form: Form) -> Segment:
        path = self._path()
        host = self._host
        return Segment(
            role=host.role if host else self._role(path),
            path=host.path if host else join([*path, "*"] if form == "key" else path),
            text=unescape(written) if form != "number" else plain_digits(written),
            form=form,
            start=start,
            raw=written if form == "number" or "\\" in written else "",
            host=host,
            label=self._label(path) if form != "key" else "",
        )

    def _label(self, path: Path) -> str:
        if self._host is None and not is_filled(path):
            return ""
        name = next((place for place in reversed(path) if isinstance(place, str)), "")
        return name if is_telling(name) else ""

    def _is_drawn(self) -> bool:
        return self._host is None and tuple(self._path()) in DRAWN_NUMBERS

    def _path(self) -> list[str | int]:
        return [level.at for level in self._open if level.at is not None]

    def _where(self) -> str:
        return join(self._path())
