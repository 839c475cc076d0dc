"""Turns of a conversation that the provider keeps, of which a request says only the last: what is remembered of those before.

For each conversation that had a suspicious turn: how suspicious each turn was. No text, no id, no name (docs/adr/0027).
"""

import asyncio
import contextlib
import hmac
import logging
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import msgspec
from msgspec import Struct, structs

from llmproxy.common import segments
from llmproxy.common.bus import Bucket
from llmproxy.common.errors import GatewayError
from llmproxy.common.explanations import PER_MILLE, Explanation, explained, joined, per_mille
from llmproxy.common.policy import TRAJECTORY, Policy
from llmproxy.shield import metrics
from llmproxy.shield.continuation import Continuation
from llmproxy.shield.convict import unchecked
from llmproxy.shield.examine import Examined, Refused
from llmproxy.shield.trajectory import SUSPICIOUS, TURNS_MAX, Trajectory, remembered, together

TIMEOUT_S = 0.25  # Of one question; it is answered in under a millisecond.
NAME_DIGITS = 32

Turns = tuple[float, ...]
Change = Callable[[Turns], Turns | None]  # None: it stays as it is.

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

    async def recall(self, name: str) -> Turns | None:
        """How suspicious the turns so far were, from the first that counts on; None when that cannot be told."""
        return await self._told(name, lambda turns: None)

    async def add(self, name: str, after: Change) -> Turns | None:
        """The turns before, as `recall`; `after` makes of them what is remembered from now on. It is called again when somebody
        else was faster: of turns that come at the same moment, each one finds those that were let pass before it."""
        return await self._told(name, after)

    async def remember(self, name: str, turns: Turns) -> None:
        """Raises nothing: the answer is on its way, and what is lost is what a single turn does not tell."""
        with _lost():
            async with asyncio.timeout(TIMEOUT_S):
                await (await self._opened()).put(name, _encoded(turns))
            metrics.CONVERSATIONS.labels("remembered").inc()

    async def take_back(self, name: str, turns: Turns) -> None:
        """Of turns that were added and that the provider has not taken. Raises nothing: what is not taken back counts."""
        with _lost():
            await self._changed(name, lambda known: without(known, turns))

    async def _told(self, name: str, after: Change) -> Turns | None:
        try:
            return await self._changed(name, after)
        except (GatewayError, TimeoutError, msgspec.DecodeError) as error:
            metrics.CONVERSATIONS.labels("not recalled").inc()
            log.warning("a conversation cannot be recalled: %s", type(error).__name__)
            return None

    async def _changed(self, name: str, after: Change) -> Turns:
        """What was there, once what comes after it is: nobody has changed it in between."""
        async with asyncio.timeout(TIMEOUT_S):
            bucket = await self._opened()
            while True:
                said, revision = await bucket.get(name) or (b"[]", 0)
                turns = tuple(turn / PER_MILLE for turn in _TURNS.decode(said)[-TURNS_MAX:])
                changed = after(turns)
                if changed is None:
                    return turns
                try:
                    await bucket.update(name, _encoded(changed), revision)
                except GatewayError as error:
                    if error.code != "conflict":
                        raise
                else:
                    return turns

    async def _opened(self) -> Bucket:
        if self._bucket is None:
            self._bucket = await self._open_bucket()
        return self._bucket


def without(known: Turns, turns: Turns) -> Turns:
    """What is known, of which these turns are the last ones, or stand before others that came at the same moment."""
    left = list(reversed([per_mille(turn) for turn in known]))
    for turn in map(per_mille, turns):
        if turn in left:
            left.remove(turn)
    return tuple(turn / PER_MILLE for turn in reversed(left))


def _encoded(turns: Turns) -> bytes:
    return msgspec.json.encode([per_mille(turn) for turn in turns])


@contextlib.contextmanager
def _lost() -> Iterator[None]:
    try:
        yield
    except (GatewayError, TimeoutError, msgspec.DecodeError) as error:
        metrics.CONVERSATIONS.labels("not remembered").inc()
        log.warning("a conversation cannot be remembered: %s", type(error).__name__)


async def continued(examined: Examined, policy: Policy, key: bytes, conversations: Conversations) -> Examined | Refused:
    """What was examined, as the turn of its conversation that it is; what is then to be remembered stands in it."""
    own = examined.continuation
    assert own is not None
    law = _Law(own.turns, policy)
    earlier: Turns | None = ()
    if own.previous:
        earlier = await conversations.recall(name_of(key, own.previous))
    if own.conversation and earlier is not None:  # Who names both has both before it, whichever the vendor takes.
        before = earlier
        found = await conversations.add(name_of(key, own.conversation), lambda turns: law.after(before, turns))
        earlier = (*before, *found) if found is not None else None
    if earlier is None and _may_be_refused(own, policy):
        return unchecked(examined, TRAJECTORY, own.path, called=f"{TRAJECTORY} guard")
    # Where it cannot be told there is nothing to take back either.
    added = own.turns if own.conversation and earlier is not None else ()
    kept = structs.replace(own, turns=law.kept(earlier or ()), added=added)
    trajectory = law.trajectory(earlier or ())
    if trajectory is None:
        return structs.replace(examined, continuation=kept)
    return _as_found(structs.replace(examined, continuation=kept), policy, own.path, law, trajectory)


class _Law(Struct, frozen=True):
    """What these turns of a request are behind others, under a policy."""

    turns: Turns
    policy: Policy

    @property
    def kind(self) -> str:
        return f"{TRAJECTORY}.shadow" if self.policy.injection.mode == "shadow" else TRAJECTORY

    def trajectory(self, earlier: Turns) -> Trajectory | None:
        wanted = self.policy.injection
        if not (earlier and self.turns):
            return None
        found = together((*earlier, *self.turns), wanted.threshold("user"))
        return found if found is not None and found.probability >= wanted.trajectory else None

    def kept(self, earlier: Turns) -> Turns:
        return remembered((*earlier, *self.turns), self.policy.injection.threshold("user"))

    def after(self, before: Turns, earlier: Turns) -> Turns | None:
        """A turn that is refused is none, because the vendor has not got it either."""
        if self.policy.action(self.kind) == "block" and self.trajectory((*before, *earlier)):
            return None
        return (self.kept(earlier) or None) if self.turns else None


def _as_found(examined: Examined, policy: Policy, path: str, law: _Law, found: Trajectory) -> Examined | Refused:
    action = policy.action(law.kind)
    why = Explanation(
        guard=TRAJECTORY,
        kind=law.kind,
        action=action,
        path=segments.shown(path),
        per_mille=per_mille(found.probability),
    )
    said: dict[str, Any] = {
        "findings": {**examined.findings, law.kind: len(found.turns)},
        "explained": joined(examined.explained, explained([why])),
    }
    if action != "block":
        return structs.replace(examined, **said)
    return Refused(
        code="content_blocked",
        message=f"{path} goes on with what earlier turns began, and the policy blocks that: {law.kind}; begin anew",
        param=path,
        **said,
    )


def _may_be_refused(own: Continuation, policy: Policy) -> bool:
    """Whether there are earlier turns for which this request would be refused: only one that is suspicious itself can be."""
    last = own.turns[-1] if own.turns else 0.0
    return last >= SUSPICIOUS * policy.injection.threshold("user") and policy.action(TRAJECTORY) == "block"
