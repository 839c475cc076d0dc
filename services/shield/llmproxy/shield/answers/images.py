r"""Takes images out of an answer whose addresses may carry something away: they are fetched as soon as they are shown.

Held back is only what may become an image: from `![` or the tag to the end of its address, within bounds.
"""

import re
from collections.abc import Callable
from html import unescape

from llmproxy.common.answers import Links
from llmproxy.shield.answers import markup
from llmproxy.shield.answers.fences import Fences
from llmproxy.shield.answers.markup import Judge
from llmproxy.shield.answers.stage import Report, seen
from llmproxy.shield.links import URL_CHARS_MAX, image_reason
from llmproxy.shield.vault import redacted

KIND = "image"
ALT_CHARS_MAX, TITLE_CHARS_MAX, LABEL_CHARS_MAX, LABELS_MAX = 1_000, 300, 100, 64
TAG_CHARS_MAX = 4_096
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
UNUSUAL = re.compile(rf"!\[{_ALT}\]\(\s{{0,8}}+<?(?P<url>[^\s<>)]{{1,{URL_CHARS_MAX}}}+)(?=[\s>)])", re.DOTALL)
"""What some renderer might take for an image: the address is there, and something odd behind it."""

REST = re.compile(r"[^\s<>)]*>?\)?")

DEFINITION = re.compile(
    rf"\[(?P<label>[^\[\]]{{1,{LABEL_CHARS_MAX}}})\]:[ \t]{{0,8}}+\n?[ \t]{{0,8}}+<?(?P<url>[^\s<>]{{1,{URL_CHARS_MAX}}}+)(?=[\s>])"
)
DEFINITION_BEGUN = re.compile(
    rf"\[(?:[^\[\]]{{0,{LABEL_CHARS_MAX}}}+(?:\](?::[ \t]{{0,8}}+\n?[ \t]{{0,8}}+(?:<?[^\s<>]{{0,{URL_CHARS_MAX}}}+)?)?)?)?\Z"
)

TAGS = "img|image|iframe|frame|video|audio|source|track|embed|object|link|script|input|svg|use|body|table|td|meta|picture|div|span|p"
LISTED = re.compile(rf"<(?:{TAGS})(?=[\s/\"'>])", re.IGNORECASE)
"""Tags that are read to a greater length than others, and in which a quotation mark may begin a value anywhere."""

TAG = re.compile(rf"{LISTED.pattern}(?:[^>\"']|\"[^\"]*+\"|'[^']*+'){{0,{TAG_CHARS_MAX}}}+>", re.IGNORECASE)
TAG_BEGUN = re.compile(
    rf"{LISTED.pattern}(?:[^>\"']|\"[^\"]*+(?:\"|\Z)|'[^']*+(?:'|\Z)){{0,{TAG_CHARS_MAX}}}+\Z", re.IGNORECASE
)

START = re.compile(r"!(?=\[|\Z)|<(?=[a-zA-Z]|\Z)|\[")


