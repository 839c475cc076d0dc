"""Splits AWS's binary event stream into messages, however the network cut it. Both checksums are checked.

https://docs.aws.amazon.com/transcribe/latest/dg/event-stream.html: a prelude (length of the message, length of its
headers, CRC of those two), headers, payload, CRC of everything before it.
"""

from zlib import crc32

from msgspec import Struct

from llmproxy.common.errors import GatewayError
from llmproxy.provider_workers.sse import EVENT_BYTES_MAX

PRELUDE_BYTES = 12
CHECKSUM_BYTES = 4
OVERHEAD_BYTES = PRELUDE_BYTES + CHECKSUM_BYTES
HEADERS_BYTES_MAX = 128 << 10  # The format's own limit.
STRING = 7
# Value type -> how many bytes it has; those not here say their own length, except the two truth values, which have none.
FIXED_BYTES = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
SIZED = (6, STRING)


class Message(Struct, frozen=True):
    kind: str  # event, exception or error.
    type: str  # Which of its kind.
    payload: bytes
    says: str = ""  # An error's message, which is in a header.


class AwsEvents:
    """Incremental parser: bytes in, whole messages out, in time linear in the bytes fed."""

    __slots__ = ("_held", "_wanted")

    def __init__(self) -> None:
        self._held = bytearray()
        self._wanted = PRELUDE_BYTES  # Until so much is there, nothing can be read.

    def feed(self, data: bytes) -> list[Message]:
        """Raises GatewayError when a message is too large or is not what its checksums say."""
        held = self._held
        if not held and len(data) >= OVERHEAD_BYTES and int.from_bytes(data[:4]) == len(data):
            return [_message(data, _headers_bytes(data))]  # Nearly every read of an unhurried stream is one message.
        held += data
        messages: list[Message] = []
        at = 0
        view = memoryview(held)
        try:
            while len(held) - at >= self._wanted:
                prelude = bytes(view[at : at + PRELUDE_BYTES])
                headers_bytes = _headers_bytes(prelude)
                size = int.from_bytes(prelude[:4])
                if len(held) - at < size:
                    self._wanted = size
                    break
                messages.append(_message(bytes(view[at : at + size]), headers_bytes))
                at += size
                self._wanted = PRELUDE_BYTES
        finally:
            view.release()
        del held[:at]
        return messages

    def finish(self) -> list[Message]:
        """What is left is no message. Raises GatewayError when there is something."""
        if self._held:
            raise unreadable()
        return []


def _headers_bytes(data: bytes) -> int:
    """The length of the headers of the message that begins here; its prelude is sound."""
    size, headers_bytes = int.from_bytes(data[:4]), int.from_bytes(data[4:8])
    if crc32(data[:8]) != int.from_bytes(data[8:12]):
        raise unreadable()
    if size > EVENT_BYTES_MAX or headers_bytes > HEADERS_BYTES_MAX:
        raise GatewayError("provider_bad_answer", f"the provider sent an event of more than {EVENT_BYTES_MAX} bytes")
    if size < headers_bytes + OVERHEAD_BYTES:
        raise unreadable()
    return headers_bytes


def _message(data: bytes, headers_bytes: int) -> Message:
    if crc32(memoryview(data)[:-CHECKSUM_BYTES]) != int.from_bytes(data[-CHECKSUM_BYTES:]):
        raise unreadable()
    headers = _headers(data[PRELUDE_BYTES : PRELUDE_BYTES + headers_bytes])
    kind = headers.get(":message-type", "event")
    named = {"event": ":event-type", "exception": ":exception-type"}.get(kind, ":error-code")
    payload = data[PRELUDE_BYTES + headers_bytes : -CHECKSUM_BYTES]
    return Message(kind, headers.get(named, ""), payload, headers.get(":error-message", ""))


def _headers(data: bytes) -> dict[str, str]:
    """Those with text values; the others are skipped."""
    found: dict[str, str] = {}
    at, end = 0, len(data)
    try:
        while at < end:
            name_end = at + 1 + data[at]
            name, kind = data[at + 1 : name_end].decode(), data[name_end]
            at = name_end + 1
            if kind in SIZED:
                size = int.from_bytes(data[at : at + 2])
                at += 2
                if kind == STRING:
                    found[name] = data[at : at + size].decode()
                at += size
            else:
                at += FIXED_BYTES[kind]
    except (IndexError, KeyError, UnicodeDecodeError):
        raise unreadable() from None
    if at != end:
        raise unreadable()
    return found


def unreadable() -> GatewayError:
    return GatewayError("provider_bad_answer", "the provider sent an event that its checksums do not confirm")
