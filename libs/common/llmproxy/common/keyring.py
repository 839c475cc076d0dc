"""API keys: their format and checksum, the record that stands for one, and why a presented key is or is not good."""

import hashlib
import secrets
import zlib

from msgspec import Struct

from llmproxy.common.config import Limit

PREFIX = "llmp-"
ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
RANDOM_DIGITS = 43  # 256 bits in base 62.
CHECK_DIGITS = 6  # CRC-32 in base 62: a typing error or a truncated key is known without a look-up.
KEY_LENGTH = len(PREFIX) + RANDOM_DIGITS + CHECK_DIGITS
EXPIRES_AT_MS_MAX = 253_402_300_799_999
"""The end of the year 9999: what is later is another unit, and no calendar shows it."""


UNSENDABLE = "a line break, a space at an end, or a sign that is not ASCII"


class KeyRecord(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is stored of a key. The key itself is shown once and never kept."""

    id: str  # Public: appears in records, lists and events.
    hash: str  # Full SHA-256, hex.
    name: str = ""
    tenant: str = "default"
    principal: str = ""
    roles: tuple[str, ...] = ()
    models: tuple[str, ...] = ()  # Empty: every model.
    expires_at_ms: int | None = None
    limit: Limit | None = None  # Replaces `limits.key`.
    created_at_ms: int = 0
    revoked_at_ms: int | None = None
    source: str = "api"  # api | environment


def generate() -> str:
    """A new key: `llmp-`, 256 random bits, checksum."""
    body = PREFIX + "".join(secrets.choice(ALPHABET) for _ in range(RANDOM_DIGITS))
    return body + checksum(body)


def checksum(body: str) -> str:
    number, digits = zlib.crc32(_bytes(body)), ""
    for _ in range(CHECK_DIGITS):
        number, digit = divmod(number, len(ALPHABET))
        digits = ALPHABET[digit] + digits
    return digits


def is_well_formed(key: str) -> bool:
    """True of anything not in our format too: keys from the environment may have any form."""
    if not key.startswith(PREFIX):
        return True
    return len(key) == KEY_LENGTH and checksum(key[:-CHECK_DIGITS]) == key[-CHECK_DIGITS:]


def is_sendable(key: str) -> bool:
    """Whether a header can carry it as it is: what cannot be presented opens nothing."""
    return key.isascii() and key.isprintable() and key == key.strip()  # Else it has what UNSENDABLE says.


def hash_key(key: str) -> str:
    """The whole SHA-256: a truncated hash is how two callers become one (CVE-2026-35030)."""
    return hashlib.sha256(_bytes(key)).hexdigest()


def key_id(digest: str) -> str:
    """The public id of a key, from its hash; tells nothing about the key."""
    return "key_" + hashlib.sha256(b"id:" + digest.encode()).hexdigest()[:12]


def _bytes(presented: str) -> bytes:
    """What a client presents may be no text at all; then it is a wrong key, not an exception."""
    return presented.encode(errors="surrogatepass")
