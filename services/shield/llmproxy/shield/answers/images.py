r"""Takes images out of an answer whose addresses may carry something away: they are fetched as soon as they are shown.

Held back is only what may become an image: from `![` or the tag to the end of its address, within bounds. What a text ends in the
middle of may go on in the next one, if readers put them together: it is said, and remembered.
"""

import re
from collections.abc import Callable, Iterable
from copy import copy
from html import unescape

from llmproxy.common.answers import Links
from llmproxy.shield import look
from llmproxy.shield.answers import markup
from llmproxy.shield.answers.bodies import SCRIPT_OPENS, STYLE_OPENS, Body, drawing, script, style
from llmproxy.shield.answers.fences import Fences
from llmproxy.shield.answers.markup import Judge
from llmproxy.shield.answers.stage import Report, seen
from llmproxy.shield.links import URL_CHARS_MAX, image_reason
from llmproxy.shield.look import Look
from llmproxy.shield.vault import redacted

KIND = "image"
ALT_CHARS_MAX, TITLE_CHARS_MAX, LABEL_CHARS_MAX, LABELS_MAX = 1_000, 300, 100, 64
TAG_CHARS_MAX = 4_096
HOST_CHARS_MAX = 512  # Of an address, with its scheme and a user before it: what is longer is none.
HELD_CHARS_MAX = ALT_CHARS_MAX + URL_CHARS_MAX + TITLE_CHARS_MAX + 64

_FLAT = r"[^\[\]\\]|\\."
_NESTED = rf"(?:{_FLAT}|\[(?:{_FLAT}|\[(?:{_FLAT}|\[(?:{_FLAT})*+\])*+\])*+\])"
_ALT = rf"{_NESTED}{{0,{HELD_CHARS_MAX}}}+"
_URL = rf"(?:<(?P<angled>[^<>\n]{{0,{URL_CHARS_MAX}}})>|(?P<url>[^\s<>)]{{0,{URL_CHARS_MAX}}}+))"
_TITLE = (
    "|".join(rf"{sign}[^{sign}]{{0,{TITLE_CHARS_MAX}}}+{sign}" for sign in ('"', "'"))
    + rf"|\([^)]{{0,{TITLE_CHARS_MAX}}}+\)"
)
IMAGE = re.compile(
    rf"!\[(?P<alt>{_ALT})\](?:\(\s{{0,8}}+{_URL}(?:\s{{1,8}}+(?:{_TITLE}))?\s{{0,8}}+\)|\[(?P<label>[^\[\]]{{0,{LABEL_CHARS_MAX}}})\]|(?![\[(])(?=[\s\S]))",
    re.DOTALL,
)
"""Inline, by reference, and by a reference that is its own text."""

_TITLE_BEGUN = (
    "|".join(rf"{sign}[^{sign}]{{0,{TITLE_CHARS_MAX}}}+(?:{sign}\s{{0,8}}+)?" for sign in ('"', "'"))
    + rf"|\([^)]{{0,{TITLE_CHARS_MAX}}}+(?:\)\s{{0,8}}+)?"
)
_URL_BEGUN = rf"(?:<[^<>\n]{{0,{URL_CHARS_MAX}}}+(?:>|\Z)|[^\s<>)]{{0,{URL_CHARS_MAX}}}+)"
_ALT_BEGUN = rf"(?:{_FLAT}|\[|\])"
BEGUN = re.compile(
    rf"!(?:\[(?:{_ALT}(?:\\)?\Z|(?:{_ALT_BEGUN}){{0,{HELD_CHARS_MAX}}}+\\?\Z(?<!\])|{_ALT}\](?:\(\s{{0,8}}+(?:{_URL_BEGUN}(?:\s{{1,8}}+(?:{_TITLE_BEGUN})?)?)?|\[[^\[\]]{{0,{LABEL_CHARS_MAX}}}+)?))?\Z",
    re.DOTALL,
)
CLOSED = re.compile(rf"!\[{_ALT}\]", re.DOTALL)
"""The text of an image as a whole."""

OVERLONG = re.compile(rf"!\[{_ALT}\]\(\s{{0,8}}+<?(?P<url>[^\s<>)]{{{URL_CHARS_MAX}}})", re.DOTALL)
UNUSUAL = re.compile(
    rf"!\[{_ALT}\]\(\s{{0,8}}+<?(?P<url>(?:[^\s<>)!]|!(?!\[)){{1,{URL_CHARS_MAX}}}+)(?=[\s>)]|(?P<another>!\[))",
    re.DOTALL,
)
"""What some renderer might take for an image: the address is there, and something odd behind it, or the next one in it."""

