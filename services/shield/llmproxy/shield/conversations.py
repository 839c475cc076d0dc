"""Turns of a conversation that the provider keeps, of which a request says only the last: what is remembered of those before.

For each conversation that had a suspicious turn: how suspicious each turn was. No text, no id, no name (docs/adr/0027).
"""

import asyncio
import hmac
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import msgspec
from msgspec import structs

from llmproxy.common import segments
from llmproxy.common.bus import Bucket
from llmproxy.common.errors import GatewayError
from llmproxy.common.explanations import PER_MILLE, Explanation, explained, joined, per_mille
from llmproxy.common.policy import TRAJECTORY, Policy
from llmproxy.shield import metrics
from llmproxy.shield.continuation import Continuation
from llmproxy.shield.convict import unchecked
from llmproxy.shield.examine import Examined, Refused
from llmproxy.shield.trajectory import SUSPICIOUS, TURNS_MAX, remembered, together

TIMEOUT_S = 0.25  # Of one question; it is answered in under a millisecond.
NAME_DIGITS = 32

_TURNS = msgspec.json.Decoder(tuple[int, ...])

log = logging.getLogger(__name__)


def name_of(key: bytes, conversation: str) -> str:
    """Under which a tenant's conversation is remembered. Nobody without the tenant's key finds it, or another one's."""
    message = b"conversation\0" + conversation.encode("utf-8", "surrogatepass")
    return hmac.digest(key, message, "sha256").hex()[:NAME_DIGITS]


class Conversations:
    """What all shields remember together. `open_bucket` is asked until there is one."""

    def __init__(self, open_bucket: Callable[[], Awaitable[Bucket]]) -> None:
        self._open_bucket = open_bucket
        self._bucket: Bucket | None = None

    async def recall(self, name: str) -> tuple[float, ...] | None:
        """How suspicious the turns so far were, from the first that counts on; None when that cannot be told."""
        try:
            async with asyncio.timeout(TIMEOUT_S):
                found = await (await self._opened()).get(name)
            turns = _TURNS.decode(found[0])[-TURNS_MAX:] if found is not None else ()
            return tuple(turn / PER_MILLE for turn in turns)
        except (GatewayError, TimeoutError, msgspec.DecodeError) as error:
            metrics.CONVERSATIONS.labels("not recalled").inc()
            log.warning("a conversation cannot be recalled: %s", type(error).__name__)
            return None

    async def remember(self, names: Iterable[str], turns: Iterable[float]) -> None:
        """Raises nothing: the answer is on its way, and what is lost is what a single turn does not tell."""
        said = msgspec.json.encode([per_mille(turn) for turn in turns])
        try:
            async with asyncio.timeout(TIMEOUT_S):
                bucket = await self._opened()
                for name in names:
                    await bucket.put(name, said)
            metrics.CONVERSATIONS.labels("remembered").inc()
        except (GatewayError, TimeoutError) as error:
            metrics.CONVERSATIONS.labels("not remembered").inc()
            log.warning("a conversation cannot be remembered: %s", type(error).__name__)

    async def _opened(self) -> Bucket:
        if self._bucket is None:
            self._bucket = await self._open_bucket()
        return self._bucket


async def continued(examined: Examined, policy: Policy, key: bytes, conversations: Conversations) -> Examined | Refused:
    """What was examined, as the turn of its conversation that it is; what is then to be remembered stands in it."""
    own, wanted = examined.continuation, policy.injection
    assert own is not None
    threshold = wanted.threshold("user")
    earlier = await conversations.recall(name_of(key, own.after)) if own.after else ()
    if earlier is None and _may_be_refused(own, policy):
        return unchecked(examined, TRAJECTORY, own.path, called=f"{TRAJECTORY} guard")
    turns = (*(earlier or ()), *own.turns)
    found = together(turns, threshold) if own.turns and earlier else None
    # What cannot be recalled is not written over.
    conversation = own.conversation if earlier is not None else ""
    kept = structs.replace(own, turns=remembered(turns, threshold), conversation=conversation)
    if found is None or found.probability < wanted.trajectory:
        return structs.replace(examined, continuation=kept)
    kind = f"{TRAJECTORY}.shadow" if wanted.mode == "shadow" else TRAJECTORY
    action = policy.action(kind)
    why = Explanation(
        guard=TRAJECTORY,
        kind=kind,
        action=action,
        path=segments.shown(own.path),
        per_mille=per_mille(found.probability),
    )
    said: dict[str, Any] = {
        "findings": {**examined.findings, kind: len(found.turns)},
        "explained": joined(examined.explained, explained([why])),
    }
    if action != "block":
        return structs.replace(examined, continuation=kept, **said)
    return Refused(
        code="content_blocked",
        message=f"{own.path} goes on with what earlier turns began, and the policy blocks that: {kind}; begin anew",
        param=own.path,
        **said,
    )


def _may_be_refused(own: Continuation, policy: Policy) -> bool:
    """Whether there are earlier turns for which this request would be refused: only one that is suspicious itself can be."""
    last = own.turns[-1] if own.turns else 0.0
    return last >= SUSPICIOUS * policy.injection.threshold("user") and policy.action(TRAJECTORY) == "block"
