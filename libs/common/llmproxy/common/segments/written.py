"""How JSON writes texts and numbers: its tokens, its escapes, and what they mean."""

import re
from json import loads

STRING = r'"[^"\\]*(?:\\.[^"\\]*)*"'
TOKEN = re.compile(rf"{STRING}|[{{}}\[\]]|[^\s{{}}\[\],:\"]+", re.DOTALL)
ESCAPE = re.compile(r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|.)", re.DOTALL)


def unescape(written: str) -> str:
    """The text of a JSON string's inside; what cannot be decoded is left as it is written."""
    if "\\" not in written:
        return written
    try:
        return str(loads(f'"{written}"', strict=False))
    except ValueError:
        return written


def escapes(raw: str) -> tuple[list[int], list[int]]:
    """The decoded places of the escapes, and how many characters longer the first n of them are than what they mean."""
    places: list[int] = []
    extras = [0]
    for escape in ESCAPE.finditer(raw):
        places.append(escape.start() - extras[-1])
        extras.append(extras[-1] + len(escape[0]) - 1)
    return places, extras


def digits(value: float) -> str:
    return str(value) if isinstance(value, int) or abs(value) >= 1e22 else format(value, ".0f")


def plain_digits(written: str) -> str:
    """A number without exponent and fraction, however it is written."""
    return written if written.lstrip("-").isdecimal() else digits(float(written))