REST = re.compile(r"[^\s<>)]*>?\)?")

BEFORE_DEFINITION = re.compile(r"(?:[ \t>]|(?:[-*+]|\d{1,9}[.)])[ \t])*")
"""In a quotation or an item of a list, too, it holds for all of the text."""

DEFINITION = re.compile(
    rf"\[(?P<label>[^\[\]]{{1,{LABEL_CHARS_MAX}}})\]:[ \t]{{0,8}}+(?:\r\n?|\n)?[ \t]{{0,8}}+(?:<(?P<angled>[^<>\r\n]{{1,{URL_CHARS_MAX}}}+)>|<?(?P<url>[^\s<>]{{1,{URL_CHARS_MAX}}}+)(?=[\s>]))"
)
DEFINITION_BEGUN = re.compile(
    rf"\[(?:[^\[\]]{{0,{LABEL_CHARS_MAX}}}+(?:\](?::[ \t]{{0,8}}+(?:\r\n?|\n)?[ \t]{{0,8}}+(?:<[^<>\r\n]{{0,{URL_CHARS_MAX}}}+|[^\s<>]{{0,{URL_CHARS_MAX}}}+)?)?)?)?\Z"
)

TAGS = "img|image|iframe|frame|video|audio|source|track|embed|object|link|script|input|svg|use|body|table|td|meta|picture|div|span|p"
LISTED = re.compile(rf"<(?:{TAGS})(?=[\s/\"'>])", re.IGNORECASE)
"""Tags that are read to a greater length than others, and in which a quotation mark may begin a value anywhere."""

TAG = re.compile(rf"{LISTED.pattern}(?:[^>\"']|\"[^\"]*+\"|'[^']*+'){{0,{TAG_CHARS_MAX}}}+>", re.IGNORECASE)
TAG_BEGUN = re.compile(
    rf"{LISTED.pattern}(?:[^>\"']|\"[^\"]*+(?:\"|\Z)|'[^']*+(?:'|\Z)){{0,{TAG_CHARS_MAX}}}+\Z", re.IGNORECASE
)

_OTHERS = r"(?=\s)(?:[^<>\"'=]|=(?!\s*+[\"'])|=\s*+(?:\"[^\"]*+\"|'[^']*+'))*?\s"
_BASE64, _LINES = r"[A-Za-z0-9+/=]*+", r"[A-Za-z0-9\s,.+-]*+"
PICTURE = re.compile(
    rf"(?P<opened><img{_OTHERS}src\s*+=\s*+[\"']data:image/(?:png|jpe?g|gif|webp|avif|bmp);base64,){_BASE64}\Z"
    rf"|(?P<drawn><(?:path|polygon|polyline){_OTHERS}(?:d|points)\s*+=\s*+[\"']){_LINES}\Z",
    re.IGNORECASE,
)
"""A picture that is in the text itself, or its lines, too long to be held. It is fetched from nowhere, and what it consists of ends no
value."""
PAYLOAD, LINES = re.compile(_BASE64), re.compile(_LINES)

DRAWN = re.compile(r"```[mM]ermaid(?![\w-])[^\n`]{0,80}\n")
DRAWN_BEGUN = re.compile(r"(?:`{1,3}|```[mM][^\n`]{0,88})\Z")
"""A fence whose text is shown as a diagram: https://mermaid.js.org"""

START = re.compile(r"!(?=\[|\Z)|<(?=[a-zA-Z]|\Z)|\[|`(?=`?\Z|``(?:[mM]|\Z))")


