"""What the expressions of all languages are made of: where words begin and end, sentences, and quotations. Bytes are matched, so a class holds bytes."""

LETTER = r"\w\x80-\xff"
E = rf"[{LETTER}-]*"  # The end of a word of which the beginning is given.
BEGIN = rf"(?:^|[^{LETTER}'-]|\xe2\x80[\x93\x94\x98\x9c\x9e]|\xc2[\xa1\xab\xbf]|\xe3\x80[\x8c\x8e])"  # What is no letter is cut off again.
SPACE = r"[ \t\n\"*_`()/]+"
PAUSE = r"[ \t\n\"*_`()/,]+"
WORD = rf"[{LETTER}'-]+"

SAID = r"(?:[^.!?\n\"\xc2\xe2]|\xe2\x80\x99)"  # One byte of a sentence, outside of quotation marks.
CLAUSE = r"[^.!?:;,\n]"

WIDE = r"(?:[^.!?\n\xe3\xef]|\xe3(?:[^\x80]|\x80[^\x82\n])|\xef(?:[^\xbc]|\xbc[^\x81\x9f]))"
"""The same where full stops and marks are wide."""

_CURLY = r"(?:[^\n\xe2]|\xe2(?:[^\x80]|\x80[^\x9c\x9d]))+"
_ANGLED = r"(?:[^\n\xc2]|\xc2[^\xab\xbb])+"
_CORNERED = r"(?:[^\n\xe3]|\xe3(?:[^\x80]|\x80[^\x8c-\x8f]))+"
QUOTED = (
    rf"(?:\"[^\"\n]+\"|\xe2\x80[\x9c-\x9e]{_CURLY}\xe2\x80[\x9c\x9d]|\xc2\xab{_ANGLED}\xc2\xbb"
    rf"|\xe3\x80[\x8c\x8e]{_CORNERED}\xe3\x80[\x8d\x8f])"
)
QUOTES = rf"{QUOTED}(?:[^\w\n.!?]{{0,6}}(?:\w{{1,4}} )?{QUOTED}){{0,8}}"


def one_of(words: str) -> str:
    return f"(?:{words})"
