"""Where links lead that do not say it plainly: Markdown and HTML undo escapes and entities, and browsers leave signs out."""

import re
from collections.abc import Iterator
from html import unescape

from llmproxy.shield.links import ESCAPED_SIGN, URL_CHARS_MAX

_ANY = f"{{1,{URL_CHARS_MAX}}}+"
_PLACE = rf"\s{{0,8}}+(?:<([^<>\n]{_ANY})>?|([^\s<>()]{_ANY}))"
LINK = re.compile(rf"\](?=\({_PLACE})")  # What follows may be the next one.
DEFINITION = re.compile(
    rf"^(?:[ \t>]|(?:[-*+]|\d{{1,9}}[.)])[ \t])*+\[[^\[\]\n]{{1,100}}\]:{_PLACE}(?=\s*+(?:$|[\"'(]))", re.MULTILINE
)
ATTRIBUTE = re.compile(
    rf"(?:href|action|ping)\s{{0,8}}+=\s{{0,8}}+(?:\"([^\"]{_ANY})|'([^']{_ANY})|([^\s\"'<>]{_ANY}))", re.IGNORECASE
)
"""Those that are followed when somebody clicks."""

ANGLED = re.compile(rf"<([a-zA-Z][a-zA-Z0-9+.-]{{1,30}}:[^\s<>]{_ANY})>")
ATTRIBUTES = ("href", "action", "ping")

LEADS = re.compile(r"[a-z][a-z0-9+.-]{1,30}:|[/\\]{2}", re.IGNORECASE)
SIGNS = re.compile(r"[:&/\\]")  # One of them is in whatever leads elsewhere.
PLAIN = re.compile(r"[a-z]{2,10}://", re.IGNORECASE)
"""What is found wherever it stands."""

LEFT_OUT = re.compile(r"[\x00-\x20\x7f]+")


def may_lead(text: str) -> bool:
    """A quick look."""
    return next(_forms(text), None) is not None


def targets(text: str) -> Iterator[str]:
    """As a browser gets them."""
    known: set[int] = set()  # Places: what stands in angles may be a link's.
    for form in _forms(text):
        for found in form.finditer(text):
            written, place = found[found.lastindex or 0], found.start(found.lastindex or 0)
            if place in known:
                continue
            known.add(place)
            if SIGNS.search(written) is not None and PLAIN.match(written) is None:
                target = LEFT_OUT.sub("", unescape(written))
                if any(LEADS.match(one) for one in (target, ESCAPED_SIGN.sub(r"\1", target))):
                    yield target


def _forms(text: str) -> Iterator[re.Pattern[str]]:
    """Of which there may be any."""
    if "](" in text:
        yield LINK
    if "]:" in text:
        yield DEFINITION
    if "<" in text and ":" in text:
        yield ANGLED
    if "=" in text:
        lower = text.lower()
        if any(name in lower for name in ATTRIBUTES):
            yield ATTRIBUTE
