"""India."""

from llmproxy.shield.ids.form import always, digits_of, number

_D = (
    (0, 1, 2, 3, 4, 5, 6, 7, 8, 9), (1, 2, 3, 4, 0, 6, 7, 8, 9, 5), (2, 3, 4, 0, 1, 7, 8, 9, 5, 6), (3, 4, 0, 1, 2, 8, 9, 5, 6, 7),
    (4, 0, 1, 2, 3, 9, 5, 6, 7, 8), (5, 9, 8, 7, 6, 0, 4, 3, 2, 1), (6, 5, 9, 8, 7, 1, 0, 4, 3, 2), (7, 6, 5, 9, 8, 2, 1, 0, 4, 3),
    (8, 7, 6, 5, 9, 3, 2, 1, 0, 4), (9, 8, 7, 6, 5, 4, 3, 2, 1, 0),
)  # fmt: skip
_P = (
    (0, 1, 2, 3, 4, 5, 6, 7, 8, 9), (1, 5, 7, 6, 2, 8, 3, 0, 9, 4), (5, 8, 0, 3, 7, 9, 6, 1, 4, 2), (8, 9, 1, 6, 0, 4, 3, 5, 2, 7),
    (9, 4, 5, 3, 1, 2, 6, 8, 7, 0), (4, 2, 8, 6, 5, 7, 3, 9, 0, 1), (2, 7, 9, 3, 8, 0, 6, 4, 1, 5), (7, 0, 4, 6, 9, 1, 3, 2, 5, 8),
)  # fmt: skip


def is_verhoeff(text: str) -> bool:
    """The checksum of Aadhaar numbers: https://uidai.gov.in"""
    check = 0
    for index, digit in enumerate(reversed(digits_of(text))):
        check = _D[check][_P[index % 8][digit]]
    return check == 0


NUMBERS = (
    number("in_aadhaar", r"(?<!\d{4} )[2-9]\d{3}([ -])\d{4}\1\d{4}(?! \d{4}(?!\d))", is_verhoeff, digits_min=12),
    number("in_aadhaar", r"[2-9]\d{11}", is_verhoeff, words="aadhaar,aadhar,uidai,uid,आधार", digits_min=12),
    # https://incometaxindia.gov.in: the fourth letter says what the holder is.
    number("in_pan", r"(?-i:[A-Z]{3}[ABCFGHJLPT][A-Z]\d{4}[A-Z])", always, digits_min=4),
)
