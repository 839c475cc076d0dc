"""What callers and vendors send, read into structs or refused in words that are safe to show."""

import re
from typing import TypeVar

import msgspec
from msgspec import Raw

from llmproxy.common.errors import GatewayError

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding raises of bytes that are not JSON, not text, not of the shape expected, or endlessly nested."""

ABSENT = Raw(b"")  # msgspec has no optional Raw; `given` tells it, and null, from a value.

MESSAGE_CHARS_MAX = 500  # Of a vendor's error message; longer ones quote the request.
TOKENS_MAX = 1_000_000_000  # No answer has more; a vendor that says so is wrong.

_AT = re.compile(r"^(?P<what>.*?)(?: - at `\$\.?(?P<path>.*)`)?$", re.DOTALL)
_SPACES = re.compile(r"[\x00-\x20\x7f-\x9f\u2028\u2029]+")
_KEYS = re.compile(
    r"\b(?:sk|pk|rk|gsk|xai|key|AIza|hf)[-_]?[A-Za-z0-9*_-]{12,}|\borg[-_][A-Za-z0-9]{4,}|Bearer\s+\S+", re.ASCII
)

T = TypeVar("T")


def decode_request(decoder: msgspec.json.Decoder[T], body: bytes, at: str = "") -> T:
    """What a caller sent, or what of it stands `at` a field. Raises GatewayError naming what is missing or of the wrong type."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        found = _AT.match(str(error))
        what, path = (found["what"], found["path"]) if found else ("is not valid", "")
        param = f"{at}.{path or ''}".strip(".").replace("[...]", "[]").replace(".[", "[")
        if what.startswith("Object missing required field"):
            name = what.partition("`")[2].rstrip("`")
            param = f"{param}.{name}" if param else name
            raise GatewayError("missing_required_parameter", f"'{param}' is required", param=param) from None
        if what.startswith("Object contains unknown field"):
            name = printable(what.partition("`")[2].rstrip("`"), 40)
            param = f"{param}.{name}" if param else name
            raise GatewayError("unsupported_parameter", f"'{param}' is not known here", param=param) from None
        raise GatewayError("invalid_type", f"'{param or 'body'}': {printable(what)}", param=param) from None
    except RecursionError:
        raise GatewayError("too_deep", "the body is nested too deeply") from None
    except UNREADABLE:
        raise GatewayError("invalid_json", "the body is not valid JSON") from None


def decode_vendor(decoder: msgspec.json.Decoder[T], data: bytes, vendor: str) -> T:
    """Raises GatewayError when the vendor's JSON is not what its reference says.

    What is passed on unread must be UTF-8 too, which the decoder does not check.
    """
    try:
        if not data.isascii():
            data.decode()
        return decoder.decode(data)
    except UNREADABLE:
        raise GatewayError("provider_bad_answer", f"{vendor} sent an answer that cannot be read") from None


def decode_error(decoder: msgspec.json.Decoder[T], body: bytes, otherwise: T) -> T:
    """A vendor's error body; `otherwise` of one that is not what its reference says, because the status alone says enough."""
    try:
        return decoder.decode(body)
    except UNREADABLE:
        return otherwise


def unsupported(vendor: str, param: str, why: str = "") -> GatewayError:
    return refused(param, why or f"{vendor} has no equivalent; leave it out or use another model")


def refused(param: str, why: str) -> GatewayError:
    return GatewayError("unsupported_parameter", f"'{param}' is not supported with this model: {why}", param=param)


def invalid(param: str, why: str) -> GatewayError:
    return GatewayError("invalid_value", f"'{param}' {why}", param=param)


def given(raw: Raw) -> bool:
    return bytes(raw) not in (b"", b"null")


def tokens(count: int | None) -> int:
    """A vendor's count, made harmless: it becomes money."""
    if count is None or count < 0:
        return 0
    return count if count < TOKENS_MAX else TOKENS_MAX


def printable(text: str, chars_max: int = MESSAGE_CHARS_MAX) -> str:
    """Vendor text that is safe to show: one line, bounded, and without anything that looks like a credential."""
    shown = _KEYS.sub("***", _SPACES.sub(" ", text[: chars_max * 2])).strip()
    return shown if len(shown) <= chars_max else shown[: chars_max - 1] + "…"