class Images:
    """One text, which may be shown as Markdown or HTML."""

    __slots__ = (
        "_fences",
        "_is_in_style",
        "_is_swallowing",
        "_judge",
        "_links",
        "_pending",
        "_report",
        "_suspicious",
        "_used",
    )

    def __init__(
        self, links: Links, is_known: Callable[[str], bool], report: Report, wants_markup: Callable[[], bool]
    ) -> None:
        self._links, self._report = links, report
        self._judge = Judge(links, is_known, wants_markup)
        self._fences = Fences()
        self._pending = ""
        self._is_swallowing = False  # The rest of an address that is too long to be held.
        self._is_in_style = False  # Behind `<style>`.
        self._used: set[str] = set()  # Labels of images whose addresses have not come yet.
        self._suspicious: dict[str, str] = {}  # Labels whose addresses have: why.

    @property
    def held(self) -> int:
        return len(self._pending)

    def push(self, piece: str) -> str:
        return self._through(self._pending + piece, is_over=False)

    def flush(self) -> str:
        return self._through(self._pending, is_over=True)

    def _through(self, text: str, *, is_over: bool) -> str:
        self._pending = ""
        out: list[str] = []
        at = self._swallowed(text) if self._is_swallowing else 0
        while (place := self._next(text, at)) >= 0:
            self._fences.read(text[at:place])
            out.append(text[at:place])
            end, said = self._at(text, place, is_over=is_over)
            if end is None:
                self._pending = text[place:]
                return "".join(out)
            self._fences.read(text[place:end])
            out.append(said)
            at = end + self._swallowed(text[end:]) if self._is_swallowing else end
        self._fences.read(text[at:])
        out.append(text[at:])
        return "".join(out)

    def _next(self, text: str, at: int) -> int:
        """Where something begins that is looked at; -1 when nothing does."""
        if self._is_in_style:
            return at if at < len(text) else -1
        start = START.search(text, at)
        return start.start() if start is not None else -1

    def _swallowed(self, text: str) -> int:
        rest = REST.match(text)
        end = rest.end() if rest is not None else 0
        self._is_swallowing = end == len(text)
        return end

    def _at(self, text: str, place: int, *, is_over: bool) -> tuple[int | None, str]:
        """Where what begins here ends, and what is said in its place; None when it may go on."""
        if self._is_in_style:
            return self._rule(text, place, is_over=is_over)
        if self._fences.is_open:
            return place + 1, text[place]
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
                if self._fences.line.strip(" ") or len(self._fences.line) > 3:
                    return place + 1, "["
                pattern, begun, needed = DEFINITION, DEFINITION_BEGUN, ":"
        found = pattern.match(said, place, limit) if said.find(needed, place, limit) >= 0 else None
        if found is not None:
            return found.end(), self._said(found)
        if not is_over and len(text) < limit and begun.match(text, place) is not None:
            return None, ""
        return self._unfinished(said, place, min(limit, len(text)), begun)

    def _tag(self, text: str, place: int, *, is_over: bool) -> tuple[int | None, str]:
        is_listed = LISTED.match(text, place) is not None
        whole, begun, chars_max = (
            (TAG, TAG_BEGUN, HELD_CHARS_MAX) if is_listed else (markup.TAG, markup.TAG_BEGUN, markup.TAG_CHARS_MAX)
        )
        limit = place + chars_max
        found = whole.match(text, place, limit)
        if found is not None:
            return found.end(), self._shown(found[0])
        if begun.match(text, place, limit) is None:
            return place + 1, "<"
        if len(text) < limit:  # What stands behind the answer may close it.
            return (len(text), self._shown(text[place:])) if is_over else (None, "")
        if is_listed:
            return self._overlong(text, place, limit)
        return place + 1, markup.DEFUSED if self._report(seen(f"{KIND}.overlong", self._links.images)) else "<"

    def _shown(self, tag: str) -> str:
        """A tag, or what is said in its place."""
        reason = self._judge.of_tag(tag)
        if reason and self._report(seen(f"{KIND}.{reason}", self._links.images)):
            return redacted(KIND)
        self._is_in_style = markup.STYLE_OPENS.match(tag) is not None
        return tag

    def _rule(self, text: str, place: int, *, is_over: bool) -> tuple[int | None, str]:
        """A style sheet, one block after the other."""
        limit = place + HELD_CHARS_MAX
        ends = markup.RULE_ENDS.search(text, place, limit)
        if ends is None and len(text) < limit and not is_over:
            return None, ""
        end = min(len(text), limit)
        if ends is not None:
            self._is_in_style = ends[0] == "}"
            end = ends.end() if self._is_in_style else ends.start()
        reason = self._judge.of_addresses(text[place:end]) or ("overlong" if end == limit else "")
        if reason and self._report(seen(f"{KIND}.{reason}", self._links.images)):
            return end, redacted(KIND)
        return end, text[place:end]

    def _unfinished(self, text: str, place: int, limit: int, begun: re.Pattern[str]) -> tuple[int, str]:
        """What is no image as it should be, or too long to be held."""
        if text[place] == "!" and text.find("](", place, limit) >= 0:
            overlong = OVERLONG.match(text, place, limit)
            odd = overlong or UNUSUAL.match(text, place, limit + 1)
            if odd is not None:
                reason = image_reason(odd["url"], self._links, self._judge.is_known)
                if reason and self._report(seen(f"{KIND}.{reason}", self._links.images)):
                    self._is_swallowing = overlong is not None
                    return odd.end(), redacted(KIND)
                return odd.end(), odd[0]
        if text[place] == "[" or limit - place < HELD_CHARS_MAX or begun.match(text, place, limit) is None:
            return place + 1, text[place]
        return self._overlong(text, place, place + 1 if text[place] == "!" else limit)

    def _overlong(self, text: str, place: int, end: int) -> tuple[int, str]:
        """Without its beginning, an image is a link, and a tag is text."""
        if self._report(seen(f"{KIND}.overlong", self._links.images)):
            return end, "" if text[place] == "!" else redacted(KIND)
        return end, text[place:end]

    def _said(self, found: re.Match[str]) -> str:
        if found[0][0] == "[":
            reason = self._defined(found["label"], found["url"])
        elif (url := found["url"] or found["angled"]) is not None:
            reason = image_reason(unescape(url), self._links, self._judge.is_known)
        else:
            reason = self._referred(found["label"] or found["alt"])
        if reason and self._report(seen(f"{KIND}.{reason}", self._links.images)):
            return redacted(KIND)
        return found[0]

    def _defined(self, label: str, url: str) -> str:
        """A definition alone shows nothing: it counts where an image uses it, before or after."""
        reason = image_reason(unescape(url), self._links, self._judge.is_known)
        folded = _folded(label)
        if reason and folded not in self._used and max(len(self._used), len(self._suspicious)) < LABELS_MAX:
            self._suspicious[folded] = reason
            return ""
        return reason  # Also when there are too many to remember.

    def _referred(self, label: str) -> str:
        folded = _folded(label)
        if folded not in self._suspicious and len(self._used) < LABELS_MAX:
            self._used.add(folded)
        return self._suspicious.get(folded, "")


def _folded(label: str) -> str:
    return " ".join(label.casefold().split())


def is_clear(text: str) -> bool:
    return "[" not in text and ("<" not in text or START.search(text) is None)
