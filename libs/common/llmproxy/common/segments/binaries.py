"""What in a body is no text: long base64 where an API has pictures, sounds, files and seals (docs/adr/0013)."""

import binascii
import re
from base64 import b64decode
from collections.abc import Iterator
from string import ascii_letters, digits
from typing import Any
from urllib.parse import unquote

from llmproxy.common.segments.names import SEALS, STRUCTURE, URL_HOLDERS, URL_STRUCTURE
from llmproxy.common.segments.places import Path

BLOB_CHARS_MIN = 256
"""Shorter base64 may be a key in a picture's place, and is read: what guards look for is longer only with other signs in it."""

ALPHANUMERIC = (ascii_letters + digits).encode()
DATA_URL = re.compile(r"data:(?!text/)[\w.+-]+/[\w.+-]+(?:;[\w=.+-]+)*;base64,", re.ASCII)
DATA_URL_HEAD_CHARS_MAX = 512

SNIFFED_CHARS = 128  # Of base64: a binary shows itself in its first bytes.
CONTROL = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
"""Neither white space, nor what begins a terminal's colours."""


def blobs(tree: Any) -> Iterator[tuple[Path, dict[str, Any], str]]:
    """(path, holder, key) of each long base64 string in a place where an API has binaries or seals."""
    for path, holder, key in placed(tree, BLOB_CHARS_MIN, STRUCTURE | URL_STRUCTURE):
        if (key in URL_HOLDERS and is_base64_url(holder[key])) or (
            _has_blob(path[:-1], holder, key) and is_base64(holder[key])
        ):
            yield path, holder, key


def placed(
    tree: Any, shortest: int, through: frozenset[str] = STRUCTURE
) -> Iterator[tuple[tuple[str | int, ...], dict[str, Any], str]]:
    """(path, holder, key) of each string of `shortest` characters or more to which the keys of `through` lead."""
    open_nodes: list[tuple[tuple[str | int, ...], Any]] = [((), tree)]
    while open_nodes:
        path, node = open_nodes.pop()
        if type(node) is list:
            open_nodes += (((*path, place), item) for place, item in enumerate(node) if type(item) in (dict, list))
        elif type(node) is dict:
            for key, value in node.items():
                if type(value) is str:
                    if len(value) >= shortest:
                        yield (*path, key), node, key
                elif key in through or (key == "input" and not path):
                    open_nodes.append(((*path, key), value))


def _has_blob(path: Path, node: dict[str, Any], key: str) -> bool:
    match key:
        case "data":
            return _is_binary(path, node)
        case "result":
            return node.get("type") == "image_generation_call"
    return key in SEALS or key == "file_data"


def _is_binary(path: Path, node: dict[str, Any]) -> bool:
    """Whether an object with `data` says that they are base64 of something other than text."""
    match path[-1] if path else "":
        case "input_audio":
            return True
        case "source":  # Anthropic's sources of type `text` have plain text in the same place.
            kind = node.get("media_type") if node.get("type") == "base64" else None
        case "inlineData" | "inline_data":
            kind = node.get("mimeType", node.get("mime_type"))
        case "file" | "image" | "mask" | int():  # Of a form that the edge made JSON of.
            kind = node.get("content_type") if path[0] in ("file", "image", "mask") else None
            if kind is None:
                return node.get("type") == "redacted_thinking"
        case _:
            return False
    return isinstance(kind, str) and not kind.lower().startswith("text/")


def is_base64(value: str) -> bool:
    """Whether every character is of one base64 alphabet: no space, no line break, no dot."""
    if not value.isascii():
        return False
    signs = value.rstrip("=").encode().translate(None, ALPHANUMERIC)
    return not signs.translate(None, b"+/") or not signs.translate(None, b"-_")


def is_base64_url(value: str) -> bool:
    """Base64 of a picture or a file, and nothing else: not text, whatever it says of itself, and never masked."""
    if len(value) < BLOB_CHARS_MIN or not value.startswith("data:"):
        return False
    head = DATA_URL.match(value, 0, DATA_URL_HEAD_CHARS_MAX)
    return head is not None and is_base64(payload := value[head.end() :]) and not looks_like_text(payload)


def looks_like_text(payload: str) -> bool:
    """Whether base64 is that of a text, by its beginning; a sign may be cut off at its end."""
    text = decoded(plain(payload[:SNIFFED_CHARS])).decode("utf-8", "replace").rstrip("\ufffd")
    return bool(text) and "\ufffd" not in text and not CONTROL.search(text)


def plain(payload: str) -> str:
    """Without what decoders pass over: white space, and the escapes of a URL."""
    return "".join(unquote(payload).split()) if "%" in payload or not payload.isalnum() else payload


def decoded(payload: str) -> bytes:
    """As far as it can be read, which is how providers read it."""
    usual = payload.rstrip("=").translate(str.maketrans("-_", "+/"))
    usual = usual[: len(usual) - (len(usual) % 4 == 1)]
    try:
        return b64decode(usual + "=" * (-len(usual) % 4))
    except binascii.Error:
        return b""
