"""Russia."""

from llmproxy.shield.ids.form import digits_of, number, weighted


def is_snils(text: str) -> bool:
    """https://sfr.gov.ru: modulus 101, where a hundred is nought."""
    numbers = digits_of(text)
    return weighted(numbers[:9], (9, 8, 7, 6, 5, 4, 3, 2, 1)) % 101 % 100 == 10 * numbers[9] + numbers[10]


NUMBERS = (
    number("ru_snils", r"\d{3}-\d{3}-\d{3}[ -]\d\d", is_snils, digits_min=11),
    number("ru_snils", r"\d{11}", is_snils, words="СНИЛС", digits_min=11),
)
