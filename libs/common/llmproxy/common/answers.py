"""What the shield looks for in what comes back, and what it does about it, as operators configure it."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

When = Literal["always", "exposed", "never"]
"""always: every answer is inspected; exposed: those to requests with something an answer could betray or be turned by
(masked values, system or developer text, tools or their results, what a provider keeps or looks up); never: what was masked is put back, nothing is looked at."""

AnswerAction = Literal["redact", "hash", "block", "flag", "alert", "allow"]
"""redact: taken out for good; hash: the same, but the same value of a tenant leaves the same mark, as in a request; block: the answer ends
with an error; flag: it passes and is recorded; alert: the same, and operators see it at once; allow: not looked for."""

REMOVED = frozenset({"redact", "hash"})
"""What is not said."""

AnswerMode = Literal["block", "strip", "flag", "disabled"]
"""block: the answer ends with an error; strip: taken out, the rest passes; flag: passes and is recorded."""

Watched = Literal["block", "flag", "disabled"]
"""Of what is only certain when much of it has been said: it can end an answer, but nothing of it can be taken out."""

SECRET = "secret"  # noqa: S105 - the name of a kind, not a secret
ANSWER = "answer."
"""Before every kind that was found in an answer, in headers, metrics and the audit record."""

DOMAINS_MAX = 1_000
Domain = Annotated[
    str,
    Meta(
        pattern=r"^[a-z0-9-]+(?:\.[a-z0-9-]+)*$",
        max_length=253,
        description="write a domain alone, in small letters and in its ASCII form, as in example.org or xn--bcher-kva.example",
    ),
]
Domains = Annotated[tuple[Domain, ...], Meta(max_length=DOMAINS_MAX)]


class Links(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Images are fetched without anybody's click, so their addresses can carry a conversation away: docs/adr/0019."""

    images: AnswerMode = "strip"  # With a query or a payload, to a host that the request does not name.
    # Script and data schemes, public addresses without a name, look-alikes, hidden users, payloads.
    others: Watched = "flag"
    allowed: Domains = ()  # These and what is below them are never suspicious.
    denied: Domains = ()  # These always are.


class Answers(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Per kind what is done with what the request itself did not hold; per guard of answers alone, one mode."""

    when: When = "exposed"
    kinds: dict[str, AnswerAction] = {}  # Not named here: secrets are redacted, personal data is flagged.
    invisible: AnswerMode = "strip"  # Tags, zero-width runs, overridden directions, commands to terminals.
    links: Links = Links()
    leak: Watched = "flag"  # Passages of the request's own system text.
    # A marker in the system text, whose appearance ends the answer. It changes what the model reads.
    canary: bool = False
    repetition: Watched = "flag"
    entropy: Watched = "flag"  # Long random text that nobody asked for.
    injection: Watched = "disabled"  # What a model answers is no order to anybody, until something acts on it.

    def action(self, kind: str) -> AnswerAction:
        named = self.kinds.get(kind)
        if named is not None:
            return named
        if kind == SECRET or kind.startswith(f"{SECRET}."):
            return self.kinds.get(SECRET, "redact")
        return "flag"
