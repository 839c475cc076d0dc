"""The log files of child processes: bounded by size, and followed on the terminal when asked for."""

import os
from pathlib import Path

LOG_BYTES_MAX = 16 << 20  # Of each file; one older file of the same size is kept.
FOLLOW_BYTES_MAX = 1 << 20  # Of one file in one step.
TAIL_BYTES_MAX = 64 << 10


def rotate(folder: Path, bytes_max: int = LOG_BYTES_MAX) -> None:
    """Copies a file that has grown too large to `.1` and empties it. Its writer has it open for appending and goes on at
    the new end, so nobody is told and nobody is blocked; a line written in between may be lost."""
    for path in folder.glob("*.log"):
        if path.stat().st_size > bytes_max:
            _copy_and_empty(path, path.with_name(path.name + ".1"))


def _copy_and_empty(path: Path, older: Path) -> None:
    fd = os.open(older, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(fd, "wb") as target, path.open("rb") as source:
        while block := source.read(1 << 20):
            target.write(block)
    os.truncate(path, 0)


def sizes(folder: Path) -> dict[Path, int]:
    """How long each file is: what is written from now on begins there."""
    return {path: path.stat().st_size for path in folder.glob("*.log")}


def tail(path: Path, lines: int, since: int = 0) -> list[str]:
    """The last lines, for an error message, of what was written since the file was so long; it may have been emptied meanwhile."""
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            file.seek(max(since if since <= size else 0, size - TAIL_BYTES_MAX))
            return file.read().decode(errors="replace").splitlines()[-lines:]
    except OSError:
        return []


class Follower:
    """What was added to the files of a folder since the last look, as lines with the file's name in front."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen = sizes(folder)

    def new_lines(self) -> list[str]:
        lines: list[str] = []
        for path in sorted(self._folder.glob("*.log")):
            lines += [f"{path.stem:>20} | {line}" for line in self._read(path)]
        return lines

    def _read(self, path: Path) -> list[str]:
        start, size = self._seen.get(path, 0), path.stat().st_size
        if size < start:
            start = 0  # It was emptied.
        with path.open("rb") as file:
            file.seek(start)
            block = file.read(FOLLOW_BYTES_MAX)
        whole, newline, _ = block.rpartition(b"\n")
        if not newline and len(block) < FOLLOW_BYTES_MAX:
            return []  # An unfinished line: next time.
        self._seen[path] = start + (len(whole) + 1 if newline else len(block))
        return (whole if newline else block).decode(errors="replace").split("\n")
