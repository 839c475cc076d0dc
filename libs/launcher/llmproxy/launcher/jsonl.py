"""Files of one JSON object a line, read so that nothing in them can end the command but with a line's number."""

import json
from collections.abc import Iterator
from typing import BinaryIO, Generic, TypeVar

import msgspec
from msgspec import Struct

from llmproxy.launcher import exits

LINE_BYTES_MAX = 192 << 20  # A text of 32 MiB, every character of it escaped.
UTF8_MARK = b"\xef\xbb\xbf"

Row = TypeVar("Row", bound=Struct)


class Lines(Generic[Row]):
    """The rows of a file, up to the first line that is none; then `failure` says which one, and why.

    The lines before it are answered first: whoever reads the output sees how far it went.
    """

    def __init__(self, file: BinaryIO, name: str, kind: type[Row], shape: str) -> None:
        self.failure: exits.Failure | None = None
        self._file, self._name, self._kind, self._shape = file, name, kind, shape
        self._decoder = msgspec.json.Decoder(kind)
        # As they came, whatever JSON they are.
        self._raw = {field.name for field in msgspec.structs.fields(kind) if field.type is msgspec.Raw}

    def __iter__(self) -> Iterator[Row]:
        number = 0
        while line := self._file.readline(LINE_BYTES_MAX + 1):
            number += 1
            if number == 1:
                line = line.removeprefix(UTF8_MARK)
            if not line.strip():
                continue
            try:
                row = self._row(line)
            except (ValueError, RecursionError) as error:
                self.failure = exits.Failure(
                    f"{self._name}:{number}: not a line {self._shape}: {_told(error)}", exits.USAGE
                )
                return
            yield row

    def _row(self, line: bytes) -> Row:
        if len(line) > LINE_BYTES_MAX:
            raise ValueError(f"it is longer than {LINE_BYTES_MAX >> 20} MiB")
        line.decode()  # What goes through as it came is checked, too.
        try:
            row = self._decoder.decode(line)
            for field in self._raw:
                msgspec.json.decode(bytes(getattr(row, field)) or b"null")
            return row
        except msgspec.ValidationError:
            raise
        except msgspec.DecodeError:
            if b"\\u" not in line:
                raise
            # Half a surrogate pair, which JSON can spell and msgspec does not read. Python's own reader does.
            return msgspec.convert(self._loosely(line), self._kind)

    def _loosely(self, line: bytes) -> object:
        """Fields that go through as they came are written again, with everything outside ASCII escaped."""
        tree = json.loads(line, parse_constant=_refuse)
        if isinstance(tree, dict):
            for field in self._raw & tree.keys():
                tree[field] = msgspec.Raw(json.dumps(tree[field]).encode())
        return tree


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _told(error: Exception) -> str:
    """An error without the line's own words."""
    match error:
        case UnicodeDecodeError():
            return f"it is not UTF-8 at byte {error.start}"
        case RecursionError():
            return "it is nested too deeply"
        case json.JSONDecodeError():
            return f"{error.msg} at character {error.pos}"
    return str(error)
