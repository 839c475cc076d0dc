"""What the guard for personal data finds in a text, and what of it a policy acts on."""

from llmproxy.common.policy import Policy
from llmproxy.common.segments import Segment
from llmproxy.shield.chain import Chain
from llmproxy.shield.guards.pii import Pii
from llmproxy.shield.verdict import Allow, Mask


def seen(text: str) -> set[tuple[str, str]]:
    verdict = Pii().inspect(Segment(role="user", path="p", text=text))
    return set() if isinstance(verdict, Allow) else {(one.kind, text[one.start : one.end]) for one in verdict.findings}


def of_kind(text: str, kind: str) -> list[str]:
    verdict = Chain((Pii(),), Policy()).inspect(Segment(role="user", path="p", text=text))
    assert isinstance(verdict, Allow | Mask)
    found = verdict.findings if isinstance(verdict, Mask) else ()
    return [text[one.start : one.end] for one in found if one.kind == kind]
