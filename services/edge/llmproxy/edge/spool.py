"""Audit batches that JetStream has not taken yet, on disk and bounded, in the order in which they were written."""

import errno
import fcntl
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
from msgspec import Struct

from llmproxy.common.bus import UNREADABLE
from llmproxy.common.records import AuditBatch

SUFFIX = ".spool"
READ_BYTES = 1 << 20

log = logging.getLogger(__name__)


class Spooled(Struct, frozen=True):
    """One batch as it will be committed; the id is what keeps a second commit from counting twice."""

    tenant: str
    message_id: str
    batch: AuditBatch


class Spool:
    """One file of one process, locked, so that a successor can tell a live spool from an abandoned one.

    Every method blocks on the disk: call them from a thread, one at a time.
    """

    def __init__(self, folder: Path, name: str, bytes_max: int) -> None:
        self._folder, self._bytes_max = folder, bytes_max
        self._decoder = msgspec.json.Decoder(Spooled)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path = folder / f"{name}{SUFFIX}"
        self._file = self._open(self._path, fcntl.LOCK_EX)
        self.bytes = 0
        self._adopt()

    def append(self, spooled: Spooled) -> bool:
        """False when the spool is full. Raises OSError, and then nothing of this batch is in the file."""
        return self._append(msgspec.json.encode(spooled) + b"\n")

    def read(self, offset: int, bytes_max: int = READ_BYTES) -> tuple[list[Spooled], int]:
        """The batches from a byte offset, at least one if there is one, and the offset after them."""
        data = os.pread(self._file, bytes_max, offset)
        whole = data.rfind(b"\n") + 1
        if not whole and len(data) == bytes_max:
            return self.read(offset, bytes_max * 2)
        found = [one for line in data[:whole].splitlines() for one in self._decode(line)]
        return found, offset + whole

    def clear(self) -> None:
        os.ftruncate(self._file, 0)
        self.bytes = 0

    def close(self) -> None:
        """An empty file goes; a full one waits for the next process."""
        if self.bytes == 0:
            self._path.unlink(missing_ok=True)
        os.close(self._file)

    def _append(self, lines: bytes) -> bool:
        if self.bytes + len(lines) > self._bytes_max:
            return False
        try:
            written = os.pwrite(self._file, lines, self.bytes)
            if written != len(lines):
                raise OSError(errno.ENOSPC, "the disk took a part")
        except OSError:
            os.ftruncate(self._file, self.bytes)
            raise
        self.bytes += len(lines)
        return True

    def _decode(self, line: bytes) -> Iterator[Spooled]:
        try:
            yield self._decoder.decode(line)
        except UNREADABLE:
            log.error("a line of the audit spool does not decode; skipped")

    def _adopt(self) -> None:
        """Takes over what dead processes left, oldest first, before anything of our own; what does not fit stays theirs."""
        others = [path for path in self._folder.glob(f"*{SUFFIX}") if path != self._path]
        for path in sorted(others, key=_changed_at):
            try:
                self._adopt_one(path)
            except BlockingIOError:
                continue  # Its process lives.
            except OSError as error:  # We are to serve all the same; whoever starts next tries again.
                log.error("an audit spool that was left cannot be taken over: %s", error.strerror)

    def _adopt_one(self, path: Path) -> None:
        file = self._open(path, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            left = path.read_bytes()
            if self._append(left[: left.rfind(b"\n") + 1]):
                path.unlink()
        finally:
            os.close(file)

    def _open(self, path: Path, lock: int) -> int:
        """A locked descriptor of the file of that name. Raises OSError: BlockingIOError when another process has it and we do not wait."""
        while True:
            file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(file, lock)
            except OSError:
                os.close(file)
                raise
            if _is_named(file, path):
                return file
            os.close(file)  # Who had it has adopted and removed it meanwhile.


def _is_named(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


def _changed_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0  # Somebody else has just adopted it.
