"""Telephone numbers: behind words of many languages, beside others, directly before a card; and what only looks so."""

import pytest
from unit.shield.personal_findings import of_kind

CARD = "4111 1111 1111 1111"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("06221 / 489671", "Halter erreichbar unter {}."),
        ("653 396 254", "llamar al {} tardes"),
        ("638 064 942", "Avisar al {}."),
        ("338/1390672", "Potete chiamarmi allo {}?"),
        ("0154123424", "mon num c'est {} appelle moi"),
        ("0612345678", "joignable au {}"),
        ("604534565", "Telefon kontaktowy: {}"),
        ("501-859-871", "tel. kom. {}"),
        ("501859871", "proszę zadzwonić pod {}"),
        ("11 99743 8551", "me liga no {} por favor"),
        ("11 96391 5137", "Fone: {}"),
        ("681 106 246", "mi número es {}, gracias"),
        ("06-27781919", "mijn nummer is {}, app me"),
        ("06-34938182", "terugbellen mevr. Bos {} over offerte"),
        ("020-2338375", "bereikbaar, {}"),
        ("89264674978", "телефон для связи {}, почта"),
        ("89267811018", "Абонент {}, тариф"),
        ("2125551234", "caller id: {}"),
        ("213 808 761", "contacto {}, NIF"),
        ("347 9764213", "scrivimi al {} dopo le 18"),
        ("89267934230", "тел. жены {}"),
        ("01081160865", "رقم هاتفي {} والبريد"),
        ("08064561640", "ご家族の連絡先 {}"),
        ("(02) 9246 0562", "DOB 24/2/1949 ph {}"),
    ],
)
def test_a_number_is_found_where_somebody_asks_to_be_called(value: str, text: str) -> None:
    assert of_kind(text.format(value), "phone") == [value]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Tél. : 0553388992 ou 0139579364", ["0553388992", "0139579364"]),
        ("phone 5551234567 or 5559876543", ["5551234567", "5559876543"]),
        ("电话：66174063,66174043；", ["66174063", "66174043"]),
        ("phone 5551234567, 20240501123", ["5551234567"]),
        ("+49 30 1234567 and 12 items", ["+49 30 1234567"]),
    ],
)
def test_what_is_beside_a_number_is_another_if_it_is_said_or_looks_alike(text: str, found: list[str]) -> None:
    assert of_kind(text, "phone") == found


@pytest.mark.parametrize("phone", ["+49 30 1234567", "+1 212 555 0134", "(212) 555-0134", "020 7946 0958"])
@pytest.mark.parametrize("between", [" ", "  ", " / ", ", "])
def test_a_number_directly_before_or_behind_a_card_is_found_with_it(phone: str, between: str) -> None:
    for text in (f"{phone}{between}{CARD}", f"{CARD}{between}{phone}", f"call {phone}{between}{CARD}{between}{phone}"):
        assert of_kind(text, "credit_card") == [CARD]
        assert set(of_kind(text, "phone")) == {phone}


@pytest.mark.parametrize(
    "text",
    [
        "What is 188088987 + 565698560?",
        "489 879 7355 62\n857 530 9449 94\n925 105 6190 52",
        "AWB 020-93653659, 12 ctns",
        "zamówienie 501-859-871",
        "La Liga 2019-2020",
        "bel canto 1234567",
    ],
)
def test_sums_tables_and_numbers_of_other_things_are_left_alone(text: str) -> None:
    assert of_kind(text, "phone") == []
