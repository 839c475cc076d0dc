"""Splits a provider's byte stream into server-sent events or JSON lines, however the network cut it.

https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation, with one leniency: an event
that the end of the stream cut off before its blank line is delivered, because some servers forget it.
"""

from llmproxy.common.errors import GatewayError

EVENT_BYTES_MAX = 8 << 20  # One event or line: an image inside an event fits, a server that never ends one does not.

BOM = b"\xef\xbb\xbf"

Event = tuple[bytes, bytes]
"""Event name (empty when unnamed) and data."""


class Lines:
    """Lines ended by LF, CRLF or CR, in time linear in the bytes fed."""

    __slots__ = ("_after_cr", "_at_start", "_held", "held_bytes")

    def __init__(self) -> None:
        self._held: list[bytes] = []  # Pieces of the line that has not ended yet.
        self.held_bytes = 0
        self._after_cr = False  # A LF that comes next belongs to the CR that has been counted.
        self._at_start = True

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that `data` completes, without their ends. Raises GatewayError when one is too long."""
        if self._after_cr and data:
            self._after_cr = False
            if data[:1] == b"\n":
                data = data[1:]
        if b"\r" in data:
            self._after_cr = data.endswith(b"\r")
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        lines = data.split(b"\n")
        rest = lines.pop()
        if lines:
            if self._held:
                self._held.append(lines[0])
                lines[0] = b"".join(self._held)
                self._held.clear()
                self.held_bytes = 0
            if self._at_start:
                self._at_start = False
                lines[0] = lines[0].removeprefix(BOM)
            if len(data) + len(lines[0]) > EVENT_BYTES_MAX and any(len(line) > EVENT_BYTES_MAX for line in lines):
                raise too_large()
        if rest:
            self._held.append(rest)
            self.held_bytes += len(rest)
            if self.held_bytes > EVENT_BYTES_MAX:
                raise too_large()
        return lines

    @property
    def is_inside(self) -> bool:
        """What comes next belongs to what has come: a line has begun, or a line end is perhaps not whole."""
        return bool(self._held) or self._after_cr

    def skip_start(self) -> None:
        """The first line has been read elsewhere."""
        self._at_start = False

    def rest(self) -> bytes:
        """The last line, when the stream ended without ending it."""
        rest = b"".join(self._held)
        self._held.clear()
        self.held_bytes = 0
        return rest.removeprefix(BOM) if self._at_start else rest


class EventStream:
    """Incremental SSE parser: bytes in, complete events out."""

    __slots__ = ("_data", "_data_bytes", "_is_between_events", "_lines", "_name")

    def __init__(self) -> None:
        self._lines = Lines()
        self._name = b""
        self._data: list[bytes] = []
        self._data_bytes = 0
        self._is_between_events = True

    def feed(self, data: bytes) -> list[Event]:
        """Raises GatewayError when an event exceeds EVENT_BYTES_MAX."""
        # Nearly every read of a well-behaved stream is one or a few whole `data: {...}` events.
        if self._is_between_events and data[:6] == b"data: " and data[-2:] == b"\n\n" and b"\r" not in data:
            body = data[6:-2]
            blocks = body.split(b"\n\ndata: ") if b"\n" in body else [body]
            if body.count(b"\n") == 2 * len(blocks) - 2 and len(body) <= EVENT_BYTES_MAX:
                self._lines.skip_start()
                return [(b"", block) for block in blocks]
        events: list[Event] = []
        for line in self._lines.feed(data):
            self._take(line, events)
        if self._data_bytes + self._lines.held_bytes > EVENT_BYTES_MAX:
            raise too_large()
        self._is_between_events = not (self._data or self._name or self._lines.is_inside)
        return events

    def finish(self) -> list[Event]:
        """What the end of the stream leaves: at most one event whose blank line is missing."""
        events: list[Event] = []
        rest = self._lines.rest()
        if rest:
            self._take(rest, events)
        self._take(b"", events)
        return events

    def _take(self, line: bytes, events: list[Event]) -> None:
        if not line:
            if self._data:
                events.append((self._name, self._data[0] if len(self._data) == 1 else b"\n".join(self._data)))
                self._data = []
                self._data_bytes = 0
            self._name = b""
            return
        field, _, value = line.partition(b":")  # A comment has an empty field name; other fields are of no use here.
        if field == b"data":
            self._data.append(value[1:] if value[:1] == b" " else value)
            self._data_bytes += len(line)
            if self._data_bytes > EVENT_BYTES_MAX:
                raise too_large()
        elif field == b"event":
            self._name = value[1:] if value[:1] == b" " else value


class JsonLines:
    """Incremental NDJSON parser: one JSON text per line; blank lines are skipped."""

    __slots__ = ("_lines",)

    def __init__(self) -> None:
        self._lines = Lines()

    def feed(self, data: bytes) -> list[bytes]:
        """Raises GatewayError when a line exceeds EVENT_BYTES_MAX."""
        return [line for line in self._lines.feed(data) if line.strip()]

    def finish(self) -> list[bytes]:
        rest = self._lines.rest()
        return [rest] if rest.strip() else []


def too_large() -> GatewayError:
    return GatewayError("provider_bad_answer", f"the provider sent an event of more than {EVENT_BYTES_MAX} bytes")
