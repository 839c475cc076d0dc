"""The step that asks the threat ledger about the end user whom a body names, where the application is trusted to name them."""

import hashlib
from collections.abc import Awaitable
from typing import Any, Literal

import msgspec
from msgspec import Struct

from llmproxy.common.bus import UNREADABLE
from llmproxy.common.plugins.host import MODIFIED, PASS, Result
from llmproxy.edge.ingress import Ingress, Settled
from llmproxy.edge.quotas import Suspects
from llmproxy.edge.threats import Caller, Ledger, sender

NAME_CHARS_MAX = 512  # A longer name is nobody's.
DIGITS = 32


class _Named(Struct, frozen=True):
    """Where the APIs have the end user. Any type: what a field must be is its provider's to say."""

    safety_identifier: Any = None
    user: Any = None
    metadata: Any = None


_NAMED = msgspec.json.Decoder(_Named)


def end_user(body: bytes) -> str:
    """Who it is, as a hash, for the name may be an address of somebody; "" when the body names nobody."""
    try:
        named = _NAMED.decode(body)
    except UNREADABLE:
        return ""  # What is wrong with the body is said elsewhere.
    metadata = named.metadata
    user_id = metadata.get("user_id") if isinstance(metadata, dict) else None
    for name in (named.safety_identifier, named.user, user_id):
        if isinstance(name, str) and 0 < len(name) <= NAME_CHARS_MAX:
            return hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:DIGITS]
    return ""


class EndUsers:
    """After the body was validated; where end users are ignored, the key was asked about before it was read."""

    name, priority, timeout_ms = "end-users", 55, 0  # The call to Redis has its own bound.
    fail: Literal["closed", "open"] = "closed"

    def __init__(self, settled: Settled, ledger: Ledger) -> None:
        self._settled, self._ledger = settled, ledger

    def run(self, context: Ingress) -> Result | Awaitable[Result]:
        if self._settled.config.threats.end_users == "ignored" or context.record is None:
            return PASS
        context.end_user = end_user(context.body) if context.body else ""
        candidates = sender(context.record, context.end_user)
        suspects = self._ledger.suspects(candidates)
        return MODIFIED if suspects is None else self._judge(context, candidates, suspects)

    async def _judge(self, context: Ingress, candidates: tuple[Caller, ...], suspects: Suspects) -> Result:
        return self._ledger.seen(await self._ledger.ask(context.id, suspects), candidates) or MODIFIED
