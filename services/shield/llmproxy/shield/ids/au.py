"""Australia."""

from llmproxy.shield.ids.form import digits_of, number, weighted


def is_tfn(text: str) -> bool:
    """https://www.ato.gov.au/individuals-and-families/tax-file-number: modulus 11."""
    return weighted(digits_of(text), (1, 4, 3, 7, 5, 8, 6, 9, 10)) % 11 == 0


def is_medicare(text: str) -> bool:
    """https://meteor.aihw.gov.au/content/270101: modulus 10, the ninth digit."""
    numbers = digits_of(text)
    return weighted(numbers, (1, 3, 7, 9, 1, 3, 7, 9)) % 10 == numbers[8]


def is_abn(text: str) -> bool:
    """https://abr.business.gov.au/Help/AbnFormat: modulus 89 after one is taken from the first digit."""
    numbers = digits_of(text)
    return weighted([numbers[0] - 1, *numbers[1:]], (10, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19)) % 89 == 0


NUMBERS = (
    number("au_tfn", r"\d{3}([ -]?)\d{3}\1\d{3}", is_tfn, words="tfn,tax file", digits_min=9),
    number("au_medicare", r"[2-6]\d{3}[ -]?\d{5}[ -]?\d(?:[ /-]?\d)?", is_medicare, words="medicare", digits_min=10),
    number("au_abn", r"\d\d ?\d{3} ?\d{3} ?\d{3}", is_abn, words="abn,business number", digits_min=11),
)
