"""What was clear a moment ago: most of a conversation is what the request before it said (docs/adr/0031).

No text is kept, but digests that nobody outside this process can make, and a tenant never learns of another's.
"""

import ctypes
from hashlib import blake2b

from llmproxy.common import native

SECRET_BYTES = 16
ROW_TEXTS = 4  # In a row of 64 bytes, which is a line of a cache.
MEMORY_BYTES, DIGEST_BYTES = 16, 12  # Of a text: its digest, and what its owner keeps with it.
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
    """Of one judge, and under one secret: the last texts, at most ROW_TEXTS for each row. `table` is what native code looks into."""

    def __init__(self, secret: bytes, rows: int) -> None:
        """`rows` is a power of two."""
        self._secret = secret
        self._keys: dict[bytes, bytes] = {}
        self._rows = (ctypes.c_uint8 * ((rows + 1) * LINE_BYTES))()
        self.table = Table(-(-ctypes.addressof(self._rows) // LINE_BYTES) * LINE_BYTES, rows - 1)

    def key(self, tenant: bytes) -> bytes:
        """Under which a tenant's texts are remembered."""
        known = self._keys.get(tenant)
        if known is None:
            if len(self._keys) >= KEYS_MAX:
                self._keys.clear()
            known = self._keys[tenant] = blake2b(tenant, digest_size=KEY_BYTES, key=self._secret).digest()
        return known

    def remember(self, memory: bytes) -> None:
        """A text that turned out to be clear, as native/sweep.c has named it."""
        assert len(memory) == MEMORY_BYTES
        if any(memory[:DIGEST_BYTES]):  # A short one has no digest.
            _remember(self.table, memory)


def siphash(key: bytes, text: bytes) -> bytes:
    """SipHash-2-4 with 128 bits."""
    assert len(key) == KEY_BYTES
    digest = (ctypes.c_uint64 * 2)()
    _siphash(key, text, len(text), digest)
    return b"".join(half.to_bytes(8, "little") for half in digest)
