"""Answers that are not JSON: on the bus a JSON string of their base64, to the caller their bytes."""

import asyncio
import binascii

SLICE_CHARACTERS = 1 << 20  # Decoded in one turn of the loop; a multiple of four.


async def from_base64(json: bytes) -> bytes | None:
    """The bytes that a JSON string holds; None when it is not base64."""
    if len(json) < 2 or json[:1] != b'"' or json[-1:] != b'"':
        return None
    text, parts = memoryview(json)[1:-1], []
    try:
        for start in range(0, len(text), SLICE_CHARACTERS):
            parts.append(binascii.a2b_base64(text[start : start + SLICE_CHARACTERS], strict_mode=True))
            if start:
                await asyncio.sleep(0)
    except binascii.Error:
        return None
    return b"".join(parts)
