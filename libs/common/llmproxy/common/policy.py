"""What the guards do with what they find, as operators configure it."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

Action = Literal["mask", "redact", "hash", "block", "flag", "allow"]
"""mask: placeholder out, original back in the answer; redact: gone for good; hash: gone, but the same
value of a tenant leaves the same mark; block: refuse the request;
flag: let it pass and record it; allow: do not look for it."""

PII_KINDS = (
    "email", "phone", "us_ssn", "credit_card", "iban", "ip_address", "mac_address", "crypto", "date_of_birth", "passport",
    "driver_license", "medical_record", "bank_account", "us_itin", "uk_nino", "uk_nhs", "uk_sort_code", "ca_sin", "au_tfn",
    "au_medicare", "au_abn", "in_aadhaar", "in_pan", "de_tax_id", "fr_nir", "es_nif", "it_fiscal_code", "nl_bsn", "pl_pesel",
    "eu_vat", "swift_bic", "license_plate",
)  # fmt: skip
SECRET = "secret"  # noqa: S105 - the name of a kind, not a secret
KINDS = (*PII_KINDS, SECRET)
INJECTION = "injection"
"""A kind of its own: the guard says how likely it is, and `Policy.injection` what follows."""

Mode = Literal["block", "flag", "shadow", "disabled"]
"""block: refuse the request; flag: let it pass and record it; shadow: the same, recorded as `injection.shadow`, to try
thresholds on real traffic; disabled: do not look."""

Probability = Annotated[float, Meta(ge=0, le=1)]
TOOL_ROLES = frozenset({"tool", "function"})
TRUSTED_ROLES = frozenset({"system", "developer"})


class Injection(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """From which probability on a text counts as an injection, by whose text it is.

    The defaults are the model card's (docs/models/injection.md): at most 1 % false alarms on ordinary texts and 5 % on hard
    ones. What a tool returns has no business giving orders, so less is needed; the operator's own prompts often say what
    must not be revealed, so more is.
    """

    mode: Mode = "disabled"  # Until it costs what its place on the path allows: docs/models/injection.md.
    user: Probability = 0.66  # And whatever has no threshold of its own: assistant, tool definitions, parameters.
    tool: Probability = 0.5  # Tool results and retrieved content.
    system: Probability = 0.98  # System and developer messages.

    def threshold(self, role: str) -> float:
        return self.tool if role in TOOL_ROLES else self.system if role in TRUSTED_ROLES else self.user


ALLOWED = frozenset({"au_abn", "swift_bic", "license_plate"})
"""Kinds that are let pass unless the policy names them: public registers' numbers of companies and banks, and number plates,
which no checksum tells from an article number."""


class Policy(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Per kind of finding; kinds not named here are masked, or let pass when they are in `ALLOWED`."""

    kinds: dict[str, Action] = {}
    injection: Injection = Injection()
    signed: Literal["leave", "block"] = "leave"  # What is found in thinking that a provider signed: docs/adr/0013.
    unreadable: Literal["block", "allow"] = "block"  # Prompts that come as token ids, which no guard can read.
    guard_timeout_ms: Annotated[int, Meta(ge=1)] = 2_000  # Of the whole chain for one request; then it fails closed.

    def action(self, kind: str) -> Action:
        if kind.startswith(INJECTION) and kind not in self.kinds:
            return "block" if self.injection.mode == "block" else "flag"
        return self.kinds.get(kind, "allow" if kind in ALLOWED else "mask")
