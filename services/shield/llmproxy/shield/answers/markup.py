"""What a tag of HTML or a rule of a style sheet fetches or runs as soon as it is shown, however it is written.

Nothing here says which of two readings a browser takes: all are looked at, and one that leads away is enough.
"""

import re
from collections.abc import Callable, Iterator
from html import unescape
from typing import NamedTuple

from llmproxy.common.answers import Links
from llmproxy.shield.answers.asked import Asked
from llmproxy.shield.answers.bodies import SCRIPT_OPENS
from llmproxy.shield.links import image_reason, is_within, parsed

NAME = r"[a-zA-Z][a-zA-Z0-9_-]{0,31}+(?::[a-zA-Z][a-zA-Z0-9_-]{0,31}+)?"
_VALUES = r"=\s*+(?:\"[^\"]*+\"|'[^']*+')|=(?!\s*+[\"'])"
_SIGN = r"[^<>=]|<(?![a-zA-Z])"
TAG = re.compile(rf"<{NAME}(?=[\s/>])(?:{_SIGN}|{_VALUES})*+(?:>|(?=<))")
"""As browsers take it: only behind `=` does a quotation mark begin a value. Another tag that begins ends it, too; a `<` alone is an attribute."""

TAG_BEGUN = re.compile(
    rf"<(?:(?:[a-zA-Z][a-zA-Z0-9_:-]{{0,64}})?|{NAME}(?=[\s/])(?:{_SIGN}|{_VALUES}|=\s*+(?:\"[^\"]*+|'[^']*+)?\Z)*+)\Z"
)
TAG_CHARS_MAX = 1_024
"""Of one whose name says nothing. What goes on behind that gets another sign in place of its first: then it is a tag nowhere."""

DEFUSED = "&lt;"

ADDRESS = re.compile(
    r"(?:(?:https?|ftp|wss?):[/\\]*|(?:[a-zA-Z][a-zA-Z0-9+.-]{0,11}:)?[/\\]{2})[^\s\"'<>`)]+", re.IGNORECASE
)
UNSEEN = re.compile(r"[\t\r\n]+")
STYLE_ESCAPE = re.compile(r"\\([0-9a-fA-F]{1,6})\s?|\\([^\r\n])")
"""https://www.w3.org/TR/css-syntax-3/#escaping"""

RUNS = re.compile(
    r"[\s/\"']on[a-zA-Z]{3,32}\s*+=|[=(\"']\s*+(?:javascript|vbscript)\s*+:|<script(?=[\s/>])", re.IGNORECASE
)
SENDS = re.compile(
    r"fetch|XMLHttp|beacon|\.src|\blocation|import\s*+\(|open\s*+\(|socket|EventSource|eval|atob|Function|charcode|cookie|document\.write|innerHTML|insertAdjacent"
    r"|setAttribute|postMessage|\.submit\b|createElement|new\s++Image|constructor|decodeURI|\bself\b|\btop\b|\bwindow\s*+\[|\]\s*+\(|\]\s*+\[|\\x|\\u",
    re.IGNORECASE,
)
"""With what a script can send something, or hide that it does. `alert(1)`, as every text about the subject has it, cannot."""

IS_CODE = re.compile(
    r"[=\\]|[\w\])][(\[]|(?:fetch|open|eval|import|atob|Function|Image|beacon|[sS]ocket|EventSource)\s++\("
)
"""As a sentence that names a script does not have it."""

CODED = re.compile(r"#(\d{1,7}|[a-zA-Z]{2,31});")
"""How Mermaid writes a sign by its code: https://mermaid.js.org/syntax/flowchart.html#entity-codes-to-escape-characters"""

HIDES = "<!--"  # In a script: behind it, an end of the script may be none.

DOCUMENT = re.compile(
    r"[=(\"']\s*+data\s*+:\s*+(?:text/(?:html|xml|javascript)|application/(?:xhtml|xml|(?:x-)?javascript))",
    re.IGNORECASE,
)
"""A page of its own, whose text may be encoded: what it fetches cannot be seen from here."""

PICTURE_AS_PAGE = re.compile(
    r"<(?:iframe|frame|object|embed|use|portal)(?=[\s/>]).*?data\s*+:\s*+image/svg", re.IGNORECASE | re.DOTALL
)
SENDING = re.compile(r"<form(?=[\s/>])|[\s/\"']formaction\s*+=", re.IGNORECASE)
BASE = re.compile(r"<base(?=[\s/>])", re.IGNORECASE)
REFRESH = re.compile(r"<meta(?=[\s/>]).*?\brefresh\b", re.IGNORECASE | re.DOTALL)

