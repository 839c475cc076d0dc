"""Texts that a body carries as files, in base64: a provider reads them as it reads a message, so the guards do, too.

A file is a text by what it holds, whatever it is called: `application/octet-stream` is what many clients say of a CSV.
"""

import codecs
import re
from base64 import b64encode
from typing import Any

from msgspec import Struct

from llmproxy.common import native
from llmproxy.common.segments.binaries import (
    CONTROL,
    DATA_URL_HEAD_CHARS_MAX,
    decoded,
    is_base64,
    looks_like_text,
    placed,
    plain,
)
from llmproxy.common.segments.names import STRUCTURE, URL_HOLDERS, URL_STRUCTURE

URL = re.compile(r"data:([\w.+-]+/[\w.+-]+)?(?:;[\w=.+-]+)*;base64,", re.ASCII | re.IGNORECASE)
HEAD = re.compile(r"|data:(?:[a-z]{1,20}/[a-z0-9.+-]{1,40})?(?:;charset=[a-z0-9-]{1,20})?;base64,", re.IGNORECASE)
KINDS = ("mimeType", "mime_type", "media_type", "content_type")
PAYLOAD_CHARS_MIN = 8  # Shorter ones hold nothing that a guard looks for.


_may_carry_files = native.call("may_carry_files")


class Document(Struct, frozen=True, kw_only=True):
    path: tuple[str | int, ...]
    payload: str  # The base64, as the body has it.
    text: str
    charset: str
    whole: str = ""  # The value that holds the payload, if nothing else is in it: who has read the text has read it.

    def encoded(self, text: str) -> str:
        """As the payload was: its alphabet, and padded if that was."""
        made = b64encode(text.encode(self.charset), b"-_" if set("-_") & set(self.payload) else None).decode()
        return made if self.payload.endswith("=") or len(self.payload) % 4 == 0 else made.rstrip("=")


def documents(tree: Any, body: bytes, files_max: int | None = None) -> list[Document] | None:
    """Of a body, in any order; nearly every body has none. None of one with more files than `files_max`, texts or not."""
    if not _may_carry_files(body):
        return []
    made: list[Document] = []
    count = 0
    for path, holder, key in placed(tree, PAYLOAD_CHARS_MIN, STRUCTURE | URL_STRUCTURE):
        kind, payload = _declared(key, holder, holder[key])
        if not payload:
            continue
        count += 1
        if files_max is not None and count > files_max:
            return None
        if (one := _document(path, holder[key], kind, payload)) is not None:
            made.append(one)
    return made


def _document(path: tuple[str | int, ...], value: str, kind: str, payload: str) -> Document | None:
    says_text = kind.startswith("text/")
    if not says_text and not looks_like_text(payload):
        return None
    signs = plain(payload)
    if not is_base64(signs):
        return None
    raw = decoded(signs)
    for name in _charsets(raw) if says_text else ("utf-8",):
        try:
            text = raw.decode(name)
        except UnicodeDecodeError:
            continue
        if says_text or not CONTROL.search(text):
            # What is not quite base64 may be what it looks like, and is read as that, too.
            is_sure = name == "utf-8" and payload == signs and not CONTROL.search(text)
            whole = value if is_sure and HEAD.fullmatch(value.removesuffix(payload)) else ""
            return Document(path=path, payload=payload, text=text, charset=name, whole=whole)
    return None


def _charsets(raw: bytes) -> tuple[str, ...]:
    """Of what says that it is a text, in the order in which they are tried. What it says of its charset decides nothing: a
    provider may not heed it. The last one reads anything, and has ASCII where nearly all others have it."""
    wide = raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return ("utf-8", "utf-16", "latin-1") if wide else ("utf-8", "latin-1")


def _declared(key: str, holder: dict[str, Any], value: str) -> tuple[str, str]:
    """Media type and base64 of a value in a place where APIs have files; no base64 elsewhere."""
    if key in URL_HOLDERS:
        head = URL.match(value, 0, DATA_URL_HEAD_CHARS_MAX)
        if head is not None:
            return (head[1] or "text/plain").lower(), value[head.end() :]
        return ("", value) if key == "file_data" else ("", "")
    if key == "data" and holder.get("type") != "redacted_thinking":
        kind = next((holder[name] for name in KINDS if isinstance(holder.get(name), str)), "")
        if kind and holder.get("type", "base64") != "text":  # Anthropic's sources of type `text` are none.
            return kind.strip().lower(), value
    return "", ""
