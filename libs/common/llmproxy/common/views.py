"""What a text says once the things that hide it are undone: a bounded set of views, each with the decodings that led to it.

A view is for looking, never for sending: decoders may damage what they do not understand. Nothing here raises on any text.
"""

import base64
import binascii
import codecs
import ctypes
import html.entities
import re
import unicodedata
from collections.abc import Callable
from enum import IntFlag, auto
from functools import partial
from unicodedata import category
from urllib.parse import unquote

from msgspec import Struct

from llmproxy.common import native
from llmproxy.common.lexicon import LEET, shipped

DEPTH_MAX = 3  # Decodings one after the other: base64 of base64 of percent escapes.
VIEWS_MAX = 12  # Without the text itself.
DECODED_CHARS_MAX = 32_768  # Of all views of one text together; what is beyond is not decoded.
GROWTH_MAX = 2  # One compatibility character may stand for 18 others.
PRINTABLE_MIN = 0.9  # Of a decoded run: less is not text.
LAYOUT, UNSEEN = "\n\t\r", frozenset({"Cf", "Zs", "Zl", "Zp"})
"""What is text though it prints nothing: what invisible characters hide may have been encoded, too."""


class Hint(IntFlag):
    """Which decoders a text gives reason to try."""

    ESCAPE = auto()
    PERCENT = auto()
    ENTITY = auto()
    FOLD = auto()
    RUN = auto()
    SPACED = auto()
    JOINED = auto()
    LEET = auto()
    ROT13 = auto()
    REVERSED = auto()
    TYPO = auto()
    CODES = auto()
    QUOTED = auto()
    CIPHER = auto()


NONE = Hint(0)


class View(Struct, frozen=True):
    text: str
    via: tuple[str, ...] = ()  # Names of the decoders, in the order in which they were applied.


def marks(raw: bytes) -> tuple[Hint, int]:
    """Which decoders a text gives reason to try, and where the first of these reasons begins. One native pass."""
    found, first = shipped().marks(raw)
    return (Hint(found) if found else NONE), first


def in_characters(raw: bytes, start: int, end: int) -> tuple[int, int]:
    """The same places in the text that `raw` is in UTF-8."""
    return len(raw[:start].decode("utf-8", "ignore")), len(raw[:end].decode("utf-8", "ignore"))


def placed(view: View, text: str, start: int, end: int) -> tuple[int, int, bool]:
    """Where in `text` that stands which a view of it has at `[start:end]`, and whether it stands there as it is: else it is the whole of
    what was decoded, which is as near as it can be said."""
    longer = len(view.text) - len(text)
    before = _alike(text, view.text)
    if end <= before:
        return start, end, True
    after = _alike(text[before:][::-1], view.text[before:][::-1])
    if start >= len(view.text) - after:
        return start - longer, end - longer, True
    return min(start, before), max(len(text) - after, end - longer), False


