"""multipart/form-data (RFC 7578) as the JSON that travels: the texts first, and the file behind them as base64.

Strict, because the provider's worker makes a form again: a part that could be read in two ways is refused, by the name of its field.
"""

import asyncio
import binascii
import re
from itertools import pairwise

import msgspec
from msgspec import Struct

from llmproxy.common.errors import GatewayError

PARTS_MAX = 64
PART_HEADERS_BYTES_MAX = 2_048
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}(?:\[[A-Za-z0-9_]{0,64}\]){0,3}", re.ASCII)
FILENAME_CHARACTERS_MAX = 255
MEDIA_TYPE = re.compile(r"[A-Za-z0-9][\w.+-]{0,63}/[A-Za-z0-9][\w.+-]{0,63}(?:;.{0,128})?", re.ASCII)
OCTETS = "application/octet-stream"
BOUNDARY = re.compile(r'boundary=(?:"([^"]{1,70})"|([^\s";,]{1,70}))\s*(?:;|$)', re.ASCII | re.IGNORECASE)
DISPOSITION = re.compile(r'([A-Za-z0-9*_-]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s;"]*))')
SLICE_BYTES = 3 << 18  # Searched or encoded in one turn of the loop; a multiple of three, so that base64 can be joined.
FIELDS_BYTES_MAX = 1 << 20
"""Of all texts together, which are decoded in one turn of the loop. No API takes more than pages."""

FILE = "file"


class Upload(Struct, frozen=True):
    """A file out of a form."""

    filename: str
    content_type: str
    data: memoryview


class Form(Struct, frozen=True):
    texts: bytes  # A JSON object of the text fields.
    upload: Upload


def boundary(content_type: str) -> bytes:
    """Raises GatewayError(unsupported_media_type) unless it is a form."""
    kind, _, parameters = content_type.partition(";")
    found = BOUNDARY.search(parameters)
    if kind.strip().lower() != "multipart/form-data" or found is None:
        raise GatewayError("unsupported_media_type", "send a form: `Content-Type: multipart/form-data; boundary=...`")
    return (found[1] or found[2]).encode("ascii", "replace")


async def parse(body: bytes, boundary: bytes) -> Form:
    """Raises GatewayError naming the field; never quotes the body."""
    return read(body, await _delimiters(body, b"\r\n--" + boundary), len(boundary) + 2)


async def _delimiters(body: bytes, delimiter: bytes) -> list[int]:
    """Where the delimiters start, of the first one where its line break would."""
    if not body.startswith(delimiter[2:]):
        raise broken("it does not begin with its boundary")
    found, at = [-2], 0
    while at < len(body):
        hit = body.find(delimiter, at, at + SLICE_BYTES + len(delimiter))
        if hit < 0:
            at += SLICE_BYTES
            await asyncio.sleep(0)
            continue
        found.append(hit)
        at = hit + len(delimiter)
        if len(found) > PARTS_MAX + 1:
            raise broken(f"it has more than {PARTS_MAX} parts")
    return found


def read(body: bytes, delimiters: list[int], length: int) -> Form:
    """`length` is a delimiter's without its line break."""
    fields: dict[str, str | list[str]] = {}
    upload: Upload | None = None
    view, size = memoryview(body), 0
    for start, end in pairwise(delimiters):
        begin = start + 2 + length
        if body[begin : begin + 2] != b"\r\n":
            raise broken("a boundary is not a line of its own")
        name, part, data = _part(body, view, begin + 2, end)
        if part is None:
            size += len(data)
            if size > FIELDS_BYTES_MAX:
                raise GatewayError(
                    "request_too_large", f"the text fields of the form are larger than {FIELDS_BYTES_MAX} bytes"
                )
            _add(fields, name, data)
        elif name != FILE:
            raise GatewayError("unsupported_parameter", f"'{name}' is a file; only 'file' can be one", param=name)
        elif upload is not None:
            raise GatewayError("invalid_value", "'file' is given twice", param=FILE)
        else:
            upload = part
    if body[delimiters[-1] + 2 + length :] not in (b"--", b"--\r\n"):
        raise broken("it does not end with its boundary")
    if upload is None:
        raise GatewayError("missing_required_parameter", "you must provide 'file': a file", param=FILE)
    return Form(msgspec.json.encode(fields), upload)


