"""The signed head: what makes a truncated or wholly rewritten ledger visible to somebody who kept a copy.

A checkpoint is a signed note (https://c2sp.org/signed-note) whose text has the three lines of a transparency log's checkpoint:
origin, number of entries, base64 of the head's hash. The public key is kept in the note format's own "vkey" spelling.
"""

import base64
import binascii
import hashlib
import os
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from llmproxy.audit.ledger import Head

ORIGIN = "llmproxy-ledger/v1"
PRUNED_ORIGIN = "llmproxy-ledger-pruned/v1"
"""Another text: signed heads are published, and none of them is leave to delete."""
KEY_NAME = "llmproxy-ledger"
ED25519 = b"\x01"  # The signature type of the note format.
MARK = "\u2014 "  # An em dash and a space begin a signature line.
FILE = "checkpoint"
SECRET_FILE = "signing.key"  # noqa: S105 - a file name
PUBLIC_FILE = "signing.pub"
CHECKPOINT_BYTES_MAX = 4_096


class CheckpointError(Exception):
    """The checkpoint or its key cannot be used. The message names the file and what is wrong with it."""


class Signer:
    """Signs heads with one Ed25519 key."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public = key.public_key()

    def sign(self, head: Head) -> tuple[str, str]:
        """The whole note, and its signature alone (base64)."""
        text = _text(head)
        signature = _key_hash(self.public) + self._key.sign(text.encode())
        encoded = base64.b64encode(signature).decode()
        return f"{text}\n{MARK}{KEY_NAME} {encoded}\n", encoded

    def allow(self, last: Head) -> str:
        """The signature (base64) that says that the entries up to this one may be gone."""
        return base64.b64encode(self._key.sign(_text(last, PRUNED_ORIGIN).encode())).decode()


def is_allowed(last: Head, signature: str, public: Ed25519PublicKey) -> bool:
    """Whether this key has said so."""
    try:
        public.verify(_decode(signature), _text(last, PRUNED_ORIGIN).encode())
    except (InvalidSignature, ValueError):
        return False
    return True


def vkey(public: Ed25519PublicKey) -> str:
    """The public key as the note format writes it: name, key hash, type and key."""
    return f"{KEY_NAME}+{_key_hash(public).hex()}+{base64.b64encode(ED25519 + public.public_bytes_raw()).decode()}"


def read_vkey(text: str) -> Ed25519PublicKey:
    """Raises ValueError."""
    name, _, rest = text.strip().partition("+")
    key_hash, _, encoded = rest.partition("+")
    raw = _decode(encoded)
    if name != KEY_NAME or raw[:1] != ED25519:
        raise ValueError("not an Ed25519 key of this ledger")
    public = Ed25519PublicKey.from_public_bytes(raw[1:])
    if _key_hash(public).hex() != key_hash:
        raise ValueError("its key hash is wrong")
    return public


def read_note(note: str, public: Ed25519PublicKey) -> Head:
    """The head that was signed. Raises ValueError when the note is malformed or the signature is not this key's."""
    text, separator, line = note.partition("\n\n")
    prefix = f"{MARK}{KEY_NAME} "
    if not separator or not line.startswith(prefix) or not line.endswith("\n"):
        raise ValueError("it is not a signed note of this ledger")
    signature = _decode(line[len(prefix) : -1])
    if signature[:4] != _key_hash(public):
        raise ValueError("it was signed with another key")
    try:
        public.verify(signature[4:], f"{text}\n".encode())
    except InvalidSignature:
        raise ValueError("its signature is not good: it was changed") from None
    return _head(text)


def _text(head: Head, origin: str = ORIGIN) -> str:
    return f"{origin}\n{head.seq}\n{base64.b64encode(head.hash).decode()}\n"


def _head(text: str) -> Head:
    origin, _, rest = text.partition("\n")
    size, _, encoded = rest.partition("\n")
    if origin != ORIGIN or not (size.isascii() and size.isdigit()):
        raise ValueError("its text is not a checkpoint of this ledger")
    return Head(int(size), _decode(encoded))


def _decode(encoded: str) -> bytes:
    """One spelling only: Python's decoder alone ignores the unused bits at the end."""
    raw = base64.b64decode(encoded, validate=True)
    if base64.b64encode(raw).decode() != encoded:
        raise ValueError("it has base64 that is not canonical")
    return raw


def _key_hash(public: Ed25519PublicKey) -> bytes:
    return hashlib.sha256(KEY_NAME.encode() + b"\n" + ED25519 + public.public_bytes_raw()).digest()[:4]


# Files.


def find_signer(folder: Path) -> Signer | None:
    """The key in `folder`; its public half is written beside it. None when there is no key. Raises CheckpointError."""
    path = folder / SECRET_FILE
    try:
        signer = Signer(Ed25519PrivateKey.from_private_bytes(path.read_bytes()))
    except FileNotFoundError:
        return None
    except ValueError:
        raise CheckpointError(f"{path} is not an Ed25519 key; restore it from a backup") from None
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {type(error).__name__}") from None
    write(folder / PUBLIC_FILE, vkey(signer.public) + "\n")
    return signer


def open_signer(folder: Path) -> Signer:
    """The same, of a key that is made when there is none. Raises CheckpointError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / SECRET_FILE
    if not path.exists():
        _create_once(path, Ed25519PrivateKey.generate().private_bytes_raw())
    signer = find_signer(folder)
    if signer is None:
        raise CheckpointError(f"{path} was there and is gone; restore it from a backup")
    return signer


def set_aside(folder: Path, name: str) -> Path | None:
    """Moves the key and the checkpoint into a folder of their own beside them: evidence is kept. None when there was nothing."""
    kept = [path for path in (folder / one for one in (FILE, SECRET_FILE, PUBLIC_FILE)) if path.exists()]
    if not kept:
        return None
    aside = folder / name
    aside.mkdir(mode=0o700)
    for path in kept:
        path.replace(aside / path.name)
    return aside


def read(path: Path, public: Ed25519PublicKey) -> Head | None:
    """The signed head; None when there is no checkpoint. Raises CheckpointError."""
    try:
        with path.open("rb") as file:
            note = file.read(CHECKPOINT_BYTES_MAX).decode()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path} cannot be read: {type(error).__name__}") from None
    try:
        return read_note(note, public)
    except (ValueError, binascii.Error) as error:
        raise CheckpointError(f"{path}: {error}") from None


def read_public(path: Path) -> Ed25519PublicKey:
    """Raises CheckpointError."""
    try:
        return read_vkey(path.read_text())
    except FileNotFoundError:
        raise CheckpointError(
            f"{path} is not there; name the folder in which the audit service keeps its key"
        ) from None
    except (OSError, ValueError, binascii.Error) as error:
        raise CheckpointError(f"{path} is not a public key of a ledger: {error}") from None


def write(path: Path, text: str) -> None:
    """Whole or not at all, on disk when it returns."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _create_once(path: Path, content: bytes) -> None:
    """If two instances start at once, both end up with the same key."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(fd)
    try:
        os.link(temporary, path)
    except FileExistsError:
        pass
    finally:
        temporary.unlink()
