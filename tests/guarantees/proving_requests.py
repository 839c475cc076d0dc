"""What the shield, the router and the ledger promise of a request, and of its way back."""

import json
import re
from base64 import b64decode

from guarantees.asking import ENDPOINT_OF, HELLO, MODEL_OF, Place, in_parts, wire
from guarantees.cells import CONVERSATIONS
from guarantees.hearing import Wire
from guarantees.standing import SPARE, replaced
from guarantees.trial import ATTACK, MAIL, TOKEN, Proof, Trial

from llmproxy.router.circuits import Circuit, whole

EMPLOYEE = "E-48213"
PLACEHOLDER = re.compile(r"\[[A-Z_]+_[0-9a-z]+\]")
MARKER = re.compile(rb"\[([0-9a-f]{16})\]")
PROJECT, AIRSHIP, STRANGER = "of PRJ-1234 today", "of a zeppelin today", "of https://stranger.example/x today"
GERMAN = (
    "Der Garten ist im Sommer sehr schön, und wir gehen jeden Tag mit den Kindern an den kleinen See hinter dem Haus"
)


async def parsing(it: Trial, place: Place) -> None:
    """In the object that holds the text, or the nearest around it that is one of the body itself."""
    text = "the text itself"
    sent = wire(it.route, place, text, stream=it.stream).json or b""
    at = sent.rindex(b'{"', 0, sent.index(place.written(text).encode())) + 1
    said = await it.send(Wire(json=sent[:at] + b'"k":1,"k":2,' + sent[at:]), it.gateway.key("default"))
    it.refused(said, 400, "duplicate_key")


async def token_ids(it: Trial, place: Place) -> None:
    field = "prompt" if it.route.api == "completions" else "input"
    for value in ([64, 8341], [[64, 8341], [31]]):
        sent = json.loads(wire(it.route, place, HELLO, stream=it.stream).json or b"")
        said = await it.send(Wire(json=json.dumps({**sent, field: value}).encode()), it.gateway.key("default"))
        it.refused(said, 400, "content_blocked")


def masks(value: str, kind: str, principal: str = "default") -> Proof:
    async def proof(it: Trial, place: Place) -> None:
        it.answered(await it.ask(place, f"please note {value} thanks", principal))
        (received,) = map(opened, it.gateway.received)
        assert value.encode() not in received
        assert f"please note [{kind}_".encode() in received
        (record,) = it.gateway.records
        assert (record.verdict, record.masked) == ("answered", True)
        assert sum(record.findings.values()) == 1

    return proof


async def parts(it: Trial, place: Place) -> None:
    """A credential that is cut in two, an address that is cut in two, and between them a part that has the end of one and the begin of the other."""
    texts = (f"please note {TOKEN[:20]}", f"{TOKEN[20:]} and {MAIL[:9]}", f"{MAIL[9:]} thanks")
    sent = in_parts(it.route.api, wire(it.route, place, "".join(texts), stream=it.stream), *texts)
    it.needs(sent is not None)
    assert sent is not None
    it.streams_pieces(of=3)
    is_heard = it.route.api in CONVERSATIONS
    if is_heard:
        it.gateway.says(lambda sent: it.saying(f"noted: {', '.join(placeholders(sent))}, thanks"))
    said = await it.send(sent, it.gateway.key("default"))
    it.answered(said)
    if is_heard:
        assert it.heard(said) == f"noted: {TOKEN}, {MAIL}, thanks"
    (received,) = it.gateway.received
    assert [one.partition("_")[0] for one in placeholders(received)] == ["[SECRET", "[EMAIL"]
    for text in (TOKEN[:20], TOKEN[20:], MAIL[:9], MAIL[9:]):
        assert text.encode() not in received
    (record,) = it.gateway.records
    assert record.findings == {"secret.github": 1, "email": 1}
    assert record.explained is not None
    assert {one.via for one in record.explained.findings} == {("parts",)}


def rejects(text: str, kind: str) -> Proof:
    async def proof(it: Trial, place: Place) -> None:
        it.refused(await it.ask(place, text, it.control.name), 400, "content_blocked")
        assert it.gateway.records[-1].findings == {kind: 1}

    return proof


async def injection(it: Trial, place: Place) -> None:
    with replaced(it.gateway.ingress, "firewall", None):
        it.refused(await it.ask(place, ATTACK, "injection"), 400, "content_blocked")
    assert it.gateway.records[-1].findings == {"injection": 1}


