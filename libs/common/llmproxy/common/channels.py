"""Every subject in the system, bound to the type that travels on it; the only place where text enters a subject."""

import hashlib
import re
from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any, Generic, TypeVar

import msgspec

from llmproxy.common.envelope import Envelope
from llmproxy.common.frames import Control, Holding, Packet
from llmproxy.common.ledger_questions import LedgerAnswer, LedgerQuery, LedgerVerify
from llmproxy.common.outcomes import Outcomes
from llmproxy.common.records import Announcement, AuditBatch, Event
from llmproxy.common.threats import ThreatsAnswer, ThreatsQuestion

T = TypeVar("T")

ROOT = "llmproxy.v1"
TOKEN_BYTES_MAX = 128  # Longer texts are named by their hash: NATS ends a connection whose control line passes 4 KiB.
SUBJECTS_KEPT_MAX = 4_096  # Most subjects are few and used by every request.
PLAIN_TOKEN = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}", re.ASCII)
ADDRESS = re.compile(r"[a-z][a-z-]{0,31}\.[a-z0-9][a-z0-9-]{0,63}", re.ASCII)
PLACEHOLDER = re.compile(r"\{(\w+)\}")


def token(text: str) -> str:
    """One subject token for any text: itself when it is plain, else `=` and base64url, so that it cannot be structure.

    A long text becomes `==` and its SHA-256. Different texts have different tokens.
    """
    if PLAIN_TOKEN.fullmatch(text):
        return text
    written = text.encode(errors="surrogatepass")  # A header's stray bytes must not end in an exception here.
    if len(written) > TOKEN_BYTES_MAX:
        return "==" + hashlib.sha256(written).hexdigest()
    return "=" + urlsafe_b64encode(written).decode().rstrip("=")


def address(service: str, instance: str) -> str:
    """Where an instance is reached: two tokens, so that permissions can name the service."""
    joined = f"{service}.{instance}"
    if not ADDRESS.fullmatch(joined):
        raise ValueError(f"{joined!r} is not an address; an instance is lower-case letters, digits and -")
    return joined


def _place(name: str, text: str) -> str:
    if name != "address" and name != "publisher":
        return token(text)
    if not ADDRESS.fullmatch(text):
        raise ValueError(f"place {name!r} was not given an address; channels.address makes one")
    return text


@lru_cache(maxsize=SUBJECTS_KEPT_MAX)
def _subject(pattern: str, /, **tokens: str) -> str:
    return f"{ROOT}.{PLACEHOLDER.sub(lambda place: _place(place[1], tokens[place[1]]), pattern)}"


def _subject_at(pattern: str, text: str) -> str:
    names = PLACEHOLDER.findall(pattern)
    assert len(names) == 1, f"{pattern} has not one place"
    return _subject(pattern, **{names[0]: text})


