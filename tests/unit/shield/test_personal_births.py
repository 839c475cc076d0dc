"""Days of birth: dates as languages write them, where the text calls them so, before or behind; and other dates."""

import pytest
from unit.shield.personal_findings import of_kind


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("8/17/89", "claimant DOB {}."),
        ("23.10.82", "Anna Beispiel, geb.: {}"),
        ("3-4-81", "D.O.B. {}, male"),
        ("17th of May 1965", "date of birth is the {};"),
        ("2-MAR-1956", "Date of birth\n{}"),
        ("25. 2. 1949", "geboren am {} in Graz"),
        ("19810304", '{{"dob":"{}"}}'),
        ("1981-03-04", '{{"dateOfBirth": "{}"}}'),
        ("1981-03-04", '{{"patientDob": "{}"}}'),
        ("1981-03-04", "Ann Example (b. {})"),
        ("04/03/1981", "Ann Example, {} (DOB)"),
        ("26-05-1970", "Élève né(e) le {}."),
        ("4 mars 1981", "Née à Lyon le {},"),
        ("19 de junho de 1938", "nascido em {}"),
        ("26/8/1946", "Data nasc.: {}"),
        ("26-08-1986", "nata a Bari il {},"),
        ("13 augustus 2004", "Geboortedatum {}"),
        ("5 listopada 1979", "Jan Przykład, ur. {}"),
        ("17 października 1979", "urodzony {} r."),
        ("4 mars 1981", "född den {}"),
        ("12 Ağustos 1990", "doğum tarihi: {}"),
        ("4 марта 1981", "родился {} г."),
        ("13 января 1944", "Выписка: {} года рождения"),
        ("16.10.40", "Дата рождения {}"),
        ("2 अगस्त 2003", "जन्म तिथि: {}"),
        ("18/10/2007", "تاريخ الميلاد {}"),
        ("2007年2月24日", "出生日期：{}，"),
        ("1981年3月4日", "{}生まれ、"),
        ("昭和56年3月4日", "生年月日は{}です"),
        ("1990년 5월 1일", "생년월일: {}"),
    ],
)
def test_a_date_that_is_called_a_day_of_birth_is_found(value: str, text: str) -> None:
    assert of_kind(text.format(value), "date_of_birth") == [value]


@pytest.mark.parametrize(
    "text",
    [
        "Adobe Reader, 2019-03-04",
        "la fiesta nacional, 12/10/2023",
        "la Nación, 3 de mayo de 2019",
        "stubborn since 04/03/1981",
        "NATO il 4/4/1949",
        "Рождество 07.01.2023",
        "born at 3.10, weight 3.45.2 kg",
        "born 13.30.99",
        "2024年3月12日の会議",
        "令和6年3月12日に発売",
    ],
)
def test_another_date_is_left_alone(text: str) -> None:
    assert of_kind(text, "date_of_birth") == []


def test_a_word_calls_one_date_and_those_listed_with_it() -> None:
    assert of_kind("FECHA DE NACIMIENTO 15.09.1978  VALIDEZ 01 01 2030", "date_of_birth") == ["15.09.1978"]
    assert of_kind("born 4/3/1981, hired 5/3/2019", "date_of_birth") == ["4/3/1981"]
    assert of_kind("DOBs: 1981-03-04, 1979-01-02 and 1990-12-01", "date_of_birth") == [
        "1981-03-04",
        "1979-01-02",
        "1990-12-01",
    ]
