"""What the edge promises before a request is published."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from guarantees.asking import HELLO, MODEL_OF, Place, path, wire, with_end_user
from guarantees.standing import BODY_BYTES_MAX, Standing
from guarantees.trial import ATTACK, Trial
from msgspec import structs

from llmproxy.common.config import Limit
from llmproxy.common.threats import Kind, Threats
from llmproxy.edge.quotas import UNLIMITED, Quota, Suspects
from llmproxy.edge.threats import Caller


async def authentication(it: Trial, place: Place) -> None:
    sent = wire(it.route, place, HELLO, stream=it.stream)
    for key in (None, "sk-wrong"):
        forget_guesses(it.gateway)
        it.refused(await it.send(sent, key), 401, "invalid_api_key")


def forget_guesses(gateway: Standing) -> None:
    gateway.ingress.steps[0]._guesses._arrivals.clear()


async def route(it: Trial, place: Place) -> None:
    sent = wire(it.route, place, HELLO, stream=it.stream)
    exact = it.route.name.replace("{model}", MODEL_OF[it.route.api])
    said = await it.send(sent, it.gateway.key("default"), to=f"{exact}/x")
    assert said.status in (404, 405)  # Below Google's models there is a page for each model, which is read.
    it.refused(said, said.status, it.code())


async def limits(it: Trial, place: Place) -> None:
    key = it.gateway.key("default", limit=Limit(requests_per_minute=1, burst=1))
    it.answered(await it.ask(place, HELLO, key=key))
    it.refused(await it.ask(place, HELLO, key=key), 429, "rate_limit_exceeded", received=1)


async def threat_ledger(it: Trial, place: Place) -> None:
    gateway = it.gateway
    locked, neighbour = gateway.key("locked"), gateway.key("neighbour")
    with standing_out(gateway, "key", gateway.id_of(locked)):
        it.refused(await it.ask(place, HELLO, key=locked), 403, "caller_locked")
        it.answered(await it.ask(place, HELLO, key=neighbour))


async def end_users(it: Trial, place: Place) -> None:
    gateway, key = it.gateway, it.gateway.key("shared")
    sent = wire(it.route, place, HELLO, stream=it.stream)
    with (
        configured(gateway, threats=Threats(end_users="trusted")),
        standing_out(gateway, "user", f"{gateway.id_of(key)}.{hashlib.sha256(b'mallory').hexdigest()[:32]}"),
    ):
        it.refused(await it.send(with_end_user(it.route.api, sent, "mallory"), key), 403, "caller_locked")
        it.answered(await it.send(with_end_user(it.route.api, sent, "alice"), key))


@contextmanager
def standing_out(gateway: Standing, kind: Kind, name: str) -> Iterator[None]:
    """The ledger knows the caller, and its Redis says: locked."""
    caller = Caller(kind, name)

    async def acquire(
        lease: str, wanted: Sequence[Any], when_redis_fails: str, suspects: Suspects | None = None
    ) -> Quota:
        is_locked = suspects is not None and suspects.keys[0] == caller.standing_key
        return Quota(allowed=False, kind="locked", suspect=1, suspect_locked=True) if is_locked else UNLIMITED

    ledger = gateway.edge.ledger
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ledger, "known", {caller})
        patched.setattr(gateway.edge.limiter, "acquire", acquire)
        patched.setattr(ledger, "_settings", lambda: Threats(mode="lock"))
        yield


@contextmanager
def configured(gateway: Standing, **areas: Any) -> Iterator[None]:
    """The edge, under a configuration that differs in this."""
    settled = gateway.edge.settled
    before = settled.snapshot
    settled.swap(structs.replace(before, config=structs.replace(before.config, **areas)))
    try:
        yield
    finally:
        settled.swap(before)


async def body(it: Trial, place: Place) -> None:
    it.refused(await it.ask(place, "x" * BODY_BYTES_MAX), 413, "request_too_large")


async def firewall(it: Trial, place: Place) -> None:
    it.refused(await it.ask(place, ATTACK), 400, "content_blocked")
    assert any(kind.startswith("firewall.") for kind in it.gateway.records[-1].findings)


async def validation(it: Trial, place: Place) -> None:
    sent = wire(it.route, place, HELLO, stream=it.stream)
    known = MODEL_OF[it.route.api]
    if sent.json is None:
        sent = structs.replace(sent, fields={**sent.fields, "model": "no-such-model"})
    else:
        sent = structs.replace(
            sent, json=sent.json.replace(f'"model": "{known}"'.encode(), b'"model": "no-such-model"')
        )
    said = await it.send(sent, it.gateway.key("default"), to=path(it.route, "no-such-model"))
    it.refused(said, 404, "model_not_found")
