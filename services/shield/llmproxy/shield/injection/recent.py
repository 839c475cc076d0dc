"""Texts that were clear a moment ago: most of a conversation is what the request before it said (docs/adr/0031).

No text is kept, but digests that nobody outside this process can make, and a tenant never learns of another's.
"""

from collections.abc import Collection, Iterable
from hashlib import blake2b

KEPT_MAX = 4_096  # The last ones, and as many before them.
CHARS_MIN = 32  # A shorter text is read as quickly as its digest is made.
DIGEST_BYTES = SECRET_BYTES = 16


class Recent:
    """Of one model, and under one secret."""

    def __init__(self, secret: bytes) -> None:
        self._hash = blake2b(digest_size=DIGEST_BYTES, key=secret)
        self._young: set[bytes] = set()
        self._old: set[bytes] = set()

    def others(self, tenant: bytes, texts: Collection[str]) -> dict[str, bytes]:
        """The texts that are not remembered of this tenant, each with its digest; b"" for one that is too short for that."""
        found: dict[str, bytes] = {}
        own = self._hash.copy()
        own.update(len(tenant).to_bytes(4, "big") + tenant)
        for text in texts:
            digest = b""
            if len(text) >= CHARS_MIN:
                hashed = own.copy()
                hashed.update(text.encode("utf-8", "surrogatepass"))
                digest = hashed.digest()
            if digest in self._young:
                continue
            if digest in self._old:
                self._add(digest)
            else:
                found[text] = digest
        return found

    def remember(self, digests: Iterable[bytes]) -> None:
        for digest in digests:
            if digest:
                self._add(digest)

    def _add(self, digest: bytes) -> None:
        if len(self._young) >= KEPT_MAX:
            self._young, self._old = set(), self._young
        self._young.add(digest)
