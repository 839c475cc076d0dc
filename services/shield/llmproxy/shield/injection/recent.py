"""Texts that were clear a moment ago: most of a conversation is what the request before it said (docs/adr/0031).

No text is kept, but digests that nobody outside this process can make, and a tenant never learns of another's.
"""

import ctypes
from hashlib import blake2b

from llmproxy.common import native

SECRET_BYTES = 16
CHARS_MIN = 32  # Bytes, too, as in native/sweep.c: a shorter text is read as quickly as its digest is made.
ROWS, ROW_TEXTS = 2_048, 4  # Of 64 bytes each: what fits into one line of a cache.
KEPT_MAX = ROWS * ROW_TEXTS
MEMORY_BYTES, DIGEST_BYTES = 16, 12  # Of a text: its digest, and the bits of `look.Look`.
KEY_BYTES = 16
KEYS_MAX = 4_096  # Derived keys kept; a tenant beyond them costs one hash more for each request.
LINE_BYTES = 64


class Table(ctypes.Structure):
    """`Recent` of native/native.h."""

    _fields_ = (("rows", ctypes.c_void_p), ("mask", ctypes.c_uint32))


_remember = native.function("llmproxy_remember", None, ctypes.POINTER(Table), ctypes.c_char_p)
_siphash = native.function(
    "llmproxy_siphash", None, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint64 * 2
)


class Recent:
    """Of one model, and under one secret. `table` is what native/sweep.c looks into."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._keys: dict[bytes, bytes] = {}
        self._rows = (ctypes.c_uint8 * ((ROWS + 1) * LINE_BYTES))()
        self.table = Table(-(-ctypes.addressof(self._rows) // LINE_BYTES) * LINE_BYTES, ROWS - 1)

    def key(self, tenant: bytes) -> bytes:
        """Under which a tenant's texts are remembered."""
        known = self._keys.get(tenant)
        if known is None:
            if len(self._keys) >= KEYS_MAX:
                self._keys.clear()
            known = self._keys[tenant] = blake2b(tenant, digest_size=KEY_BYTES, key=self._secret).digest()
        return known

    def remember(self, memory: bytes) -> None:
        """A text that turned out to be clear, as the first look has named it."""
        assert len(memory) == MEMORY_BYTES
        if any(memory[:DIGEST_BYTES]):  # A short one has no digest.
            _remember(self.table, memory)


def siphash(key: bytes, text: bytes) -> bytes:
    """SipHash-2-4 with 128 bits."""
    assert len(key) == KEY_BYTES
    digest = (ctypes.c_uint64 * 2)()
    _siphash(key, text, len(text), digest)
    return b"".join(half.to_bytes(8, "little") for half in digest)
