"""What server-sent events ask of their payload, whatever the dialect."""

import re

import msgspec
from msgspec import Struct

NAME = re.compile(rb"[a-z][a-z0-9_.]{0,63}", re.ASCII)
FIRST = b'{"type":"'  # Where nearly every provider writes an event's name.


def one_line(json: bytes) -> bytes:
    """A newline between JSON tokens would end the event; inside a string it is always escaped, so these are only space."""
    if b"\n" in json or b"\r" in json:
        return json.replace(b"\r", b" ").replace(b"\n", b" ")
    return json


def name_of(json: bytes) -> bytes:
    """The event's own `type`, which is its name on the wire; empty when it has none that could be one."""
    if json.startswith(FIRST):
        name = json[len(FIRST) : json.find(b'"', len(FIRST))]
    else:
        try:
            name = _decode(json).type.encode()
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return b""
    return name if NAME.fullmatch(name) else b""


def named(json: bytes) -> bytes:
    """One event under the name that it carries itself."""
    name = name_of(json)
    return (b"event: %b\ndata: %b\n\n" % (name, one_line(json))) if name else b"data: %b\n\n" % one_line(json)


class _Typed(Struct):
    type: str = ""


_decode = msgspec.json.Decoder(_Typed).decode
