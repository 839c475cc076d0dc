"""What the guards do with what they find, as operators configure it."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

Action = Literal["mask", "redact", "block", "flag", "allow"]
"""mask: placeholder out, original back in the answer; redact: gone for good; block: refuse the request;
flag: let it pass and record it; allow: do not look for it."""

PII_KINDS = ("email", "phone", "us_ssn", "credit_card", "iban", "ip_address")
SECRET = "secret"  # noqa: S105 - the name of a kind, not a secret
KINDS = (*PII_KINDS, SECRET)
INJECTION = "injection"
"""A kind of its own: the guard says how likely it is, and `Policy.injection` what follows."""

Mode = Literal["block", "flag", "shadow", "off"]
"""block: refuse the request; flag: let it pass and record it; shadow: the same, recorded as `injection.shadow`, to try
thresholds on real traffic; off: do not look."""

Probability = Annotated[float, Meta(ge=0, le=1)]
TOOL_ROLES = frozenset({"tool", "function"})
TRUSTED_ROLES = frozenset({"system", "developer"})


class Injection(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """From which probability on a text counts as an injection, by whose text it is.

    The defaults are the model card's (docs/models/injection.md): at most 1 % false alarms on ordinary texts and 5 % on hard
    ones. What a tool returns has no business giving orders, so less is needed; the operator's own prompts often say what
    must not be revealed, so more is.
    """

    mode: Mode = "block"
    user: Probability = 0.66  # And whatever has no threshold of its own: assistant, tool definitions, parameters.
    tool: Probability = 0.5  # Tool results and retrieved content.
    system: Probability = 0.98  # System and developer messages.

    def threshold(self, role: str) -> float:
        return self.tool if role in TOOL_ROLES else self.system if role in TRUSTED_ROLES else self.user


class Policy(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Per kind of finding; kinds not named here are masked."""

    kinds: dict[str, Action] = {}
    injection: Injection = Injection()
    guard_timeout_ms: Annotated[int, Meta(ge=1)] = 2_000  # Of the whole chain for one request; then it fails closed.

    def action(self, kind: str) -> Action:
        if kind.startswith(INJECTION) and kind not in self.kinds:
            return "block" if self.injection.mode == "block" else "flag"
        return self.kinds.get(kind, "mask")
