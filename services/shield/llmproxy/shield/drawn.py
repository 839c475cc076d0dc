"""Whether a value was drawn by a machine, chosen by a person, or says where a secret goes."""

import re
from collections import Counter
from math import log2


def entropy_bits(text: str) -> float:
    """Shannon entropy for each character."""
    counts = Counter(text)
    return -sum(count / len(text) * log2(count / len(text)) for count in counts.values())


SAID = (
    *("<", ">", "{", "}", "%(", "***", "...", "xxxx", "redacted", "placeholder", "changeme", "change_me"),
    *("your_", "your-", "example_", "process.env", "environ", "getenv", "settings.", "config.", "secret.", "secrets."),
    *("self.", "this.", "undefined", "required", "optional", "string"),
)
CUES = ("$", "%", "my", "_here", "null", "none", "true", "false", "[", "op://", "ref+")
CUED = re.compile(
    r"^\$[A-Z_]|\$[{(]|%[A-Z_]{3,}%|my[_-]?(?:pass|secret|token|key|api)|_here\b|null\b|none\b|true\b|false\b|\[[A-Z_]+_"
    r"|^op://|^enc\[|^ref\+",
    re.IGNORECASE,
)
"""What stands behind a cue. Of all these words as one expression the cues are sought first: it would take a microsecond for each character."""

SMALL = str.maketrans("\u0130\u0131\u017f\u212a", "iisk")
"""What an expression takes for small letters of ASCII, too, whatever case they have."""


def is_stand_in(value: str) -> bool:
    """Something that says where the secret goes, not the secret."""
    return says_where(value) or len(set(value)) < 5


def says_where(value: str) -> bool:
    """By a word or a sign in it."""
    small = (value if value.isascii() else value.translate(SMALL)).lower()
    return any(map(small.__contains__, SAID)) or (any(map(small.__contains__, CUES)) and CUED.search(value) is not None)


TURNS_MIN = 6
DIGITS_MIN = 30  # Of a number without a letter that somebody calls a key.
MIXED = re.compile(r"(?=[A-Za-z]*\d)(?=\d*[A-Za-z])[A-Za-z0-9]{8,}|[A-Za-z]\d[A-Za-z]\d|\d{30,}", re.ASCII)
WORDY = re.compile(
    r"[A-Z]?[a-z]{2,15}\d{0,4}|OAuth\d?|(?:[Ee]d|[Xx]|[Cc]urve)25519|[A-Z]{2,12}\d{0,4}|\d{1,8}|[a-zA-Z]?"
)
API_VERSION = re.compile(r"(?<![A-Za-z0-9])v\d{1,2}(?:alpha|beta)\d{1,2}(?![A-Za-z0-9])")
PARTS = re.compile(r"[-_./:+=@#]+")
CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
CAMEL_BYTES = re.compile(rb"[a-z0-9][A-Z]")


def is_drawn(value: str) -> bool:
    """Whether a machine drew it: letters and digits mixed as in no name, path, version, date or call."""
    if entropy_bits(value) < 3.0 or "(" in value or "://" in value or is_stand_in(value):
        return False
    if value.count("/") + value.count(".") > max(4, len(value) // 12):
        return False
    if all(WORDY.fullmatch(word) for part in PARTS.split(value) for word in CAMEL.split(part)):
        return False
    return MIXED.search(API_VERSION.sub("", value)) is not None or turns(value) >= TURNS_MIN


def turns(value: str) -> int:
    """How often the case changes from small to capital: never six times in sixteen letters of a name."""
    return len(CAMEL.findall(value))