@dataclass(frozen=True)
class Channel(Generic[T]):
    """A subject pattern with named places, the type on it, and who reads it."""

    pattern: str
    type: type[T]
    purpose: str
    queue: str = ""  # Instances of one service share these messages.
    stream: str = ""  # The JetStream stream that keeps them.
    only: str = field(init=False, repr=False, compare=False)
    """The subject of a channel without places; "" of one that has some."""
    at: Callable[[str], str] = field(init=False, repr=False, compare=False)
    """The subject to publish on of a channel with one place: every request asks, and named arguments cost five times as much."""
    decode: Callable[[bytes], T] = field(init=False, repr=False, compare=False)
    """A payload as what travels here. Raises msgspec.DecodeError. The decoder's own method: every message of every hop goes through it."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "only", "" if "{" in self.pattern else f"{ROOT}.{self.pattern}")
        object.__setattr__(self, "at", lru_cache(SUBJECTS_KEPT_MAX)(partial(_subject_at, self.pattern)))
        object.__setattr__(self, "decode", msgspec.json.Decoder(self.type).decode)

    def subject(self, **tokens: str) -> str:
        """The subject to publish on. Every place must be given; what is not a plain token is encoded."""
        return self.only or _subject(self.pattern, **tokens)

    def filter(self, **tokens: str) -> str:
        """The subject to subscribe to: places not given match anything."""

        def place(match: re.Match[str]) -> str:
            name = match[1]
            if name in tokens:
                return _place(name, tokens[name])
            return "*.*" if name in ("address", "publisher") else "*"

        return f"{ROOT}.{PLACEHOLDER.sub(place, self.pattern)}"


REQUEST_INSPECT = Channel("request.inspect", Envelope, "edge → shield: a request to inspect", queue="shield")
REQUEST_ROUTE = Channel("request.route", Envelope, "shield → router: an inspected request to route", queue="router")
REQUEST_CALL = Channel(
    "request.call.{provider}", Envelope, "router or worker → worker: call this provider", queue="provider-workers"
)
REPLY = Channel("reply.{address}", Packet, "any stage → edge or shield: frames of an answer")
HOLDING = Channel("holding.{address}", Holding, "any stage → edge: the requests it holds (alive)")
BOUNCE = Channel(
    "bounce.{publisher}.{address}.{stage}.{id}.{attempt}",
    Envelope,
    "nats-server → whoever forwarded: nobody serves the next stage",
)
CONTROL: Channel[Control] = Channel("control.{address}", Control, "edge → the stage that holds a request: cancel")
OUTCOME = Channel("outcome.{provider}", Outcomes, "worker → routers: how attempts ended", stream="OUTCOME")
AUDIT = Channel("audit.{tenant}", AuditBatch, "edge, admin → audit: what goes into the ledger", stream="AUDIT")
LEDGER_QUERY = Channel("ledger.query", LedgerQuery, "admin → audit: a page of the ledger", queue="audit")
LEDGER_VERIFY = Channel("ledger.verify", LedgerVerify, "admin → audit: is all of the ledger sound", queue="audit")
LEDGER_ANSWER: Channel[LedgerAnswer] = Channel(
    "ledger.answer.{address}.{id}",
    LedgerAnswer,  # type: ignore[arg-type]  # A union of structs is a type to msgspec.
    "audit → admin: what it asked",
)
THREATS_ASK = Channel("threats.ask", ThreatsQuestion, "admin → edge: who stands out; forget somebody", queue="edge")
THREATS_ANSWER = Channel("threats.answer.{address}.{id}", ThreatsAnswer, "edge → admin: what it asked")

EVENT_REQUEST_ANSWERED = Channel("event.request.answered", Event, "an answer left", stream="EVENTS")
EVENT_REQUEST_BLOCKED = Channel("event.request.blocked", Event, "a guard said no", stream="EVENTS")
EVENT_REQUEST_REFUSED = Channel("event.request.refused", Event, "authentication, limits, bad request", stream="EVENTS")
EVENT_REQUEST_FAILED = Channel("event.request.failed", Event, "no provider could answer", stream="EVENTS")
EVENT_REQUEST_CANCELLED = Channel("event.request.cancelled", Event, "the client left", stream="EVENTS")
EVENT_SEGMENT_MASKED = Channel("event.segment.masked", Event, "something was masked: kinds and counts", stream="EVENTS")
EVENT_GUARD_FAILED = Channel("event.guard.failed", Event, "a guard raised or timed out", stream="EVENTS")
EVENT_GUARD_ALERTED = Channel(
    "event.guard.alerted", Event, "the policy wants operators to see this at once: kinds and counts", stream="EVENTS"
)
EVENT_ATTEMPT_FAILED = Channel("event.attempt.failed", Event, "a provider attempt failed", stream="EVENTS")
EVENT_THREAT_THROTTLED = Channel(
    "event.threat.throttled", Event, "a caller is slowed for what the guards found in its requests", stream="EVENTS"
)
EVENT_THREAT_LOCKED = Channel(
    "event.threat.locked", Event, "a caller is refused for a while, for the same reason", stream="EVENTS"
)
EVENT_CIRCUIT_OPENED = Channel(
    "event.circuit.opened", Event, "a circuit opened, of an endpoint or of its `model`", stream="EVENTS"
)
EVENT_CIRCUIT_CLOSED = Channel(
    "event.circuit.closed", Event, "a circuit closed, of an endpoint or of its `model`", stream="EVENTS"
)
EVENT_CONFIG_APPLIED = Channel("event.config.applied", Event, "an instance runs a new revision", stream="EVENTS")
EVENT_KEY_CHANGED = Channel("event.key.changed", Event, "a key was created or revoked", stream="EVENTS")
EVENT_LEDGER_ADVANCED = Channel("event.ledger.advanced", Event, "the ledger's signed head", stream="EVENTS")
EVENT_INSTANCE_ANNOUNCED = Channel(
    "event.instance.announced", Announcement, "who runs, how it is, what runs in it", stream="EVENTS"
)

REQUEST_EVENTS: dict[str, Channel[Event]] = {
    "answered": EVENT_REQUEST_ANSWERED,
    "blocked": EVENT_REQUEST_BLOCKED,
    "refused": EVENT_REQUEST_REFUSED,
    "failed": EVENT_REQUEST_FAILED,
    "cancelled": EVENT_REQUEST_CANCELLED,
}

CHANNELS: tuple[Channel[Any], ...] = (
    REQUEST_INSPECT,
    REQUEST_ROUTE,
    REQUEST_CALL,
    REPLY,
    HOLDING,
    BOUNCE,
    CONTROL,
    OUTCOME,
    AUDIT,
    LEDGER_QUERY,
    LEDGER_VERIFY,
    LEDGER_ANSWER,
    THREATS_ASK,
    THREATS_ANSWER,
    *REQUEST_EVENTS.values(),
    EVENT_SEGMENT_MASKED,
    EVENT_GUARD_FAILED,
    EVENT_GUARD_ALERTED,
    EVENT_ATTEMPT_FAILED,
    EVENT_THREAT_THROTTLED,
    EVENT_THREAT_LOCKED,
    EVENT_CIRCUIT_OPENED,
    EVENT_CIRCUIT_CLOSED,
    EVENT_CONFIG_APPLIED,
    EVENT_KEY_CHANGED,
    EVENT_LEDGER_ADVANCED,
    EVENT_INSTANCE_ANNOUNCED,
)

ALL_EVENTS = f"{ROOT}.event.>"

CONFIG_BUCKET = "LLMPROXY_CONFIG"  # key `current` -> config.Snapshot
KEYS_BUCKET = "LLMPROXY_KEYS"  # key = full SHA-256 (hex) of the API key -> keyring.KeyRecord
MODELS_BUCKET = "LLMPROXY_MODELS"  # key = endpoint -> model_lists.ModelList
CONVERSATIONS_BUCKET = "LLMPROXY_CONVERSATIONS"
"""key = keyed hash of an id -> how suspicious each turn was, in thousandths"""
BODIES_BUCKET = "LLMPROXY_BODIES"  # claim check of large bodies