class Images:
    """One text, which may be shown as Markdown or HTML; or several, which `flush` parts."""

    __slots__ = (
        "_at_picture",
        "_begins",
        "_body",
        "_fences",
        "_is_resumed",
        "_is_swallowing",
        "_judge",
        "_links",
        "_pending",
        "_picture",
        "_read",
        "_report",
        "_suspicious",
        "_told",
        "_used",
        "_will_resume",
    )

    def __init__(
        self, links: Links, is_known: Callable[[str], bool], report: Report, wants_markup: Callable[[], bool]
    ) -> None:
        self._links, self._report = links, report
        self._judge = Judge(links, is_known, wants_markup)
        self._fences = Fences()
        self._pending = ""
        self._told = 0  # Characters at its beginning that the text before has ended with.
        self._read = 0  # Characters of the text so far,
        self._begins = 0  # and where in it that begins which is looked at.
        self._is_swallowing = False  # The rest of an address that is too long to be held.
        self._picture = ""  # The beginning of a tag, up to the picture in it that is being said.
        self._at_picture = 0  # Where in the text that tag begins.
        # What is looked at, or will be, begins with it, without the picture.
        self._is_resumed = self._will_resume = False
        self._body: Body | None = None  # Behind `<style>` or `<script>`: everything else that is said goes through it.
        self._used: set[str] = set()  # Labels of images whose addresses have not come yet.
        self._suspicious: dict[str, str] = {}  # Labels whose addresses have: why.

    @property
    def held(self) -> int:
        return len(self._pending) - self._told + (self._body.held if self._body is not None else 0)

    def push(self, piece: str) -> str:
        self._read += len(piece)
        is_amid = self._is_swallowing or self._picture or self._body is not None
        if not self._pending and not is_amid and START.search(piece) is None:
            self._fences.read(piece)
            return piece
        return self._embodied(self._through(self._pending + piece, is_over=False))

    def flush(self) -> str:
        """What comes behind it may go on with what was held back, if it is what readers put behind it: that is then read again."""
        before, body, fences = self._pending[: self._told], self._body, copy(self._fences)
        found = self._through(self._pending, is_over=True)
        said = self._embodied(found)
        opened, self._picture = self._picture, ""
        if self._body is not None:
            said += self._body.flush()
            self._body = body  # One that what was held back has opened is opened again by it.
        self._fences, self._is_swallowing = fences, False
        self._pending = opened or before + "".join(one for one in found if isinstance(one, str))
        self._told, self._read, self._will_resume = len(self._pending), 0, False
        return said

    def _embodied(self, found: Iterable[str | Body]) -> str:
        """What is said of what was found: text, and where in it a style sheet or a script begins."""
        out: list[str] = []
        for one in found:
            if not isinstance(one, str):
                self._body = self._body or one
            elif self._body is None:
                out.append(one)
            else:
                out.append(self._body.push(one))
                if self._body.is_over:
                    self._body = None
        return "".join(out)

    def _through(self, text: str, *, is_over: bool) -> list[str | Body]:
        before, self._pending, self._told = self._told, "", 0
        self._begins = self._read - len(text)
        self._is_resumed, self._will_resume = self._will_resume, False
        out: list[str | Body] = []
        at = self._swallowed(text) if self._is_swallowing else 0
        if self._picture:
            at = self._pictured(text, 0, out, is_over=is_over)
        while (start := START.search(text, at)) is not None:
            place = start.start()
            self._fences.read(text[at:place])
            out.append(text[max(at, before) : place])
            end, said = self._at(text, place, is_over=is_over)
            if self._fences.is_escaped and end is not None and said != text[place:end]:
                said = text[place] + said  # Else what is said in its place would be escaped.
            if end is None:
                self._pending, self._told = text[place:], max(0, before - place)
                self._will_resume = self._is_resumed and place == 0
                return out
            self._fences.read(said)
            if said == text[place:end]:
                out.append(text[max(place, before) : end])
            else:
                out.append(_broken_off(text[place:before]) + (said if end > before else "") if place < before else said)
            out += self._opened(said, self._begins + end)
            at = end + self._swallowed(text[end:]) if self._is_swallowing else end
            if self._picture:
                self._at_picture = self._begins + place
                at = self._pictured(text, end, out, is_over=is_over)
        self._fences.read(text[at:])
        out.append(text[max(at, before) :])
        return out

    def _pictured(self, text: str, at: int, out: list[str | Body], *, is_over: bool) -> int:
        """Where the tag ends whose picture goes on here, or the text. The rest of the tag is judged with its beginning."""
        payload = PAYLOAD if LISTED.match(self._picture) is not None else LINES
        end = payload.match(text, at).end()  # type: ignore[union-attr]  # It matches everywhere.
        self._fences.read(text[at:end])
        out.append(text[at:end])
        if end == len(text):
            return end
        tag = self._picture + text[end : end + HELD_CHARS_MAX - len(self._picture)]
        found = (markup.TAG if payload is LINES else TAG).match(tag)
        if found is None and not is_over and len(tag) < HELD_CHARS_MAX:
            self._pending, self._told, self._picture = tag, len(self._picture), ""
            self._will_resume = True
            return len(text)
        whole = found[0] if found is not None else tag
        last = end + len(whole) - len(self._picture)
        reason = self._judge.of_tag(whole) if found is not None or is_over else "overlong"
        self._picture = ""
        is_out = reason and self._seen(reason, self._at_picture, self._begins + last)
        said = f"{BROKEN_TAG}{redacted(KIND)}" if is_out else text[end:last]
        self._fences.read(said)
        out.append(said)
        return last

    def _opened(self, said: str, at: int) -> Iterable[Body]:
        """What a tag opens that is not text, and begins there."""
        if STYLE_OPENS.match(said) is not None:
            yield style(self._judge.of_addresses, self._seen, at)
        elif SCRIPT_OPENS.match(said) is not None:
            yield script(self._judge.of_script, self._seen, at)
        elif DRAWN.match(said) is not None:
            yield drawing(self._judge.of_drawing, self._seen, at)

    def _seen(self, reason: str, start: int, end: int) -> bool:
        """Whether to take it out."""
        return self._report(seen(f"{KIND}.{reason}", self._links.images, start, end))

    def _is_out(self, reason: str, start: int, end: int) -> bool:
        """Of what is looked at."""
        first = self._at_picture if self._is_resumed and start == 0 else self._begins + start
        return bool(reason) and self._seen(reason, first, self._begins + end)

    def _swallowed(self, text: str) -> int:
        rest = REST.match(text)
        end = rest.end() if rest is not None else 0
        self._is_swallowing = end == len(text)
        return end

    def _at(self, text: str, place: int, *, is_over: bool) -> tuple[int | None, str]:
        """Where what begins here ends, and what is said in its place; None when it may go on."""
        if self._fences.is_open:
            return place + 1, text[place]
        if text[place] == "`":
            return self._mark(text, place, is_over=is_over)
        if text[place] == "<":
            return self._tag(text, place, is_over=is_over)
        said = f"{text}\n" if is_over else text  # What a pattern wants to see behind it.
        limit = place + HELD_CHARS_MAX
        match text[place]:
            case "!":
                if CLOSED.match(text, place, place + ALT_CHARS_MAX) is None:
                    if len(text) >= place + ALT_CHARS_MAX:
                        return self._overlong(text, place, place + 1)
                    return (place + 1, "!") if is_over else (None, "")
                pattern, begun, needed = IMAGE, BEGUN, "]"
            case _:
                if BEFORE_DEFINITION.fullmatch(self._fences.line) is None:
                    return place + 1, "["
                pattern, begun, needed = DEFINITION, DEFINITION_BEGUN, ":"
        found = pattern.match(said, place, limit) if said.find(needed, place, limit) >= 0 else None
        if found is not None:
            if self._is_out(self._reason(found), *found.span()):
                return found.end(), redacted(KIND)
            return place + 1, text[place]  # For a renderer it may be none, and what is in it one.
        if not is_over and len(text) < limit and begun.match(text, place) is not None:
            return None, ""
        return self._unfinished(said, place, min(limit, len(text)), begun)

    def _mark(self, text: str, place: int, *, is_over: bool) -> tuple[int | None, str]:
        """What opens a diagram stays, and is told by that."""
        if self._fences.line.strip(" ") or len(self._fences.line) > 3:
            return place + 1, "`"
        found = DRAWN.match(text, place)
        if found is not None:
            return found.end(), found[0]
        return (None, "") if not is_over and DRAWN_BEGUN.match(text, place) is not None else (place + 1, "`")

    def _tag(self, text: str, place: int, *, is_over: bool) -> tuple[int | None, str]:
        is_listed = LISTED.match(text, place) is not None
        whole, begun, chars_max = (
            (TAG, TAG_BEGUN, HELD_CHARS_MAX) if is_listed else (markup.TAG, markup.TAG_BEGUN, markup.TAG_CHARS_MAX)
        )
        limit = place + chars_max
        found = whole.match(text, place, limit)
        if found is not None and is_listed:
            return self._read_both(text, place, found.end(), is_over=is_over)
        if found is not None:
            return self._shown(text, place, found.end())
        if begun.match(text, place, limit) is None:
            return place + 1, "<"
        if len(text) < limit:  # What stands behind the answer may close it.
            return self._shown(text, place, len(text)) if is_over else (None, "")
        picture = PICTURE.match(text, place, limit)
        opened = picture[picture.lastgroup or 0] if picture is not None else ""
        if opened and not self._judge.of_tag(f'{opened}">'):
            self._picture = opened
            return limit, text[place:limit]
        if is_listed:
            return self._overlong(text, place, limit)
        return place + 1, markup.DEFUSED if self._is_out("overlong", place, limit) else "<"

    def _read_both(self, text: str, place: int, end: int, *, is_over: bool) -> tuple[int | None, str]:
        """A tag ends here where a quotation mark anywhere in it begins a value; only behind `=`, it may go on."""
        limit = place + HELD_CHARS_MAX
        other = markup.TAG.match(text, place, limit)
        if other is None and not is_over and len(text) < limit and markup.TAG_BEGUN.match(text, place) is not None:
            return None, ""
        return self._shown(text, place, max(end, other.end() if other is not None else 0))

    def _shown(self, text: str, start: int, end: int) -> tuple[int, str]:
        """A tag, or what is said in its place."""
        tag = text[start:end]
        if self._is_out(self._judge.of_tag(tag), start, end):
            return end, redacted(KIND)
        if "[" in tag and not _opens(tag):  # For Markdown it may be none, and what is in it an image.
            return start + 1, "<"
        return end, tag

    def _unfinished(self, text: str, place: int, limit: int, begun: re.Pattern[str]) -> tuple[int, str]:
        """What is no image as it should be, or too long to be held."""
        closed = CLOSED.match(text, place, limit) if text[place] == "!" else None
        if closed is not None and self._is_out(self._referred(closed[0][2:-1]), *closed.span()):
            return closed.end(), redacted(KIND)
        if text[place] == "!" and text.find("](", place, limit) >= 0:
            overlong = OVERLONG.match(text, place, limit)
            odd = overlong or UNUSUAL.match(text, place, limit + 1)
            if odd is not None:
                url = odd["url"][:HOST_CHARS_MAX] if overlong else odd["url"]
                url += "?!" if overlong or odd["another"] else ""  # Whatever else it carries.
                if self._is_out(self._leads(url), *odd.span()):
                    self._is_swallowing = overlong is not None
                    return odd.end(), redacted(KIND)
                return place + 1, "!"
        if text[place] == "[" or limit - place < HELD_CHARS_MAX or begun.match(text, place, limit) is None:
            return place + 1, text[place]
        return self._overlong(text, place, place + 1 if text[place] == "!" else limit)

    def _overlong(self, text: str, place: int, end: int) -> tuple[int, str]:
        """Without its beginning, an image is a link, and a tag is text."""
        if self._is_out("overlong", place, max(end, min(len(text), place + ALT_CHARS_MAX))):
            return end, "" if text[place] == "!" else redacted(KIND)
        return end, text[place:end]

    def _reason(self, found: re.Match[str]) -> str:
        if found[0][0] == "[":
            return self._defined(found["label"], found["url"] or found["angled"])
        if (url := found["url"] or found["angled"]) is not None:
            return self._leads(url)
        return self._referred(found["label"] or found["alt"])

    def _leads(self, url: str) -> str:
        """Why an address is suspicious."""
        return image_reason(unescape(url), self._links, self._judge.is_known)

    def _defined(self, label: str, url: str) -> str:
        """A definition alone shows nothing: it counts where an image uses it, before or after."""
        reason, folded = self._leads(url), _folded(label)
        if reason and folded not in self._used and max(len(self._used), len(self._suspicious)) < LABELS_MAX:
            self._suspicious[folded] = reason
            return ""
        return reason  # Also when there are too many to remember.

    def _referred(self, label: str) -> str:
        folded = _folded(label)
        if folded not in self._suspicious and len(self._used) < LABELS_MAX:
            self._used.add(folded)
        return self._suspicious.get(folded, "")


def _opens(tag: str) -> bool:
    return STYLE_OPENS.match(tag) is not None or SCRIPT_OPENS.match(tag) is not None


ADDRESSED = Look.URL | Look.MARKUP | Look.ENCODED | Look.BEYOND
"""What an address that carries something has one of."""

BROKEN_TAG = ">'\">"
"""Ends a tag wherever in it that is, in a value or not."""


def _broken_off(begun: str) -> str:
    """What parts the beginning of something from all that may come behind it: it was said before its end was known."""
    if begun in ("!", "<"):
        return " "
    match begun[0]:
        case "<":
            return BROKEN_TAG
        case "[":
            return "\n\n"
        case _:  # Markdown ends at an empty line, what is less exact at a bracket.
            return ")\n\n" if CLOSED.match(begun) is not None else "]()\n\n"


def _folded(label: str) -> str:
    return " ".join(label.casefold().split())


def is_clear(text: str) -> bool:
    if "[" in text or ("<" in text and START.search(text) is not None):
        return False
    return "```" not in text or DRAWN.search(text) is None or not look.at(text) & ADDRESSED
