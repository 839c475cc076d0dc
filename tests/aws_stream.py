"""Writes AWS's binary event stream, for tests: lines of `<event type> <JSON>` become messages with both checksums."""

from zlib import crc32


def message(kind: str, type: str, payload: bytes) -> bytes:
    name = {"event": ":event-type", "exception": ":exception-type"}.get(kind, ":error-code")
    pairs = ((":message-type", kind), (name, type), (":content-type", "application/json"))
    return framed(b"".join(header(*pair) for pair in pairs), payload)


def framed(headers: bytes, payload: bytes) -> bytes:
    lengths = (16 + len(headers) + len(payload)).to_bytes(4, "big") + len(headers).to_bytes(4, "big")
    start = lengths + crc32(lengths).to_bytes(4, "big") + headers + payload
    return start + crc32(start).to_bytes(4, "big")


def header(name: str, value: str) -> bytes:
    text = value.encode()
    return bytes([len(name)]) + name.encode() + b"\x07" + len(text).to_bytes(2, "big") + text


def line(text: bytes) -> bytes:
    """`contentBlockDelta {…}`, or `exception throttlingException {…}`."""
    first, _, payload = text.strip().partition(b" ")
    if first != b"exception":
        return message("event", first.decode(), payload)
    type, _, payload = payload.partition(b" ")
    return message("exception", type.decode(), payload)


def lines(text: bytes) -> bytes:
    return b"".join(line(one) for one in text.splitlines() if one.strip())
