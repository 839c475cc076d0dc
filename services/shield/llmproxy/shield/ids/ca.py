"""Canada."""

from llmproxy.shield.ids.form import is_luhn, number

NUMBERS = (
    # https://www.canada.ca/en/employment-social-development/services/sin.html
    number("ca_sin", r"[0-79]\d\d([ -]?)\d{3}\1\d{3}", is_luhn, words="sin,social insurance,assurance sociale,nas", digits_min=9),
)  # fmt: skip
