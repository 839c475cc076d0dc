"""Personal data is found where it is valid, and left alone where it only looks like it."""

import pytest
from unit.shield.personal_findings import of_kind, seen

from llmproxy.shield.guards.pii import Pii


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        ("email", "ada.lovelace+x@mail.example.co.uk", "write to {}."),
        ("email", "jürgen@bücher.example", "an {} an"),
        ("email", "a@b.co", "<{}>"),
        ("email", "a@b.co", "mailto={}&x"),
        ("credit_card", "4111111111111111", "card {}"),
        ("credit_card", "4111 1111 1111 1111", "card {}, please"),
        ("credit_card", "4111-1111-1111-1111", "order 12 {} ok"),
        ("credit_card", "4111 1111 1111 1111", "Order 12 {} ok"),
        ("credit_card", "3782 822463 10005", "amex {}"),
        ("credit_card", "5555.5555.5555.4444", "x{}".replace("x", "it is ")),
        ("credit_card", "6011000990139424", "{}"),
        ("credit_card", "30569309025904", "diners {}"),
        ("credit_card", "3530111333300000", "jcb {}"),
        ("us_ssn", "219-09-9998", "it is {} then"),
        ("us_ssn", "219 09 9998", "it is {} then"),
        ("us_ssn", "219099998", "my ssn: {}"),
        ("us_ssn", "912-34-5678", "SSN {}"),
        ("iban", "GB82 WEST 1234 5698 7654 32", "to {} today"),
        ("iban", "DE89370400440532013000", "IBAN:{}"),
        ("iban", "nl91abna0417164300", "iban {}."),
        ("iban", "MT84MALT011000012345MTLCAST001S", "{}"),
        ("ip_address", "203.0.113.9", "from {}:443 and"),
        ("ip_address", "10.0.0.7", "host {}."),
        ("ip_address", "2001:db8::8a2e:370:7334", "at {} now"),
        ("ip_address", "fe80::1", "at {}: it said"),
        ("ip_address", "2001:0db8:0000:0000:0000:ff00:0042:8329", "[{}]:80"),
        ("phone", "+1 (415) 555-2671", "ring {} now"),
        ("phone", "+442079460958", "ring {}"),
        ("phone", "+49 30 1234567", "Tel. {}"),
        ("phone", "(415) 555-2671", "at {}."),
        ("phone", "415-555-2671 x12", "at {}."),
        ("phone", "06 12 34 56 78", "appelle le {}"),
        ("phone", "020 7946 0958", "at {}"),
        ("phone", "5551234567", "phone: {}"),
        ("phone", "056 590 36 33", "messages to {}"),
        ("phone", "0680 298 70 63", "they do not answer at {}"),
        ("phone", "(351) 935 736 819", "reach us: {}"),
        ("phone", "(04752) 7720 33", "reach us: {}"),
        ("phone", "+(370) 40562241", "reach us: {}"),
        ("phone", "(+44) 20 7946 0958", "reach us: {}"),
        ("phone", "8 (495) 193-03-64", "reach us: {}"),
        ("phone", "(02)-5622-4154", "reach us: {}"),
        ("phone", "0145-42 12 47", "reach us: {}"),
        ("phone", "22 990 95 14", "Kontakt: {}"),
        ("phone", "2614597755", "contact me at {}"),
        ("phone", "13716225663", "手机号：{}，谢谢"),
        ("phone", "9121234567", "телефон {}"),
        ("phone", "01012345678", "연락처는 {}"),
        ("phone", "555-0199", '{{"telephone1": "{}"}}'),
        ("credit_card", "213161594239298", "for this card: {}"),
        ("credit_card", "3502162941615515", "with the card {}"),
        ("credit_card", "3591044387888370", "mi tarjeta {}"),
        ("credit_card", "676100000006", "Maestro {}"),
        ("email", "team10@example.edu", "请写信到{}。"),
        ("email", "team@example.com", "문의는 {}으로 보내 주세요"),
        ("email", "用户@例え.jp", "致 {} 的信"),
        ("email", "芳.朱92@example.com", "Email: {}"),
        ("email", "현우.장70@example.com", "메일 {}"),
        ("email", "josé.garcía@example.es", "a {} hoy"),
        ("ip_address", "10.1.2.3", "host ip-{} is up"),
        ("ip_address", "10.1.2.3", "ssh root@{}"),
        ("ip_address", "10.1.2.3", "{}/24 on eth0"),
        ("ip_address", "192.0.2.7", "http://{}/index.html"),
    ],
)
def test_what_is_valid_is_found_with_its_exact_span(kind: str, value: str, text: str) -> None:
    assert (kind, value) in seen(text.format(value))


