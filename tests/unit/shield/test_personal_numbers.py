"""Runs of digits: cards and social security numbers in lists, beside other digits, and in tables."""

import pytest
from unit.shield.personal_findings import of_kind

from llmproxy.shield import glance, look
from llmproxy.shield.ids.form import is_luhn
from llmproxy.shield.personal import numbers


def test_luhn_rejects_every_single_digit_error() -> None:
    number = "4111111111111111"
    assert is_luhn(number)
    wrong = [
        number[:at] + digit + number[at + 1 :] for at in range(16) for digit in "0123456789" if digit != number[at]
    ]
    assert not any(is_luhn(one) for one in wrong)


@pytest.mark.parametrize("between", [" ", "  ", ", ", " / ", "-"])
@pytest.mark.parametrize(
    "spelling", ["4111111111111111", "4111 1111 1111 1111", "5500-0000-0000-0004", "340000000000009"]
)
def test_every_card_of_a_list_is_found(spelling: str, between: str) -> None:
    text = between.join([spelling] * 99)
    assert of_kind(text, "credit_card") == [spelling] * 99


@pytest.mark.parametrize("text", ["12 4111111111111111 99", "2024 5500000000000004", "order 7 4111 1111 1111 1111 8"])
def test_digits_beside_a_card_do_not_hide_it(text: str) -> None:
    assert len(of_kind(text, "credit_card")) == 1


def test_every_social_security_number_of_a_list_is_found() -> None:
    assert len(of_kind(" ".join(["219-09-9998", "078-05-1120"] * 20), "us_ssn")) == 40
    assert len(of_kind("row 12 219-09-9998 219-09-9997", "us_ssn")) == 2


def test_numbers_in_a_table_are_no_cards() -> None:
    assert not of_kind("4012 8888 1234 5678 9012 3456 7890 1234", "credit_card")


@pytest.mark.parametrize(
    "text", ["WHERE ssn = '219-09-9998' OR mrn = '040418532'", "SSN on file 219-09-9998, routing 021000021"]
)
def test_what_has_another_name_is_no_social_security_number(text: str) -> None:
    assert of_kind(text, "us_ssn") == ["219-09-9998"]


def test_social_security_numbers_have_one_name_together() -> None:
    assert of_kind("SSNs: 219-09-9998, 219099997 and 078051120", "us_ssn") == ["219-09-9998", "219099997", "078051120"]


@pytest.mark.parametrize("moment", ["2024-05-01", "2024/05/01", "2024.05.01", "2024-05-01 12", "12.123456"])
def test_a_moment_is_not_searched_for_numbers(moment: str) -> None:
    assert numbers.MOMENT.fullmatch(glance.shape(moment.encode())) is not None
    assert look.at(f"at {moment}:33") & look.Look.NUMBER == 0