def _part(body: bytes, view: memoryview, start: int, end: int) -> tuple[str, Upload | None, memoryview]:
    blank = body.find(b"\r\n\r\n", start - 2, min(end, start + PART_HEADERS_BYTES_MAX))
    if blank < 0:
        raise broken("a part has no headers, or too many")
    headers = _headers(body[start:blank])
    parameters = _disposition(headers.get("content-disposition", ""))
    name = parameters.get("name", "")
    if not NAME.fullmatch(name):
        raise broken("a part has no name, or one that is not a field's")
    if headers.get("content-transfer-encoding", "binary").lower() not in ("binary", "7bit", "8bit"):
        raise GatewayError("invalid_encoding", f"'{name}' is encoded; send it as it is", param=name)
    data = view[blank + 4 : end]
    if "filename" not in parameters:
        return name, None, data
    filename = parameters["filename"]
    if len(filename) > FILENAME_CHARACTERS_MAX or not filename.isprintable():
        raise GatewayError("invalid_value", f"the filename of '{name}' is too long or not printable", param=name)
    kind = headers.get("content-type", OCTETS)
    if not MEDIA_TYPE.fullmatch(kind):
        raise GatewayError("invalid_value", f"the content type of '{name}' is not one", param=name)
    return name, Upload(filename, kind, data), data


def _headers(block: bytes) -> dict[str, str]:
    found: dict[str, str] = {}
    try:
        lines = block.decode().split("\r\n") if block else []
    except UnicodeDecodeError:
        raise broken("the headers of a part are not UTF-8") from None
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name or name.lower() in found or "\n" in line or "\r" in line:
            raise broken("a header of a part is not one, or is given twice")
        found[name.lower()] = value.strip()
    return found


def _disposition(value: str) -> dict[str, str]:
    kind, _, parameters = value.partition(";")
    if kind.strip().lower() != "form-data":
        raise broken("a part is not form-data")
    found: dict[str, str] = {}
    for parameter in DISPOSITION.finditer(parameters):
        name = parameter[1].lower()
        if name in found:
            raise broken("a part is named twice")
        found[name] = parameter[2].replace('\\"', '"').replace("%22", '"') if parameter[3] is None else parameter[3]
    return found


def _add(fields: dict[str, str | list[str]], name: str, data: memoryview) -> None:
    """A field whose name ends with brackets may come several times and is a list; any other is itself."""
    try:
        text = str(data, "utf-8")
    except UnicodeDecodeError:
        raise GatewayError("invalid_encoding", f"'{name}' is not UTF-8", param=name) from None
    if name == FILE:
        raise GatewayError("invalid_type", "'file' must be a file: give it a filename", param=name)
    if name.endswith("[]"):
        known = fields.setdefault(name, [])
        assert isinstance(known, list)
        known.append(text)
    elif name in fields:
        raise GatewayError("invalid_value", f"'{name}' is given twice", param=name)
    else:
        fields[name] = text


def broken(why: str) -> GatewayError:
    return GatewayError("invalid_encoding", f"the form is not valid multipart/form-data: {why}")


def json_bytes(texts: bytes, upload: Upload) -> int:
    """How long the JSON will be, at least."""
    return len(texts) + -(-len(upload.data) // 3) * 4


async def to_json(texts: bytes, upload: Upload) -> bytes:
    """The object of the texts with `file` in it."""
    about = msgspec.json.encode({"filename": upload.filename, "content_type": upload.content_type})
    parts = [texts[:-1], b"," if len(texts) > 2 else b"", b'"file":', about[:-1], b',"data":"']
    for start in range(0, len(upload.data), SLICE_BYTES):
        parts.append(binascii.b2a_base64(upload.data[start : start + SLICE_BYTES], newline=False))
        if start:
            await asyncio.sleep(0)
    parts.append(b'"}}')
    return await asyncio.to_thread(b"".join, parts) if len(upload.data) > SLICE_BYTES else b"".join(parts)
