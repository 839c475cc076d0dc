"""China, Japan and Korea."""

from llmproxy.shield.ids.form import digits_of, number, weighted
from llmproxy.shield.ids.members import is_day


def is_resident(text: str) -> bool:
    """GB 11643-1999: a day of birth, and ISO/IEC 7064, MOD 11-2."""
    plain = text.upper()
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    return (
        is_day(int(plain[6:10]), int(plain[10:12]), int(plain[12:14]))
        and "10X98765432"[weighted(digits_of(plain[:17]), weights) % 11] == plain[17]
    )


def is_my_number(text: str) -> bool:
    """https://elaws.e-gov.go.jp: modulus 11."""
    numbers = digits_of(text)
    rest = weighted(numbers, (6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2)) % 11
    return numbers[11] == (0 if rest <= 1 else 11 - rest)


def is_rrn(text: str) -> bool:
    """https://www.law.go.kr: a day of birth. Since 2020 there is no checksum."""
    numbers = digits_of(text)
    year = (1900 if numbers[6] in (1, 2, 5, 6) else 2000) + 10 * numbers[0] + numbers[1]
    return is_day(year, 10 * numbers[2] + numbers[3], 10 * numbers[4] + numbers[5])


NUMBERS = (
    number("cn_id", r"[1-8]\d{5}(?:19|20)\d\d(?:0[1-9]|1[0-2])[0-3]\d{4}[0-9X]", is_resident, digits_min=17),
    number(
        "jp_my_number",
        r"\d{4}([ -]?)\d{4}\1\d{4}",
        is_my_number,
        words="my number,個人番号,マイナンバー",
        digits_min=12,
    ),
    number("kr_rrn", r"\d{6}-?[1-8]\d{6}", is_rrn, words="주민등록번호,주민번호,resident registration", digits_min=13),
)
