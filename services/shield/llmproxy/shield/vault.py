"""The mask map of one request: placeholders out, originals back, and nothing that this request did not mask.

A placeholder is deterministic for a tenant and a value, so that the same conversation masks to the same bytes and the
provider's prompt cache still hits; it tells nothing about the value, and another tenant's is another one.
"""

import hmac
import re
from collections.abc import Callable, Container, Mapping

from llmproxy.common.errors import GatewayError

DIGEST_DIGITS = 16  # 64 bits: two values of a tenant do not meet, and a model still copies it faithfully.
LABEL_CHARS_MAX = 32
VALUES_MAX = 20_000  # Of one request. Above it the request is refused, because it cannot be masked within bounds.
SALTS_MAX = 16
RESTORED_CHARS_MAX = 64 << 20  # Of one text: a placeholder may stand for a key nearly a thousand times its length.
BOMB_CHARS_MIN = 64 << 10  # A text below this cannot become that long.

PLACEHOLDER = re.compile(rf"\[[A-Z_]{{1,{LABEL_CHARS_MAX}}}_[0-9a-f]{{{DIGEST_DIGITS}}}\]")
"""Upper case, digits and one pair of brackets: copied verbatim by models, safe in JSON and Markdown alike."""


def tenant_key(secret: bytes, tenant: str) -> bytes:
    """The key of one tenant's placeholders."""
    return hmac.digest(secret, b"llmproxy mask\0" + tenant.encode(), "sha256")


def label(kind: str) -> str:
    """`secret.github` and `secret.aws` are both SECRET: the name of the vendor is nobody's business either."""
    return kind.partition(".")[0].upper()[:LABEL_CHARS_MAX]


def redacted(kind: str) -> str:
    """What stands for something that does not come back."""
    return f"[{label(kind)}_REDACTED]"


def hashed(key: bytes, kind: str, value: str) -> str:
    """A mark that does not come back and tells nothing, but is the same for the same value of a tenant.

    It is no placeholder of `Vault`, which could be restored: what is hashed differs, and so does the mark.
    """
    message = f"hash\0{label(kind)}\0".encode() + value.encode("utf-8", "surrogatepass")
    return f"[{label(kind)}_HASH_{hmac.digest(key, message, 'sha256').hex()[:DIGEST_DIGITS]}]"


class Vault:
    """Masks the values of one request. `quoted` gives what looks like a placeholder in the caller's own words."""

    __slots__ = ("_key", "_placeholders", "_quoted", "originals")

    def __init__(self, key: bytes, quoted: Callable[[], Container[str]]) -> None:
        self._key, self._quoted = key, quoted
        self._placeholders: dict[tuple[str, str], str] = {}
        self.originals: dict[str, str] = {}

    def hashed(self, kind: str, value: str) -> str:
        """As the function, with this tenant's key."""
        return hashed(self._key, kind, value)

    def mask(self, kind: str, value: str) -> str:
        """The placeholder of a value. Raises GatewayError when there are too many."""
        known = self._placeholders.get((label(kind), value))
        if known is not None:
            return known
        if len(self.originals) >= VALUES_MAX:
            raise GatewayError("content_blocked", f"more than {VALUES_MAX} values to mask in one request; split it")
        placeholder = self._choose(kind, value)
        self._placeholders[label(kind), value] = placeholder
        self.originals[placeholder] = value
        return placeholder

    def _choose(self, kind: str, value: str) -> str:
        """The first of the value's placeholders that the caller has not written and that is not taken.

        If the caller wrote the usual one, it must come back as it was written, and ours as the value: so ours is another.
        """
        for salt in range(SALTS_MAX):
            message = f"{label(kind)}\0{salt}\0".encode() + value.encode("utf-8", "surrogatepass")
            digest = hmac.digest(self._key, message, "sha256").hex()[:DIGEST_DIGITS]
            placeholder = f"[{label(kind)}_{digest}]"
            if placeholder not in self._quoted() and placeholder not in self.originals:
                return placeholder
        raise GatewayError("content_blocked", "the request quotes too many placeholders of its own values")


def unmask(text: str, originals: Mapping[str, str]) -> str:
    """The text with this request's placeholders replaced; any other text that looks like one stays as it is."""
    if "[" not in text:
        return text
    check_growth(text, originals)
    return PLACEHOLDER.sub(lambda match: originals.get(match[0], match[0]), text)


def check_growth(text: str, originals: Mapping[str, str]) -> None:
    """Raises GatewayError when the placeholders of the text stand for more than memory should hold."""
    if len(text) < BOMB_CHARS_MIN:
        return
    if sum(len(originals.get(match[0], "")) for match in PLACEHOLDER.finditer(text)) > RESTORED_CHARS_MAX:
        raise GatewayError("provider_bad_answer", "the answer would be too large with what was masked put back")
