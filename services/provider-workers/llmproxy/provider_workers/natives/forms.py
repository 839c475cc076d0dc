"""A JSON body as a multipart form: what the edge made of a caller's form becomes one again.

A file is an object with `data` (base64), `filename` and `content_type`; a list is a field that is repeated.
https://www.rfc-editor.org/rfc/rfc7578
"""

import binascii
import hashlib
import re
from base64 import b64decode
from collections.abc import Mapping

import msgspec
from msgspec import Raw, Struct

from llmproxy.provider_workers.reading import UNREADABLE, invalid, printable

MEDIA_TYPE = re.compile(r"[\w.+-]{1,100}/[\w.+-]{1,100}(?:; ?[\w.+-]{1,40}=[\w.+-]{1,100})*", re.ASCII)
FILENAME_CHARS_MAX = 255


class File(Struct, frozen=True):
    data: str
    filename: str = "file"
    content_type: str = "application/octet-stream"


FILE = msgspec.json.Decoder(File)
LIST = msgspec.json.Decoder(list[Raw])
TEXT = msgspec.json.Decoder(str)


def has_file(value: Raw) -> bool:
    """Whether it is a file, or a list that begins with one."""
    try:
        if bytes(value)[:1] == b"[":
            return any(has_file(one) for one in LIST.decode(value)[:1])
        FILE.decode(value)
    except UNREADABLE:
        return False
    return True


def form(fields: Mapping[str, Raw]) -> tuple[str, bytes]:
    """(content type, body). The boundary is a hash of what it bounds, so that the same form is the same bytes."""
    parts = [part for name, value in fields.items() for part in _parts(name, value)]
    digest = hashlib.sha256()
    for _, content in parts:
        digest.update(content)
    boundary = b"llmproxy-" + digest.hexdigest()[:32].encode()
    body = b"".join(b"--%s\r\n%s\r\n\r\n%s\r\n" % (boundary, head, content) for head, content in parts)
    return f"multipart/form-data; boundary={boundary.decode()}", body + b"--%s--\r\n" % boundary


def _parts(name: str, value: Raw) -> list[tuple[bytes, bytes]]:
    """(head, content) of each part of a field."""
    match bytes(value)[:1]:
        case b"[":
            return [part for one in LIST.decode(value) for part in _parts(name, one)]
        case b"{" if has_file(value):
            return [_file(name, FILE.decode(value))]
        case b'"':
            content = TEXT.decode(value).encode()
        case b"n":
            return []  # null: a form has no word for it but silence.
        case _:
            content = bytes(value)
    return [(b'content-disposition: form-data; name="%s"' % _quoted(name), content)]


def _file(name: str, file: File) -> tuple[bytes, bytes]:
    try:
        content = b64decode(file.data, validate=True)
    except binascii.Error:
        raise invalid(f"{printable(name, 40)}.data", "must be base64") from None
    kind = file.content_type if MEDIA_TYPE.fullmatch(file.content_type) else "application/octet-stream"
    head = b'content-disposition: form-data; name="%s"; filename="%s"\r\ncontent-type: %s'
    return head % (_quoted(name), _quoted(file.filename[-FILENAME_CHARS_MAX:]), kind.encode()), content


def _quoted(name: str) -> bytes:
    """As browsers write it; a line end would begin another header.
    https://html.spec.whatwg.org/multipage/form-control-infrastructure.html#multipart-form-data
    """
    quoted = name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
    return "".join(char for char in quoted if char.isprintable()).encode(errors="replace")