async def mask(it: Trial, place: Place) -> None:
    it.answered(await it.ask(place, f"\u00e9 {MAIL}, {TOKEN}; {MAIL} \u2603"))
    (received,) = map(opened, it.gateway.received)
    found = placeholders(received)
    assert [one.partition("_")[0] for one in found] == ["[EMAIL", "[SECRET", "[EMAIL"]
    assert found[0] == found[2]
    assert MAIL.encode() not in received
    assert TOKEN.encode() not in received
    written = f"\u00e9 {found[0]}, {found[1]}; {found[0]} \u2603"
    assert spelt(written, received)


FILE = re.compile(rb'(?:base64,|"data": ?")([A-Za-z0-9+/]+={0,2})"')


def opened(received: bytes) -> bytes:
    """A body, and behind it what is in its files."""
    return b"\n".join((received, *map(b64decode, FILE.findall(received))))


def placeholders(received: bytes) -> list[str]:
    return PLACEHOLDER.findall(received.decode(errors="replace"))  # A form has a file in it.


def spelt(text: str, received: bytes) -> bool:
    """However it is escaped: in JSON, in a string of JSON, in a form."""
    said = received.decode(errors="replace")
    once = json.dumps(text)[1:-1]
    return any(one in said for one in (text, once, json.dumps(once)[1:-1]))


async def canary(it: Trial, place: Place) -> None:
    await it.ask(place, HELLO, "canary", system="" if place.has_system else "Be brief.")
    (received,) = it.gateway.received
    assert len(MARKER.findall(received)) == 1


async def resolve(it: Trial, place: Place) -> None:
    it.answered(await it.ask(place, HELLO))
    assert it.gateway.receivers == [ENDPOINT_OF[it.route.api]]
    name = MODEL_OF[it.route.api]
    (recorded,) = it.gateway.upstreams[ENDPOINT_OF[it.route.api]].requests
    assert name.encode() in recorded.body or name in recorded.path


async def order(it: Trial, place: Place) -> None:
    name = ENDPOINT_OF[it.route.api]
    it.gateway.circuits.open[whole(name)] = Circuit(1 << 60, is_shared=True)
    it.answered(await it.ask(place, HELLO))
    assert it.gateway.receivers == [name + SPARE]


async def attempts(it: Trial, place: Place) -> None:
    name = ENDPOINT_OF[it.route.api]
    it.gateway.upstreams[name].behaviour.status = 500
    it.answered(await it.ask(place, HELLO))
    assert it.gateway.receivers == [name, name + SPARE]
    (record,) = it.gateway.records
    assert (record.endpoint, record.retries) == (name + SPARE, 1)


async def unmasking(it: Trial, place: Place) -> None:
    it.needs(place in it.answering)
    repeats = it.route.api in ("rerank", "images")  # By themselves, what they were sent.
    if not repeats:
        it.streams_pieces(of=3)
        it.gateway.says(lambda sent: it.saying(f"noted: {placeholders(opened(sent))[0]}, thanks"))
    said = await it.ask(place, f"please note {MAIL} thanks")
    if repeats:
        it.answered(said)
        texts = [one.text for one in said.choices]
        assert texts.count(f"please note {MAIL} thanks") == (1 if it.route.api == "rerank" else it.choices)
    else:
        assert it.heard(said) == f"noted: {MAIL}, thanks"
    assert not any(PLACEHOLDER.search(one) for one in said.strings)
    (received,) = map(opened, it.gateway.received)
    assert MAIL.encode() not in received


async def audit(it: Trial, place: Place) -> None:
    """One record of what was answered, one of what was blocked; neither has the text."""
    it.answered(await it.ask(place, HELLO))
    it.refused(await it.ask(place, f"please note {MAIL} thanks", "blocking"), 400, "content_blocked", received=1)
    answered, blocked = it.gateway.records
    for record in (answered, blocked):
        assert (record.route, record.api, record.stream) == (it.route.name, it.route.api, it.stream)
        assert record.tenant == "acme"
    assert (answered.verdict, answered.status) == ("answered", 200)
    assert (blocked.verdict, blocked.findings) == ("blocked", {"email": 1})
    kept = b"".join(payload for _, _, payload in it.gateway.edge.broker.streams["AUDIT"])
    assert MAIL.encode() not in kept
    assert HELLO.encode() not in kept