@pytest.mark.parametrize(
    "text",
    [
        "nothing at all",
        "git commit 4111111111111112 is not a card",
        "order 4111111111111112",
        "0000 0000 0000 0000",
        "1234-5678-9012-3456",
        "9999999999999995",
        "on 2024-01-15 12:33:04 and 15.01.2024",
        "2024-05-01T12:33:04.123456Z",
        "ISBN 978-3-16-148410-0",
        "version 1.2.3.4 and v10.0.0.1",
        "firmware: 1.2.3.4",
        "256.1.1.1 and 1.2.3 and 1.2.3.4.5",
        "bind 0.0.0.0",
        "000-12-3456 and 666-12-3456 and 900-12-3456 and 123-00-4567 and 123-45-0000",
        "part 123-45-67890 of",
        "GB82 WEST 1234 5698 7654 33",
        "XX82 WEST 1234 5698 7654 32",
        "std::vector<int> and a::b and ::add and face::dead",
        "at 12:34:56 it was 00:00:00:00:00:00",
        "icon@2x.png",
        "x @ y and @decorator and user@localhost and npm i left@1.2.3",
        "order number 5551234567",
        "rgb(255, 255, 255) 3.14159265358979",
        "1 000 000 000",
        "invoice 2023-000123-4567",
        "bind 127.0.0.1 and netmask 255.255.255.0 and 255.255.255.255",
        "Route 192.0.2.0/24 and 10.0.0.0/8 are networks",
        '"contentVersion": "1.0.0.0"',
        "C:/WinPython-64bit-3.4.2.4/python",
        "foo==3.18.0.34 and Chrome/87.0.118.19",
        "tracking_id 561724567137",
        "bank, 1990-2015; account opened 01-05-2024",
        "sku 0294-9775-151 and ISSN 0317-847-112",
        "2019) 09-0583-06",
        "signal: 1010 1101 1001",
        "contact lens batch 34225191; reach 2549631 users",
        "2024-05-01 10:30 and (2024) 123 456",
        "GTIN 00630201071479",
        "1234 5678 2992 8449 7294 6117 8366",
    ],
)
def test_what_only_looks_like_it_is_left_alone(text: str) -> None:
    assert seen(text) == set()


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Invoice 2024/000123, INV-0012345678", "phone"),
        ("animal no. 002-1188-3345, breed: Hanwoo", "phone"),
        ("The author was born in Rome. Last updated 2021-05-06", "date_of_birth"),
        ("Birth of a nation, released 1915-02-08", "date_of_birth"),
        ("Emma's 30th birthday party\n\nDate: July 15th, 2024", "date_of_birth"),
        ("kernel 5.15.0.91 with openssl 1.1.1.2", "ip_address"),
        ('[assembly: AssemblyVersion("1.0.0.0")]', "ip_address"),
        ("see table 10.1.1.1 and figure 2.3.4.5", "ip_address"),
        ("OSPF speaks to 224.0.0.5", "ip_address"),
        ("Requires .NET 7.0.1.2", "ip_address"),
        ("WWN 50:06:01:60:3b:a0:11:22", "ip_address"),
        ("group 01:00:5e:00:00:fb, 33:33:00:00:00:01 and 01:80:c2:00:00:00", "mac_address"),
        ("frames to 03:00:00:00:00:01, (MAC: cf-44-2a-02-91-7e) and 0900.2b00.00a5", "mac_address"),
        ("phone: +1 (499) 555-0134, 001 592 555 0134, +1-411-555-0134, +1 370 555 0134 and +1 962 555 0134", "phone"),
        ("git clone git@github.com:owner/repository.git", "email"),
        ("receipt to j***@example.com", "email"),
        ("Upgrade from 7.5.15.15 to 8.16.0.1; see the notes", "ip_address"),
        ("Version 3.4.5.6, 3.4.5.7 und 3.4.5.8 sind betroffen", "ip_address"),
        ("OID 2.5.4.3", "ip_address"),
        ("a member since 2001, id 900123456", "ca_sin"),
        ("AWS account 123456789012", "bank_account"),
    ],
)
def test_what_is_something_else_by_what_stands_around_it_is_left_alone(text: str, kind: str) -> None:
    assert of_kind(text, kind) == []


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("dial 0044 20 7946 0958 today", "phone", "0044 20 7946 0958"),
        ("phone: +1 (380) 555-0134", "phone", "+1 (380) 555-0134"),
        ("phone: +1 (123) 456-7890", "phone", "+1 (123) 456-7890"),  # What people make up.
        ("phone: (499) 555-0134", "phone", "(499) 555-0134"),  # No country is said: this one is in Moscow.
        ("access from 10.4.4.1 (MAC: ce-44-2a-02-91-7e)", "mac_address", "ce-44-2a-02-91-7e"),
        ("dial 00 49 30 1234567 today", "phone", "00 49 30 1234567"),
        ("born in Rome on 1985-05-12, updated 2021-05-06", "date_of_birth", "1985-05-12"),
        ("server table at 10.1.1.1", "ip_address", "10.1.1.1"),
        ("client 231.45.6.7 signed in", "ip_address", "231.45.6.7"),
        ("the host was moved from 1.2.3.4 to a new rack", "ip_address", "1.2.3.4"),
        ("version 1.2.3.4 runs on 10.1.1.1", "ip_address", "10.1.1.1"),
        ("receipt to j*@example.com", "email", "j*@example.com"),
        ("2001:db8:11:22:33:44:55:66", "ip_address", "2001:db8:11:22:33:44:55:66"),
        ("MAC 00:1b:44:11:3a:b7", "mac_address", "00:1b:44:11:3a:b7"),
        ("mail git@example.org please", "email", "git@example.org"),
        ("my SIN: 046 454 286", "ca_sin", "046 454 286"),
        ("savings account 123456789012", "bank_account", "123456789012"),
        ("Account number: WEST12345698765432", "bank_account", "WEST12345698765432"),
        ("konto 12345678901234567890123456", "bank_account", "12345678901234567890123456"),
        ("conto X0542811101000000123456", "bank_account", "X0542811101000000123456"),
        ("IBAN: AR17 1234 5678 9012 3456, please", "iban", "AR17 1234 5678 9012 3456"),
        ("Visa 6390 0000 0005", "credit_card", "6390 0000 0005"),
        ("Meine Telefonnummer lautet 3912692753.", "phone", "3912692753"),
        ("Handynummer: 0151 23456789", "phone", "0151 23456789"),
        ("mijn telefoonnummer is 0612345678", "phone", "0612345678"),
    ],
)
def test_the_same_without_it_is_found(text: str, kind: str, value: str) -> None:
    assert of_kind(text, kind) == [value]


def test_the_quick_look_never_says_no_to_what_is_found() -> None:
    for text in ("a@b.co", "219-09-9998", "1.1.1.1", "fe80::1", "GB82 WEST 1234 5698 7654 32", "+49 30 1234567"):
        assert seen(text)
        assert Pii().may_hold(text)
