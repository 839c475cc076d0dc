"""What an API of callers is, told in terms of the canonical chat: for endpoints that do not speak that API themselves.

Pure, like an adapter: `caller body -> canonical request` on the way out, `canonical answer -> caller's answer` on the way back.
"""

from collections.abc import Mapping
from typing import Protocol

from llmproxy.common.envelope import Api
from llmproxy.common.frames import Usage
from llmproxy.provider_workers.wire import Origin


class Events(Protocol):
    """One stream on its way back: canonical chunks in, the caller's events out, one JSON text without newlines each."""

    def chunk(self, chunk: bytes) -> list[bytes]:
        """The events for one canonical chat.completion.chunk."""
        ...

    def end(self, usage: Usage) -> list[bytes]:
        """The closing events of a complete answer. `usage` is the provider's count; a broken answer never gets here."""
        ...


class Asked(Protocol):
    """One request of this API, read."""

    @property
    def canonical(self) -> bytes:
        """The chat completions request that means the same."""
        ...

    @property
    def dropped(self) -> tuple[str, ...]:
        """Fields that the canonical form has no place for and that do not change what the answer says."""
        ...

    def response(self, answer: bytes, origin: Origin) -> bytes:
        """The caller's answer for a canonical chat.completion."""
        ...

    def events(self, origin: Origin) -> Events:
        """A new translator for one stream."""
        ...


class Caller(Protocol):
    """One API."""

    @property
    def api(self) -> Api: ...

    @property
    def names(self) -> Mapping[str, str]:
        """What fields of a chat are called here, where they are called something else."""
        ...

    def read(self, body: bytes, *, stream: bool) -> Asked:
        """Raises GatewayError naming the field that is wrong or cannot be expressed."""
        ...

    def place(self, body: bytes, path: str) -> str:
        """Where in a body that can be read stands what is at this path of its canonical form; see `written`."""
        ...
