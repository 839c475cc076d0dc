"""Unpacking answers of servers that compress although they were asked not to, without letting a small one become a large one. Pure."""

import zlib

RATIO_MAX = 100  # Text of models packs to a tenth; what packs better was made to.
GRACE_BYTES = 1 << 20  # So much may come of nearly nothing.
GZIP_OR_ZLIB = zlib.MAX_WBITS | 32
GZIP = zlib.MAX_WBITS | 16
RAW = -zlib.MAX_WBITS


class Unpackable(Exception):
    """Not what its header says, or made to grow."""


class Inflate:
    """One body, packed with gzip or deflate, in pieces."""

    __slots__ = ("_coding", "_packed", "_stream", "_unpacked")

    def __init__(self, coding: str) -> None:
        """`coding`: gzip or deflate."""
        self._coding = coding
        self._stream: zlib._Decompress | None = None
        self._packed = self._unpacked = 0

    @property
    def is_whole(self) -> bool:
        """Its own end was seen; of a body of no bytes at all there is none."""
        return self._stream is None or self._stream.eof

    def feed(self, data: bytes) -> bytes:
        """What can be told of `data`; perhaps nothing yet. Raises Unpackable."""
        if not data:
            return b""
        if self._stream is None:
            self._stream = zlib.decompressobj(self._window(data[0]))
        self._packed += len(data)
        room = GRACE_BYTES + RATIO_MAX * self._packed - self._unpacked
        try:
            unpacked = self._stream.decompress(data, room)
        except zlib.error as error:
            raise Unpackable("it is not what its content-encoding says") from error
        self._unpacked += len(unpacked)
        if len(unpacked) >= room or self._stream.unconsumed_tail:
            raise Unpackable(f"it unpacks to more than {RATIO_MAX} times its size")
        if self._stream.unused_data:
            raise Unpackable("something follows its end")
        return unpacked

    def _window(self, first: int) -> int:
        """`deflate` means zlib's format (RFC 9110, 8.4.1.2); some servers send it bare."""
        if self._coding == "gzip":
            return GZIP
        return GZIP_OR_ZLIB if first & 0x0F == 8 and first >> 4 <= 7 else RAW


CODINGS = {"gzip": "gzip", "x-gzip": "gzip", "deflate": "deflate"}
