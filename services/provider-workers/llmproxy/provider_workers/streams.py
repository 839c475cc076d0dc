"""One vendor's stream, cut out of the network and read to its end: what every vendor's has in common, whatever it says."""

from typing import Generic, Protocol, TypeVar

from llmproxy.common.errors import GatewayError
from llmproxy.common.frames import Finish, Usage

E = TypeVar("E")
E_contra = TypeVar("E_contra", contravariant=True)


class Parser(Protocol[E]):
    """Bytes in, at any split, whole events out (`sse.py`). Raises GatewayError for one that is too large."""

    def feed(self, data: bytes) -> list[E]: ...

    def finish(self) -> list[E]: ...


class Reading(Protocol[E_contra]):
    """What is each vendor's own: an event's meaning. It is given no event once it is `complete`."""

    @property
    def usage(self) -> Usage: ...

    @property
    def finish_reason(self) -> Finish: ...

    @property
    def complete(self) -> bool: ...

    @property
    def text_chars(self) -> int: ...

    def take(self, event: E_contra, out: list[bytes]) -> None:
        """Adds what the caller is to read. Raises GatewayError: an error inside the stream, or `provider_bad_answer`."""
        ...

    def end(self, out: list[bytes]) -> None:
        """The network stream has ended without a terminal event. Whoever has all the same said everything becomes `complete`."""
        ...


class VendorStream(Generic[E]):
    """A `StreamTranslator` made of the two. A stream that ends before it is complete is broken, never half an answer."""

    __slots__ = ("_parser", "_reading", "_vendor", "failure")

    def __init__(self, vendor: str, parser: Parser[E], reading: Reading[E]) -> None:
        self._vendor, self._parser, self._reading = vendor, parser, reading
        self.failure: GatewayError | None = None

    @property
    def usage(self) -> Usage:
        return self._reading.usage

    @property
    def finish_reason(self) -> Finish:
        return self._reading.finish_reason

    @property
    def complete(self) -> bool:
        return self._reading.complete

    @property
    def text_chars(self) -> int:
        return self._reading.text_chars

    def feed(self, data: bytes) -> list[bytes]:
        out: list[bytes] = []
        if self.failure is None and not self._reading.complete:
            try:
                self._take(self._parser.feed(data), out)
            except GatewayError as error:
                self.failure = error
        return out

    def finish(self) -> list[bytes]:
        out: list[bytes] = []
        reading = self._reading
        if self.failure is not None or reading.complete:
            return out
        try:
            self._take(self._parser.finish(), out)
            if not reading.complete:
                reading.end(out)
        except GatewayError as error:
            # What cannot be read now is half an event; what can be is the vendor's own word.
            self.failure = broken(self._vendor) if error.code == "provider_bad_answer" else error
            return out
        if not reading.complete:
            self.failure = broken(self._vendor)
        return out

    def _take(self, events: list[E], out: list[bytes]) -> None:
        reading = self._reading
        for event in events:
            reading.take(event, out)
            if reading.complete:
                return


def broken(vendor: str) -> GatewayError:
    return GatewayError("provider_stream_broken", f"{vendor} ended the stream before the answer was complete")