WANTED = re.compile(
    r"\bhtml|\bcss\b|\bsvg\b|\bxml\b|javascript|typescript|\bjs\b|\bjsx\b|\btsx\b|\breact|\bvue\b|angular|svelte|\bweb|\bsites?\b|browser|front-?end"
    r"|\bdom\b|\btags?\b|stylesheet|\bscripts?\b|\bcod(?:e|er|ing)\b|programm|developer|software|\bxss\b|sanitiz|iframe|\bon(?:click|load|error)\b|<[a-zA-Z]+[\s/>]",
    re.IGNORECASE,
)
"""Words of a caller whom markup that runs something does not surprise."""

STEMS = (
    *(
        "html",
        "css",
        "svg",
        "xml",
        "javascript",
        "typescript",
        "js",
        "tsx",
        "react",
        "vue",
        "angular",
        "svelte",
        "web",
        "site",
    ),
    *("browser", "front", "dom", "tag", "stylesheet", "script", "cod", "programm", "developer", "software", "xss"),
    *("sanitiz", "iframe", "onclick", "onload", "onerror", "<"),
)
"""What each of them begins with: to look for these takes a twentieth of the time."""


class Judge(NamedTuple):
    """`is_known`: whether the user or the operator names a host; `wants_markup`: whether they talk of markup at all."""

    links: Links
    is_known: Callable[[str], bool]
    wants_markup: Callable[[], bool]

    def of_tag(self, tag: str) -> str:
        """Why a tag is suspicious; "" when it is not."""
        if "=" not in tag and "![" not in tag:  # Without an attribute that has a value, it does nothing.
            return ""
        read = unescape(tag)
        found = self.of_addresses(read)
        if found:
            return found
        if BASE.match(read) is not None and self._leads_away(read):
            return "base"  # Every address behind it that names no host leads there.
        if REFRESH.match(read) is not None and self._leads_away(read):
            return "redirect"
        joined = UNSEEN.sub("", read)
        if DOCUMENT.search(joined) is not None or PICTURE_AS_PAGE.match(joined) is not None:
            return "script"
        if any(RUNS.search(one) is not None and _may_send(one) for one in (read, joined)):
            return "" if self.wants_markup() else "script"
        if SCRIPT_OPENS.match(read) is not None and self._leads_away(read):
            return "" if self.wants_markup() else "script"
        if SENDING.search(read) is not None and self._leads_away(read):
            return "" if self.wants_markup() else "form"
        return ""

    def of_script(self, text: str) -> str:
        """Of the text of a script."""
        if found := self.of_addresses(text):
            return found
        if HIDES in text or (SENDS.search(text) is not None and IS_CODE.search(text) is not None):
            return "" if self.wants_markup() else "script"
        return ""

    def of_drawing(self, text: str) -> str:
        """Of a line of a diagram, whose pictures and styles are fetched as those of a page are."""
        return self.of_addresses(unescape(CODED.sub(_coded, text)))

    def of_addresses(self, text: str) -> str:
        return next((found for url in addresses(text) if (found := image_reason(url, self.links, self.is_known))), "")

    def _leads_away(self, text: str) -> bool:
        return any(self._is_strange(url) for url in addresses(text))

    def _is_strange(self, url: str) -> bool:
        address = parsed(url)
        if address is None or not address.host:
            return False
        return not (is_within(address.host, self.links.allowed) or self.is_known(address.host))


def _coded(match: re.Match[str]) -> str:
    return f"&#{match[1]};" if match[1].isdecimal() else f"&{match[1]};"


def _may_send(handler: str) -> bool:
    """A quotation of several parts can make any name in the little that an attribute holds."""
    return SENDS.search(handler) is not None or "`" in handler


def addresses(text: str) -> Iterator[str]:
    """In every reading: with what browsers leave out, with a style sheet's escapes undone, and as one of a list."""
    for reading in dict.fromkeys(_readings(text)):
        for url in ADDRESS.findall(reading):
            yield url
            if "," in url:
                yield url.partition(",")[0]


def _readings(text: str) -> Iterator[str]:
    yield text
    joined = UNSEEN.sub("", text)
    yield joined
    if "\\" in text:
        yield STYLE_ESCAPE.sub(_style_escape, text)
        yield STYLE_ESCAPE.sub(_style_escape, joined)


def _style_escape(match: re.Match[str]) -> str:
    if match[2]:
        return match[2]
    code = int(match[1], 16)
    return chr(code) if 0 < code <= 0x10FFFF and not 0xD800 <= code < 0xE000 else "\ufffd"


def wants_markup(request: Asked) -> bool:
    """What a tool has returned asks for nothing."""
    return any(map(_wants_markup, (request.users, request.system)))


def _wants_markup(text: str) -> bool:
    low = text.lower()
    return any(stem in low for stem in STEMS) and WANTED.search(low) is not None