def _alike(one: str, other: str) -> int:
    """With how many of the same characters both begin."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one.startswith(other[:middle]):
            low = middle
        else:
            high = middle - 1
    return low


def hints(text: str) -> Hint:
    return marks(text.encode("utf-8", "surrogatepass"))[0]


def views(text: str, suspected: Hint | None = None, *, chars_max: int = DECODED_CHARS_MAX) -> list[View]:
    """The text and what is hidden in it. `suspected` spares the search for marks; plain text is its own only view."""
    views = [View(text)]
    suspected = hints(text) if suspected is None else suspected
    if not suspected:
        return views
    seen = {text}
    todo = [(views[0], int(suspected))]  # The arithmetic of an enumeration costs more than most decoders.
    for view, bits in todo:  # Grows while it is read, and is bounded by VIEWS_MAX.
        for hint, name, decode in DECODERS if TURNING.isdisjoint(view.via) else DECODERS_OF_TURNED:
            if not hint & bits:
                continue
            if len(view.text) > chars_max or len(views) > VIEWS_MAX:
                return views
            chars_max -= len(view.text)
            decoded = decode(view.text)[: GROWTH_MAX * len(view.text)]
            if not decoded or decoded in seen:
                continue
            seen.add(decoded)
            views.append(View(decoded, (*view.via, name)))
            if len(view.via) + 1 < DEPTH_MAX:
                found, _ = shipped().marks(decoded.encode("utf-8", "surrogatepass"))
                todo.append((views[-1], found & ~DONE.get(name, 0)))
    return views


TURNING = frozenset({"rot13", "reversed", "cipher"})
TURNED, TOGETHER = int(Hint.ROT13 | Hint.REVERSED | Hint.CIPHER), int(Hint.JOINED | Hint.SPACED)
DONE = {**dict.fromkeys(TURNING, TURNED), **dict.fromkeys(("spaced", "joined"), TOGETHER)}
"""What is not tried after a decoder: turning back, and reading noise into what has been joined already. Of what was turned as a whole no
run is turned back by itself either: it would stand among words that are noise."""


# -- one decoder each; all take time proportional to the text

ESCAPES = re.compile(
    r"(?:\\+x[0-9a-fA-F]{2})+|(?:\\+[01][0-7]{2}){4,}"
    r"|\\+u\{[0-9a-fA-F]{1,6}\}|\\+u[0-9a-fA-F]{4}|\\+U[0-9a-fA-F]{8}|\\+[nrt\"'/]"
)
HEX_BYTE = re.compile(r"x([0-9a-fA-F]{2})")
OCTAL_BYTE = re.compile(r"[01][0-7]{2}")
MEANT = {"n": "\n", "r": "\n", "t": "\t"}


def escapes(text: str) -> str:
    decoded = ESCAPES.sub(_escape, text)
    # Two escapes of one character beyond the first plane are surrogates until they are joined.
    return decoded.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _escape(match: re.Match[str]) -> str:
    found = match[0]
    kind = found.lstrip("\\")
    if kind[0] == "x":
        return bytes(int(byte, 16) for byte in HEX_BYTE.findall(found)).decode("utf-8", "replace")
    if kind[0] in "01":
        return bytes(int(byte, 8) for byte in OCTAL_BYTE.findall(found)).decode()
    if kind[0] in "uU" and len(kind) > 1:
        return character(int(kind.strip("uU{}"), 16))
    return MEANT.get(kind, kind)


def character(code: int) -> str:
    """A space for a number that is no character: it must neither raise nor join what it parts."""
    return chr(code) if 0 < code <= 0x10FFFF else " "


ENTITIES = re.compile(r"&(?:#0{0,32}([1-9][0-9]{0,7})|#[xX]0{0,32}([1-9a-fA-F][0-9a-fA-F]{0,6})|([a-zA-Z]{2,8}));?")


def entities(text: str) -> str:
    # Our own: html.unescape reads numbers of any length, and Python refuses to convert very long ones.
    return ENTITIES.sub(_entity, text).encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _entity(match: re.Match[str]) -> str:
    if match[1]:
        return character(int(match[1]))
    if match[2]:
        return character(int(match[2], 16))
    return html.entities.html5.get(f"{match[3]};", match[0])


PERCENT_U = re.compile(r"%u([0-9a-fA-F]{4})")


def percent(text: str) -> str:
    return unquote(PERCENT_U.sub(lambda match: character(int(match[1], 16)), text), errors="replace")


QUOTED = re.compile(r"(?:=[0-9a-fA-F]{2})+")


def quoted(text: str) -> str:
    """`=69g=6E` and lines that end in `=`, as mails have them."""
    decoded = QUOTED.sub(lambda match: bytes.fromhex(match[0].replace("=", "")).decode("utf-8", "replace"), text)
    return decoded.replace("=\r\n", "").replace("=\n", "")


CONFUSABLES = str.maketrans(
    {
        **dict(zip("асеіјорѕхуԁԛԝһӏкмнтвгби", "aceijopsxydqwhlkmhtbrbu", strict=True)),
        **dict(zip("АВСЕНІЈКМОРЅТХУԌԚԜҺӀ", "ABCEHIJKMOPSTXYGQWHI", strict=True)),
        **dict(zip("αβγεηικνορτυχωϲ", "abyenikvoptuxwc", strict=True)),
        **dict(zip("ΑΒΕΖΗΙΚΜΝΟΡΤΥΧϹ", "ABEZHIKMNOPTYXC", strict=True)),
        **dict(zip("ıɡɑɩʟɴʀʏꜱᴀᴄᴅᴇᴊᴋᴍᴏᴘᴛᴜᴠᴡᴢ", "igailnrysacdejkmoptuvwz", strict=True)),
    }
)
"""Letters that look like Latin ones. Applied only beside Latin letters; real Russian or Greek is matched as it is, too."""
LATIN = re.compile("[a-zA-Z]")
LOOKALIKE = re.compile("[\u0131\u0251-\u029f\u0370-\u052f\u1d00-\u1d22\ua730\ua731]")
INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff"
    "\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0080-\U000e0fff\U000e0000-\U000e001f]+"
)
SIGNS = {
    first + place: chr(letter + place)
    for first, letter in ((0x249C, 97), (0x1F110, 65), (0x1F130, 65), (0x1F150, 65), (0x1F170, 65), (0x1F1E6, 65))
    for place in range(26)
}
"""Letters in brackets, boxes and circles, and those of flags, that have no compatibility form or one with brackets."""
SIGNS |= {
    ord(cell): letter for cell, letter in zip("⠁⠃⠉⠙⠑⠋⠛⠓⠊⠚⠅⠇⠍⠝⠕⠏⠟⠗⠎⠞⠥⠧⠺⠭⠽⠵⠀", "abcdefghijklmnopqrstuvwxyz ", strict=True)
}
SIGN = re.compile(f"[{''.join(chr(code) for code in SIGNS if code < 0x10000)}]")
# By itself: one expression for both takes fifteen times as long as two.
FAR_SIGN = re.compile("[\U0001f110-\U0001f1ff]")
TAGS = re.compile("[\U000e0020-\U000e007e]+")
SELECTORS = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef]{8,}")  # As bytes: some write messages with them.
MARKS_ABOVE = re.compile("[\u0300-\u036f\u0489\u20d0-\u20ff]+")
ACCENTED = re.compile(r"(?<![^\W\d_])[a-zA-Z]*+[\u00c0-\u024f\u1e00-\u1eff][^\W\d_]*")
UNACCENTED = {
    code: bare[0]
    for code in (*range(0xC0, 0x250), *range(0x1E00, 0x1F00))
    if len(bare := unicodedata.normalize("NFD", chr(code))) > 1 and bare[0].isascii()
}
"""Latin letters with marks, without them. Other alphabets have letters of their own that only look like it."""

MARKED = re.compile(f"[{''.join(map(chr, UNACCENTED))}]")

FLIPPED = re.compile("[ɐɔǝɟɥᴉɾʞɯɹʇʌʍʎ]")
UPSIDE_DOWN = str.maketrans("ɐqɔpǝɟƃɥᴉɾʞɯuodbɹʇnʌʍʎ", "abcdefghijkmnopqrtuvwy")
FLIPPED_MIN = 6  # Such letters; those of phonetic script are among them.


def fold(text: str) -> str:
    """NFKC, braille as letters, letters that stand on their heads on their feet, invisible characters out, tag characters and runs of selectors as what they spell, look-alikes as Latin,
    marks off Latin letters."""
    folded = SELECTORS.sub(_unselected, TAGS.sub(_untagged, text))
    # To translate takes six times as long as to look.
    if SIGN.search(folded) is not None or FAR_SIGN.search(folded) is not None:
        folded = folded.translate(SIGNS)
    folded = unicodedata.normalize("NFKC", INVISIBLE.sub("", folded))
    if LATIN.search(folded) is None:
        return folded
    if len(FLIPPED.findall(folded)) >= FLIPPED_MIN:
        folded = folded.translate(UPSIDE_DOWN)
    if LOOKALIKE.search(folded) is not None:
        folded = folded.translate(CONFUSABLES)
    return MARKS_ABOVE.sub("", ACCENTED.sub(_unaccented, folded))


def _unaccented(match: re.Match[str]) -> str:
    """Words that languages write have fewer."""
    word = match[0]
    return word.translate(UNACCENTED) if 3 * len(MARKED.findall(word)) >= len(word) else word


def _untagged(match: re.Match[str]) -> str:
    spelt = match[0].translate(_UNTAG)
    return f" {spelt} " if len(spelt) > 3 else spelt  # A message of its own, or letters inside a word.


def _unselected(match: re.Match[str]) -> str:
    spelt = printable(bytes(code - (0xFE00 if code < 0xFE10 else 0xE00F0) for code in map(ord, match[0])))
    return f" {spelt} "


_UNTAG = {code: code - 0xE0000 for code in range(0xE0020, 0xE007F)}

HEX_RUNS = re.compile(r"(?:[0-9a-fA-F]{2}[ ,:]?){8,}")
BASE64_RUNS = re.compile(r"[A-Za-z0-9+/_-]{16,}={0,6}(?:\s[A-Za-z0-9+/_-]{16,}={0,6})*")
BASE32_ALPHABET = re.compile(r"[A-Z2-7]+={0,6}")
HEX, ASCII = re.compile(r"[0-9a-fA-F]{2,}"), re.compile(r"[\t\n\r -~]+")
SPACE = re.compile(r"[\s,:]+")
ASCII_GROUP = "[I-Za-f][C-HS-Xi-ny-z0-3][ABEFIJMNQRUVYZcdghklopstwx014589][A-Za-z0-9+/_-]"
ASCII_WORD = f"(?:{ASCII_GROUP})*(?:{ASCII_GROUP}|[I-Za-f][A-Za-z0-9+/_-](?:==|[A-Za-z0-9+/_-]=))(?![A-Za-z0-9+/_=-])"
CODE_WORDS = re.compile(rf"(?<![A-Za-z0-9+/_-]){ASCII_WORD}(?:\s{{1,3}}{ASCII_WORD}){{3,}}")
"""Lines of base64, or words in it each by itself, as four letters stand for three of ASCII."""


def runs(text: str) -> str:
    """Runs of hex, base64 or base32 letters in their place, where they spell text, also one that was turned afterwards."""
    return _decoded_runs(text, _as_it_is_or_turned)


def runs_as_they_are(text: str) -> str:
    return _decoded_runs(text, lambda run, found: found)


def _decoded_runs(text: str, chosen: Callable[[str, str], str]) -> str:
    """`chosen`: what a run says, of it and what it spells as it is."""
    for run, decode in (
        (HEX_RUNS, partial(_unhex, chosen)),
        (CODE_WORDS, _unbase_words),
        (BASE64_RUNS, partial(_unbase, chosen)),
    ):
        if (decoded := run.sub(decode, text)) != text:
            return decoded
    return ""


def _unbase_words(match: re.Match[str]) -> str:
    """Words end with their padding, lines do not."""
    words = match[0].replace("-", "+").replace("_", "/").split()
    between = b" " if any(word.endswith("=") for word in words[:-1]) else b""
    try:
        found = printable(between.join(map(binascii.a2b_base64, words)))
    except binascii.Error:  # One is no whole number of bytes.
        found = ""
    return f" {found}" if found else match[0]


def _unhex(chosen: Callable[[str, str], str], match: re.Match[str]) -> str:
    digits = SPACE.sub("", match[0])
    return chosen(digits, printable(_bytes_of(digits))) or match[0]


def _unbase(chosen: Callable[[str, str], str], match: re.Match[str]) -> str:
    letters = SPACE.sub("", match[0])
    return chosen(letters.rstrip("="), _of_base(letters)) or match[0]


_turned = native.function("llmproxy_turned", ctypes.c_uint32, ctypes.c_char_p, ctypes.c_size_t)


def _as_it_is_or_turned(run: str, found: str) -> str:
    """What a run spells backwards, or thirteen letters further on, if that is clean text in ASCII and what was found is not."""
    if ASCII.fullmatch(found) is not None:
        return found
    turn = TURNS[_turned(run.encode(), len(run))]
    if turn is not None:
        for decode in (_of_hex, _of_base):
            if ASCII.fullmatch(said := decode(turn(run))):
                return said
    return found


def _bytes_of(digits: str) -> bytes:
    return bytes.fromhex(digits[: len(digits) // 2 * 2])


def _of_hex(letters: str) -> str:
    return printable(_bytes_of(letters)) if HEX.fullmatch(letters) is not None else ""


def _of_base(letters: str) -> str:
    """Of base32 or base64; "" where they spell nothing."""
    if BASE32_ALPHABET.fullmatch(letters) is not None:
        bare = letters.rstrip("=")
        bare = bare[: len(bare) - (1 if len(bare) % 8 in (1, 3, 6) else 0)]
        if found := _decoded(base64.b32decode, bare + "=" * (-len(bare) % 8)):
            return found
    bare = letters.rstrip("=").replace("-", "+").replace("_", "/")
    for start in range(4):  # A word before it without a space moves the grid.
        rest = bare[start:]
        rest = rest[: len(rest) - (len(rest) % 4 == 1)]
        if found := _decoded(base64.b64decode, rest + "=" * (-len(rest) % 4)):
            return bare[:start] + " " + found
    return ""


def _decoded(decode: Callable[[str], bytes], letters: str) -> str:
    try:
        return printable(decode(letters))
    except (binascii.Error, ValueError):
        return ""


def printable(data: bytes) -> str:
    """The bytes as text, or "" when they are none."""
    if 0 in data[:4]:
        return wide(data)
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = data.decode("utf-8", "replace")
        if text.count("\ufffd") * 10 > len(text):
            return ""
    if text.isprintable():
        return text
    unreadable = sum(not one.isprintable() and one not in LAYOUT and category(one) not in UNSEEN for one in text)
    return text if unreadable <= (1 - PRINTABLE_MIN) * len(text) else ""


def wide(data: bytes) -> str:
    """Bytes of UTF-16, in either order, as text."""
    order = "be" if data.startswith((b"\0", b"\xfe\xff")) else "le"
    text = data[: len(data) // 2 * 2].decode(f"utf-16-{order}", "replace").lstrip("\ufeff")
    return text if text.isascii() and "\0" not in text else ""


_codes = native.function("llmproxy_codes", ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p)

MORSE = re.compile(r"(?<![^\s/\"'])[.-]{1,6}(?:[ /\n]{1,4}[.-]{1,6}){7,}(?![.-])")
MORSE_WORDS = re.compile(r"\s*/\s*|\s{2,}|\n")
MORSE_LETTERS = dict(
    zip(
        [
            ".-",
            "-...",
            "-.-.",
            "-..",
            ".",
            "..-.",
            "--.",
            "....",
            "..",
            ".---",
            "-.-",
            ".-..",
            "--",
            "-.",
            "---",
            ".--.",
            "--.-",
            ".-.",
            "...",
            "-",
            "..-",
            "...-",
            ".--",
            "-..-",
            "-.--",
            "--..",
        ],
        "abcdefghijklmnopqrstuvwxyz",
        strict=True,
    )
)


def spelt_codes(text: str) -> str:
    """`73 103 110`, `0x49, 0x67` and `.. --. -.` as letters."""
    raw = text.encode("utf-8", "surrogatepass")
    out = ctypes.create_string_buffer(len(raw))
    length = _codes(raw, len(raw), out)
    return MORSE.sub(_unmorse, out.raw[:length].decode("utf-8", "surrogatepass"))


def _unmorse(match: re.Match[str]) -> str:
    words = MORSE_WORDS.split(match[0])
    return " ".join("".join(MORSE_LETTERS.get(letter, "") for letter in word.split(" ")) for word in words)


SPELLED = re.compile(r"(?<![^\W_])[^\W_]([\W_]{1,6}?)[^\W_](?![^\W_])(?:\1(?:[^\W_](?![^\W_])| (?=\1)))+")
APART = re.compile(r"(?:(?<=\s\s)|^)\S(?: \S)+(?=\s\s|$)")


PAIR = re.compile(r"(?<![^\W_])[^\W_]([^\w\s]{1,6})[^\W_](?![^\W_])")


def spaced(text: str) -> str:
    """`i g n o r e`, `i-g-n-o-r-e` and `'i', 'g', 'n'` as words, and words of two letters where others are parted as they are; `t o  d o` as two,
    where words are further apart than letters."""
    if "  " in text:
        text = APART.sub(lambda match: match[0].replace(" ", ""), text)
    between = {match[1] for match in SPELLED.finditer(text)}
    text = SPELLED.sub(lambda match: match[0].replace(match[1], ""), text)
    return PAIR.sub(lambda match: match[0].replace(match[1], "") if match[1] in between else match[0], text)


SYMBOL = "\u00a1-\u00a9\u00ab\u00ac\u00ae-\u00b4\u00b6-\u00b9\u00bb-\u00bf\u00d7\u00f7\u2010-\u2027\u2030-\u205e\u2190-\u245f\u2500-\u27ff\u2900-\u2bff\ufe0f\U0001f300-\U0001faff"
"""Signs and pictures, as in native/marks.c."""

MARKUP = r"<[/!]?[a-zA-Z-][^<>]{0,62}>|\[/?[a-zA-Z-]{1,8}(?:=[^\[\]]{0,48})?\]|/\*[^*]{0,62}\*/|\x1b\[[0-9;]{0,62}m"
GLUE = r"\"[ \n]{0,2}[+.&~,]{0,2}[ \n]{0,2}\"|'[ \n]{0,2}[+.&~,]{0,2}[ \n]{0,2}'|[-=]\r?\n"
INSIDE = re.compile(
    r"(?=[^a-zA-Z0-9 ])"  # So that most places are passed quickly.
    rf"(?:(?<=[^\W_])(?:[._*~`|^#;:/&%=\-{SYMBOL}]|{GLUE}){{1,4}}(?=[^\W_])|{MARKUP}|\*\*|__)"
)


def joined(text: str) -> str:
    """`ig-no.re`, `**ign**ore`, `ig<b>n</b>ore` and `"ign" + "ore"` as words."""
    return INSIDE.sub("", text)


def respelt(text: str) -> str:
    """`prevoius` and `in-struc-tions` as words."""
    return shipped().respelt(text.encode("utf-8", "surrogatepass")).decode("utf-8", "surrogatepass")


def leet(text: str) -> str:
    """`1gn0r3 4ll` as words. A 1 is an i or an l: an l where that makes a word."""
    return respelt(text).lower().translate(LEET)


ROTATED = bytes(codecs.encode(chr(byte), "rot13").encode("latin-1")[0] for byte in range(256))


def rot13(text: str) -> str:
    return text.encode("utf-8", "surrogatepass").translate(ROTATED).decode("utf-8", "surrogatepass")


_alphabet = native.function("llmproxy_alphabet", ctypes.c_uint32, ctypes.c_char_p, ctypes.c_size_t)

LETTERS = "abcdefghijklmnopqrstuvwxyz"
MIRRORED = 26  # Of the alphabets that letters may be written in: z for a. Others are so many letters further on.


def cipher(text: str) -> str:
    """Letters that are all so many further on, or counted from the end, as they are meant."""
    raw = text.encode("utf-8", "surrogatepass")
    shift = _alphabet(raw, len(raw))
    written = LETTERS[::-1] if shift == MIRRORED else LETTERS[shift:] + LETTERS[:shift]
    return text.translate(str.maketrans(written + written.upper(), LETTERS + LETTERS.upper()))


def backwards(text: str) -> str:
    return text[::-1]


TURNS: tuple[Callable[[str], str] | None, ...] = (None, backwards, rot13)
"""As native/marks.c numbers them."""

DECODERS: tuple[tuple[int, str, Callable[[str], str]], ...] = (
    (int(Hint.ESCAPE), "escapes", escapes),
    (int(Hint.PERCENT), "percent", percent),
    (int(Hint.QUOTED), "quoted", quoted),
    (int(Hint.ENTITY), "entities", entities),
    (int(Hint.FOLD), "fold", fold),
    (int(Hint.RUN), "runs", runs),
    (int(Hint.CODES), "codes", spelt_codes),
    (int(Hint.SPACED), "spaced", spaced),
    (int(Hint.JOINED), "joined", joined),
    (int(Hint.LEET), "leet", leet),
    (int(Hint.TYPO), "typo", respelt),
    (int(Hint.ROT13), "rot13", rot13),
    (int(Hint.CIPHER), "cipher", cipher),
    (int(Hint.REVERSED), "reversed", backwards),
)
DECODERS_OF_TURNED = tuple(one if one[2] is not runs else (*one[:2], runs_as_they_are) for one in DECODERS)
