"""What a provider adapter is: two pure translations between the canonical form and one vendor's, and nothing else.

The canonical form is OpenAI's chat completions JSON. An adapter has no client, no clock and no log; credentials are
added by whoever sends its `HttpRequest`. Beside the canonical form an adapter may speak other APIs of the gateway itself
(`natives`): there the caller's body passes through.
"""

from collections.abc import Mapping
from typing import Literal, Protocol

from llmproxy.common.envelope import Api
from llmproxy.common.errors import GatewayError
from llmproxy.common.offers import Capability
from llmproxy.provider_workers.wire import Answer, HttpRequest, Origin, StreamTranslator, Target, Wire

__all__ = [
    "Adapter",
    "Answer",
    "Capability",
    "Credential",
    "HttpRequest",
    "Origin",
    "StreamTranslator",
    "Target",
    "Wire",
]

Credential = Literal["bearer", "api-key", "x-api-key", "x-goog-api-key", "sigv4", "none"]
"""How the key is presented. `bearer` without a configured key is sent without one (local servers)."""


class Adapter(Wire, Protocol):
    """One vendor. As a `Wire` it takes the canonical form."""

    @property
    def name(self) -> str:
        """The provider's name, its key in `ADAPTERS`."""
        ...

    @property
    def default_url(self) -> str: ...

    @property
    def credential(self) -> Credential: ...

    @property
    def capabilities(self) -> frozenset[Capability]: ...

    @property
    def natives(self) -> Mapping[Api, Wire]:
        """The APIs besides chat that the vendor speaks itself, each in that API's own form."""
        ...

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> GatewayError:
        """What a vendor's error answer means. `headers` has lower-case names."""
        ...
