"""United Kingdom."""

from llmproxy.shield.ids.form import always, digits_of, number, weighted


def is_nhs(text: str) -> bool:
    """https://www.datadictionary.nhs.uk/attributes/nhs_number.html: modulus 11."""
    numbers = digits_of(text)
    check = 11 - weighted(numbers, (10, 9, 8, 7, 6, 5, 4, 3, 2)) % 11
    return check % 11 == numbers[9] and check != 10


NUMBERS = (
    # https://www.gov.uk/hmrc-internal-manuals/national-insurance-manual/nim39110
    number("uk_nino", r"(?!BG|GB|KN|NK|NT|TN|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z](?:([ -]?)\d\d\1\d\d\1\d\d\1[A-D]|([ -]?)\d{6}\2[A-D])", always),
    number("uk_nhs", r"\d{3}[ -]?\d{3}[ -]?\d{4}", is_nhs, words="nhs", digits_min=10),
    number("uk_sort_code", r"\d\d([ -]?)\d\d\1\d\d", words="sort code,sortcode,sort-code,sort_code,s/c"),
)  # fmt: skip
