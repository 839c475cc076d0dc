"""What the guards do with what they find, as operators configure it."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

Action = Literal["mask", "redact", "block", "flag", "allow"]
"""mask: placeholder out, original back in the answer; redact: gone for good; block: refuse the request;
flag: let it pass and record it; allow: do not look for it."""

PII_KINDS = ("email", "phone", "us_ssn", "credit_card", "iban", "ip_address")
SECRET = "secret"  # noqa: S105 - the name of a kind, not a secret
KINDS = (*PII_KINDS, SECRET)


class Policy(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Per kind of finding; kinds not named here are masked."""

    kinds: dict[str, Action] = {}
    guard_timeout_ms: Annotated[int, Meta(ge=1)] = 2_000  # Of the whole chain for one request; then it fails closed.

    def action(self, kind: str) -> Action:
        return self.kinds.get(kind, "mask")
