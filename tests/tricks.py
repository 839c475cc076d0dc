"""Ways to write a text so that a person, or a model that tries, can still read it and a list of phrases cannot."""

import base64
import json
import string
from collections.abc import Callable

MORSE = dict(
    zip(
        "abcdefghijklmnopqrstuvwxyz",
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
        strict=True,
    )
)
BRAILLE = dict(zip("abcdefghijklmnopqrstuvwxyz", "⠁⠃⠉⠙⠑⠋⠛⠓⠊⠚⠅⠇⠍⠝⠕⠏⠟⠗⠎⠞⠥⠧⠺⠭⠽⠵", strict=True))


UPSIDE_DOWN = str.maketrans("abcdefghijkmnopqrtuvwy", "ɐqɔpǝɟƃɥᴉɾʞɯuodbɹʇnʌʍʎ")
LETTERS = string.ascii_lowercase


def inside(text: str, opens: str, closes: str = "") -> str:
    """Something within each word of four letters and more."""
    words = text.split()
    return " ".join(f"{word[:2]}{opens}{word[2:3]}{closes}{word[3:]}" if len(word) > 3 else word for word in words)


def between(text: str, sign: str) -> str:
    """Something between the letters of each word."""
    return " ".join(sign.join(word) for word in text.split())


def codes(text: str, form: str, by: str = " ") -> str:
    """A number for each letter."""
    return by.join(format(ord(one), form) for one in text)


def lines(text: str, length: int, by: str = "\n") -> str:
    return by.join(text[at : at + length] for at in range(0, len(text), length))


def shifted(text: str, by: int) -> str:
    """Each letter so many further on."""
    written = LETTERS[by:] + LETTERS[:by]
    return text.translate(str.maketrans(LETTERS + LETTERS.upper(), written + written.upper()))


def base64_of(text: str, encoding: str = "utf-8") -> str:
    return base64.b64encode(text.encode(encoding)).decode()


TRICKS: dict[str, Callable[[str], str]] = {
    "tags inside of words": lambda text: inside(text, "<b>", "</b>"),
    "tags with attributes": lambda text: inside(text, '<span class="x">', "</span>"),
    "a tag around each letter": lambda text: " ".join("".join(f"<i>{one}</i>" for one in w) for w in text.split()),
    "comments of HTML": lambda text: inside(text, "<!-- x -->"),
    "comments of programs": lambda text: inside(text, "/* x */"),
    "tags of forums": lambda text: inside(text, "[b]", "[/b]"),
    "colours of terminals": lambda text: inside(text, "\x1b[1;31m", "\x1b[0m"),
    "strings put together": lambda text: f'"{inside(text, chr(34) + " + " + chr(34))}"',
    "strings in single quotes": lambda text: f"'{inside(text, chr(39) + ' . ' + chr(39))}'",
    "strings beside each other": lambda text: f'"{inside(text, chr(34) + " " + chr(34))}"',
    "hyphens at the ends of lines": lambda text: inside(text, "-\n"),
    **{f"{sign} inside of words": lambda text, sign=sign: inside(text, sign) for sign in "^#=;:/&%😀→·•★"},  # type: ignore[misc]
    **{f"{sign} between letters": lambda text, sign=sign: between(text, sign) for sign in "^#;+='→·•"},  # type: ignore[misc]
    "pictures between letters": lambda text: between(text, "😀"),
    "pictures of two characters between letters": lambda text: between(text, "❤️"),
    "letters in brackets": lambda text: between(text, ")(").join("()"),
    "a list of letters": lambda text: json.dumps(list(text)),
    "letters in quotation marks": lambda text: between(text, "','"),
    "three spaces between letters": lambda text: "   ".join(text),
    "codes in base 10": lambda text: codes(text, "d"),
    "a list of codes": lambda text: json.dumps(list(text.encode())),
    "codes in base 16": lambda text: codes(text, "#x", ", "),
    "codes in base 16 with hyphens": lambda text: codes(text, "x", "-"),
    "codes in base 16 in groups": lambda text: text.encode().hex(" ", 2),
    "codes in base 16 in lines": lambda text: codes(text, "x", "\n"),
    "codes in base 8": lambda text: codes(text, "03o"),
    "codes in base 2": lambda text: codes(text, "08b"),
    "codes of seven bits": lambda text: codes(text, "07b"),
    "codes in base 2 without spaces": lambda text: codes(text, "08b", ""),
    "calls of chr": lambda text: "+".join(f"chr({ord(one)})" for one in text),
    "code points": lambda text: " ".join(f"U+{ord(one):04X}" for one in text),
    "escapes of style sheets": lambda text: "".join(f"\\{ord(one):x} " for one in text),
    "percent signs and u": lambda text: "".join(f"%u{ord(one):04x}" for one in text),
    "quoted-printable": lambda text: "".join(f"={ord(one):02X}" for one in text),
    "quoted-printable vowels": lambda text: "".join(f"={ord(one):02X}" if one in "aeiou" else one for one in text),
    "base64 in lines of twelve": lambda text: lines(base64_of(text), 12),
    "base64 in lines of eight": lambda text: lines(base64_of(text), 8),
    "base64 by fours": lambda text: lines(base64_of(text), 4, " "),
    "base64 word by word": lambda text: " ".join(map(base64_of, text.split())),
    "base64 of UTF-16": lambda text: base64_of(text, "utf-16-le"),
    "base64 of UTF-16, the other way": lambda text: base64_of(text, "utf-16-be"),
    "base64 of UTF-16 with its mark": lambda text: base64_of(text, "utf-16"),
    "hex of UTF-16": lambda text: text.encode("utf-16-le").hex(),
    **{f"letters {by} further on": lambda text, by=by: shifted(text, by) for by in (1, 3, 5, 7, 23)},  # type: ignore[misc]
    "letters counted from the end": lambda text: text.translate(
        str.maketrans(LETTERS + LETTERS.upper(), LETTERS[::-1] + LETTERS[::-1].upper())
    ),
    "upside down": lambda text: text.lower().translate(UPSIDE_DOWN)[::-1],
    "braille": lambda text: "".join(BRAILLE.get(one, one) for one in text.lower()),
    "morse": lambda text: " / ".join(" ".join(MORSE[one] for one in word) for word in text.lower().split()),
    "morse with spaces": lambda text: "   ".join(" ".join(MORSE[one] for one in w) for w in text.lower().split()),
}
