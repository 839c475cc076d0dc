"""A policy tried on one text or one body, as the shield would treat it, without a gateway: for `llmproxy policy`."""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import msgspec
from msgspec import Struct

from llmproxy.common import segments
from llmproxy.common.envelope import Api, Envelope
from llmproxy.common.explanations import SEVERITY, Explanation
from llmproxy.common.policy import Policies
from llmproxy.common.segments import Segment
from llmproxy.shield.answers.guards import of_answers
from llmproxy.shield.chain import Chain
from llmproxy.shield.examine import Examined, Order, Refused, examine
from llmproxy.shield.guards import GUARDS
from llmproxy.shield.inspection import explain
from llmproxy.shield.preflight import pipeline
from llmproxy.shield.scan import Role, for_answers
from llmproxy.shield.verdict import Allow, Block, Mask

Verdict = Literal["allow", "flag", "mask", "block"]
"""allow: nothing was found; flag: it passes, and is recorded; mask: it passes without what was found; block: it is refused."""

KEY = b"llmproxy policy"  # Of the placeholders, which are shown without their digits.
HASHED = re.compile(r"(\[[A-Z_]{1,32}_HASH)_[0-9a-f]{16}\]")


class Asked(Struct, frozen=True, kw_only=True):
    """Who asks for what: all that `policy.overrides` can be about."""

    tenant: str = "default"
    key: str = ""
    principal: str = ""
    roles: tuple[str, ...] = ()
    api: Api = "chat"
    model: str = ""


class Outcome(Struct, frozen=True, kw_only=True):
    """What became of it."""

    verdict: Verdict
    code: str = ""  # Of errors.CATALOGUE, when it was refused.
    kinds: Mapping[str, str] = {}  # Kind -> the most severe that was done with one.
    texts: Mapping[str, str] = {}  # Path -> the text as it went on, where that is not how it came.


def envelope(asked: Asked) -> Envelope:
    return Envelope(id="", deadline_ms=0, edge="", reply_to="", **msgspec.structs.asdict(asked))


def request(text: str, role: Role, model: str = "") -> bytes:
    """A chat with one text: as the words of that role, as a tool's description, or, for a parameter, beside the messages."""
    message = {"role": role, "content": text} | ({"tool_call_id": "call_1"} if role == "tool" else {})
    said: dict[str, Any] = {"messages": [message]}
    if role == "parameter":
        said = {"messages": [], "metadata": {"text": text}}
    elif role == "definition":
        said = {"messages": [], "tools": [{"type": "function", "function": {"name": "f", "description": text}}]}
    return json.dumps({"model": model, **said}).encode()


def try_request(body: bytes, asked: Asked, policies: Policies) -> Outcome:
    """What the shield does with this body. The guards may take as long as they like."""
    order = Order(body=body, policy=policies.of(envelope(asked)), key=KEY, max_depth=segments.DEPTH_MAX)
    match examine(order, pipeline(GUARDS), lambda: 0.0):
        case Refused() as refused:
            findings = refused.explained.findings if refused.explained else ()
            return Outcome(verdict="block", code=refused.code, kinds=done(findings))
        case Examined() as examined:
            kinds = done(examined.explained.findings if examined.explained else ())
            if examined.masked is None:
                return Outcome(verdict="flag" if kinds else "allow", kinds=kinds)
            return Outcome(verdict="mask", kinds=kinds, texts=_changed(body, examined))


def try_answer(text: str, asked: Asked, policies: Policies) -> Outcome:
    """What the guards that look at requests too say of a model's answer. Those of answers alone need the request beside it."""
    segment = Segment(role="assistant", path="text", text=text)
    verdict = Chain(for_answers(GUARDS), of_answers(policies.of(envelope(asked)))).inspect(segment)
    if isinstance(verdict, Allow):
        return Outcome(verdict="allow")
    kinds = done(explain(finding, segment) for finding in verdict.findings)
    match verdict:
        case Block():
            return Outcome(verdict="block", code=verdict.code, kinds=kinds)
        case Mask():
            return Outcome(verdict="mask", kinds=kinds)
        case _:
            return Outcome(verdict="flag", kinds=kinds)


def differences(before: Outcome, after: Outcome) -> dict[str, tuple[str, str]]:
    """Kind -> what is done with it in the one and in the other, where that is not the same."""
    kinds = {
        kind: (before.kinds.get(kind, "allow"), after.kinds.get(kind, "allow"))
        for kind in {**before.kinds, **after.kinds}
    }
    return {kind: pair for kind, pair in sorted(kinds.items()) if pair[0] != pair[1]}


def done(findings: Iterable[Explanation]) -> dict[str, str]:
    """Kind -> the most severe that was done with one."""
    ranked = sorted(findings, key=lambda one: SEVERITY.index(one.action) if one.action in SEVERITY else len(SEVERITY))
    return {one.kind: one.action for one in reversed(ranked)}


def _changed(body: bytes, examined: Examined) -> dict[str, str]:
    """The texts that masking changed; placeholders without the digits that depend on the key."""
    assert examined.masked is not None
    before, after = _texts(body), _texts(examined.masked)
    return {path: _shown(text, examined.originals) for path, text in after.items() if text != before.get(path)}


def _texts(body: bytes) -> dict[str, str]:
    return {segment.path: segment.text for segment in segments.segments(body.decode(), segments.decode(body))}


def _shown(text: str, originals: Mapping[str, str]) -> str:
    for placeholder in originals:
        text = text.replace(placeholder, f"{placeholder.rpartition('_')[0]}]")
    return HASHED.sub(r"\1]", text)
