"""How a stream looks on the wire: one framing per API that streams."""

from collections.abc import Callable, Sequence
from typing import Protocol

from llmproxy.common.frames import Data, Failure

JSON = "application/json"
SSE = "text/event-stream; charset=utf-8"


class Framing(Protocol):
    """One API's stream as bytes. Keeps nothing: `sent` is how many events have left."""

    @property
    def content_type(self) -> str: ...

    @property
    def ping(self) -> bytes:
        """What keeps a silent stream open."""
        ...

    @property
    def completes(self) -> Callable[[bytes], bool] | None:
        """Tells the event that says that the answer is whole; None where `done` alone says so."""
        ...

    @property
    def is_final(self) -> bool:
        """Whether nothing follows such an event."""
        ...

    def events(self, data: Sequence[Data], sent: int) -> bytes: ...

    def done(self, sent: int) -> bytes:
        """What ends a complete stream; nothing else may."""
        ...

    def error_event(self, failure: Failure, request_id: str, sent: int) -> bytes:
        """The last event of a stream that broke."""
        ...
