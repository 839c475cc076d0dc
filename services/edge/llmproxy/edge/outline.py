"""Of a large body the members that the edge decodes, and of those that are large themselves what they are: to decode all of it would hold
the loop for a tenth of a second. What else it holds, and whether it is valid, the shield says, in a process."""

import ctypes
from collections.abc import Mapping, Sequence

from llmproxy.common import native
from llmproxy.common.errors import GatewayError

VALUE_BYTES_MAX = 4_096
"""Of a value that is decoded as it stands: no field has a longer one that it accepts, but texts and arrays."""

TEXT = b'"' + b"x" * VALUE_BYTES_MAX + b'"'


class _Value(ctypes.Structure):
    """`Value` of native/keys.c."""

    _fields_ = tuple((name, ctypes.c_size_t) for name in ("begin", "end", "inside"))


_members = native.function(
    "llmproxy_members",
    ctypes.c_int,
    ctypes.c_char_p,
    ctypes.c_size_t,
    ctypes.c_size_t,
    ctypes.c_char_p,
    ctypes.c_size_t,
    ctypes.POINTER(_Value),
    long=True,
)


def outline(body: bytes, names: Sequence[str], nested: Mapping[str, Sequence[str]]) -> bytes:
    """The object with its members of these names, and of those in `nested` theirs. Raises GatewayError when the body is no object, or broken."""
    return _object(body, 0, len(body), names, nested)


def _object(body: bytes, begin: int, end: int, names: Sequence[str], nested: Mapping[str, Sequence[str]]) -> bytes:
    values = (_Value * len(names))()
    if not _members(body, begin, end, b"".join(b"%b\0" % name.encode() for name in names), len(names), values):
        raise GatewayError("invalid_json", "the body is not a valid JSON object")
    named = [(value.begin, name, value) for name, value in zip(names, values, strict=True) if value.begin]
    named.sort()  # Of several mistakes the first one is told.
    return b"{%b}" % b",".join(
        b'"%b":%b' % (name.encode(), _said(body, name, value, nested)) for _, name, value in named
    )


def _said(body: bytes, name: str, value: _Value, nested: Mapping[str, Sequence[str]]) -> bytes:
    """The value, or of a large one a short one that is decoded in the same way."""
    if value.end - value.begin <= VALUE_BYTES_MAX:
        return body[value.begin : value.end]
    match body[value.begin : value.begin + 1]:
        case b'"':
            return TEXT
        case b"[":
            return b"[]" if body[value.inside : value.inside + 1] == b"]" else b"[0]"
        case b"{":
            return _object(body, value.begin, value.end, nested.get(name, ()), {})
        case _:
            return body[value.begin : value.begin + VALUE_BYTES_MAX]
