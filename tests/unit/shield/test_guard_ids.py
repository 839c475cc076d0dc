"""Identity numbers: each kind where it is valid, left alone with a wrong checksum or without its words, found anywhere."""

import json
import random
import re
from collections.abc import Callable
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.shield.personal_findings import seen

from llmproxy.common.policy import KINDS, Action, Policy
from llmproxy.common.segments import Segment
from llmproxy.shield import words
from llmproxy.shield.chain import Chain
from llmproxy.shield.examine import Examined, Order, examine
from llmproxy.shield.guards import GUARDS
from llmproxy.shield.guards.pii import Pii
from llmproxy.shield.ids import NUMBERS, au, eu, form, in_, uk
from llmproxy.shield.kinds import KINDS as DOCUMENTED
from llmproxy.shield.personal.ibans import is_iban
from llmproxy.shield.personal.wallets import BASE58
from llmproxy.shield.preflight import pipeline
from llmproxy.shield.vault import Vault, hashed, unmask
from llmproxy.shield.verdict import Allow, Mask


def kinds(text: str) -> set[str]:
    return {kind for kind, _ in seen(text)}


VALID = [
    ("us_itin", "912-70-1234", "it is {} then"),
    ("us_itin", "912701234", "ITIN: {}"),
    ("passport", "Z52363020", "Passport no. {}, holder"),
    ("passport", "C01X00T47", "Reisepass {}"),
    ("passport", "533380006", "US passport number {}"),
    ("driver_license", "D1234567", "driver's license number is {}"),
    ("driver_license", "2270-66-1551", "my driver's license number is {}"),
    ("driver_license", "MORGA657054SM9IJ", "UK driving licence {}"),
    ("bank_account", "6777784859", "transfer to account {}."),
    ("bank_account", "1234567890", "Kontonummer: {}"),
    ("medical_record", "MRN-2006383", "for ({}) today"),
    ("medical_record", "00482913", "Medical record number: {}"),
    ("date_of_birth", "1946-04-19", "geboren am {}."),
    ("date_of_birth", "05 March 1951", "born on {} in"),
    ("date_of_birth", "March 5, 1951", "Date of birth: {}"),
    ("date_of_birth", "03/17/1977", "DOB {}"),
    ("date_of_birth", "2/8/1935", "was born on {}."),
    ("it_fiscal_code", "RSS MRA 85T10 A562S", "C.F.: {},"),
    ("medical_record", "737-48-41", "Chart no. {}."),
    ("driver_license", "639 729 604", "confirm DL# {} and"),
    ("bank_account", "81565574", "sort code 11-22-33 acc {}"),
    ("bank_account", "827103899", "ACCT NO.\n{}\nSTATEMENT"),
    ("passport", "CXWVT6295", "Passnummer: {}, gültig"),
    ("passport", "C2ZMX04X1", "Reisepass Nr. {}."),
    ("passport", "36CH70761", "travel document no. {}, issued"),
    ("passport", "NWX1Y2Z34", "paspoortnummer {}, verklaart"),
    ("passport", "EG5008473", "护照号码：{}，"),
    ("passport", "TR1234567", "旅券番号{}"),
    ("passport", "59 85 287835", "паспорт серия {},"),
    ("driver_license", "B185E7B7273", "Führerschein-Nr. {}, ausgestellt"),
    ("driver_license", "M887-679-85-286-9", "DL {}"),
    ("driver_license", "MORGA657054SM9IJ", "dock 14, {}"),
    ("bank_account", "6222021234567890", "请汇到账号{}。"),
    ("medical_record", "12345678", "病历号：{}"),
    ("uk_nino", "MA 541632 A", "National Insurance number: {}"),
    ("uk_sort_code", "40-12-33", "a/c 76001911 s/c {}"),
    ("nl_bsn", "1112.22.333", "BSN {},"),
    ("nl_bsn", "111 222 333", "Sofinummer {}"),
    ("es_nif", "12.345.678-Z", "con DNI {} y"),
    ("de_rvnr", "65 170839 J 003", "Rentenversicherungsnummer {}."),
    ("de_rvnr", "65170839J003", "SV-Nummer {}"),
    ("de_id_card", "L01X00T471", "Personalausweis-Nr.: {}"),
    ("br_cpf", "529.982.247-25", "de {} em"),
    ("br_cpf", "52998224725", "CPF nº {},"),
    ("cn_id", "11010519491231002X", "身份证号码：{}，"),
    ("jp_my_number", "1234-5678-9018", "個人番号 {}"),
    ("kr_rrn", "900101-1234567", "주민등록번호: {}"),
    ("ru_snils", "112-233-445 95", "СНИЛС {}"),
    ("ru_snils", "11223344595", "СНИЛС: {}"),
    ("uk_nino", "AB123456C", "NI {}"),
    ("uk_nino", "AB 12 34 56 C", "it is {}, she said"),
    ("uk_nhs", "943 476 5919", "NHS number {}"),
    ("uk_sort_code", "20-00-00", "sort code {}"),
    ("ca_sin", "046 454 286", "SIN {}"),
    ("au_tfn", "123 456 782", "TFN: {}"),
    ("au_medicare", "2123 45670 1", "Medicare card {}"),
    ("au_abn", "51 824 753 556", "ABN {}"),
    ("in_aadhaar", "2341 2341 2346", "it is {}"),
    ("in_pan", "ABCPE1234F", "PAN {}"),
    ("de_tax_id", "86095742719", "Steuer-ID {}"),
    ("fr_nir", "1 84 12 76 451 089 46", "sécu {}"),
    ("fr_nir", "255081416802538", "numéro {}"),
    ("es_nif", "12345678Z", "DNI {}"),
    ("es_nif", "X1234567L", "NIE {}"),
    ("it_fiscal_code", "RSSMRA85T10A562S", "codice fiscale {}"),
    ("nl_bsn", "111222333", "BSN {}"),
    ("pl_pesel", "44051401359", "PESEL {}"),
    ("eu_vat", "DE136695976", "USt-IdNr. {}"),
    ("eu_vat", "FR40303265045", "TVA {}"),
    ("eu_vat", "IT00743110157", "P.IVA {}"),
    ("eu_vat", "PL8567346215", "NIP {}"),
    ("eu_vat", "ATU13585627", "UID {}"),
    ("eu_vat", "BE0428759497", "BTW {}"),
    ("swift_bic", "DEUTDEFF500", "SWIFT code: {}"),
    ("swift_bic", "NWBKGB2L", "BIC {}"),
    ("license_plate", "AB12 CDE", "number plate {}"),
    ("mac_address", "9e:b2:c6:ee:02:2a", "device {} is"),
    ("mac_address", "9E-B2-C6-EE-02-2A", "device {} is"),
    ("crypto", "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", "send to {}."),
    ("crypto", "3vSnz5xpzSEDf7G7dfdFzk3vnTYvWYuHti", "Send 0.2 BTC to {} and"),
    ("crypto", "0x442d4be2c590ec9947f3b32aaba6f7ea49c4cdbb", "to {} now"),
    ("crypto", "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq", "to {} now"),
    ("be_nrn", "85.07.30-033.28", "Rijksregisternummer: {}"),
    ("pt_nif", "123 456 789", "NIF {}"),
    ("ie_pps", "1234567FA", "PPS number {}"),
    ("se_personnummer", "19811218-9876", "personnummer {}"),
    ("dk_cpr", "211062-5629", "CPR-nr. {}"),
    ("fi_hetu", "131052-308T", "henkilötunnus {}"),
    ("cz_rodne_cislo", "736028/5163", "rodné číslo: {}"),
    ("ro_cnp", "1800101221144", "CNP {}"),
    ("bg_egn", "7523169263", "EGN {}"),
    ("gr_afm", "090000045", "AFM: {}"),
    ("gr_amka", "01013099997", "AMKA {}"),
    ("hr_oib", "94577403194", "OIB: {}"),
    ("at_svnr", "1237 010180", "SVNr. {}, bitte"),
    ("hu_taj", "254 756 834", "TAJ-szám {}"),
    ("ee_isikukood", "37605030299", "isikukood {}"),
    ("lt_asmens_kodas", "33309240064", "asmens kodas {}"),
    ("si_emso", "0101006500006", "EMŠO {}"),
    ("lv_personas_kods", "161175-19997", "personas kods {}"),
]


@pytest.mark.parametrize(("kind", "value", "text"), VALID)
def test_a_valid_number_is_found_with_its_exact_span(kind: str, value: str, text: str) -> None:
    assert (kind, value) in seen(text.format(value))
    assert Pii().may_hold(text.format(value))


def test_every_kind_of_number_has_an_example_and_a_place_in_the_policy() -> None:
    assert {number.kind for number in NUMBERS} <= {kind for kind, _, _ in VALID}
    assert {number.kind for number in NUMBERS} <= set(KINDS)


def test_the_first_look_knows_every_word_of_another_script() -> None:
    assert {word for number in NUMBERS for word in number.beyond} == set(words.STATED_BEYOND)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (kind.name, kind.example)
        for kind in DOCUMENTED
        if kind.country and "mod" in kind.check.lower() and kind.name != "au_medicare"
    ],
)
def test_a_wrong_last_digit_is_another_number_or_none(kind: str, value: str) -> None:
    """In at most two of the nine other spellings (the last of a Medicare number is its issue): a check letter is changed to a digit, and some sums have ten for nought."""
    at = max(index for index, character in enumerate(value) if character.isdecimal())
    wrong = [value[:at] + digit + value[at + 1 :] for digit in "0123456789" if digit != value[at]]
    assert sum(kind in kinds(one) for one in wrong) <= 2


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("uk_nhs", "NHS number 943 476 5918"),
        ("uk_nhs", "number 943 476 5919"),
        ("uk_nino", "BG123456C and AB123456E and ZZ 12 34 56 A"),
        ("uk_sort_code", "on 20-00-00 it ended"),
        ("ca_sin", "SIN 046 454 287"),
        ("ca_sin", "order 046 454 286"),
        ("au_tfn", "TFN: 123 456 789"),
        ("au_abn", "ABN 51 824 753 557"),
        ("in_aadhaar", "2341 2341 2347"),
        ("in_pan", "ABCXE1234F and abcpe1234f"),
        ("de_tax_id", "Steuer-ID 86095742710"),
        ("fr_nir", "255081416802539"),
        ("es_nif", "12345678A and X1234567A"),
        ("it_fiscal_code", "RSSMRA85T10A562T"),
        ("nl_bsn", "BSN 111222334"),
        ("pl_pesel", "PESEL 44051401358"),
        ("eu_vat", "DE136695977 and FR41303265045 and IT00743110158"),
        ("passport", "order Z52363020"),
        ("bank_account", "account manager, since 2019"),
        ("date_of_birth", "born to run, released on Friday"),
        ("date_of_birth", "the meeting on 1999-01-02"),
        ("us_itin", "it is 912-10-1234"),
        ("mac_address", "aa:bb:cc:dd:ee and 00:00:00:00:00:00 and aa:bb:cc:dd:ee:ff:00:11"),
        ("crypto", "commit 442d4be2c590ec9947f3b32aaba6f7ea49c4cdbb"),
        ("passport", "passport holders of COUNTRY only"),
        ("passport", "账号登录失败，错误码：10002345"),
        ("bank_account", "账号登录失败，错误码：10002345"),
        ("bank_account", "Bankleitzahl: 10050000"),
        ("bank_account", "Konto, BLZ 370 400 44"),
        ("bank_account", "on your account\nthere are 827103899 points"),
        ("br_cpf", "529.982.247-26 and 111.111.111-11"),
        ("br_cpf", "order 52998224725"),
        ("cn_id", "11010519491331002X and 110105194912310021"),
        ("de_id_card", "Personalausweis L01X00T472"),
        ("de_rvnr", "Rentenversicherungsnummer 65 170839 J 004"),
        ("jp_my_number", "注文番号 1234 5678 9018"),
        ("kr_rrn", "주문번호 900101-1234567"),
        ("ru_snils", "112-233-445 96"),
        ("uk_nino", "MA 541632 E"),
        ("crypto", "session 3vSnz5xpzSEDf7G7dfdFzk3vnTYvWYuHti"),
    ],
)
def test_what_is_not_valid_or_not_said_to_be_one_is_left_alone(kind: str, text: str) -> None:
    assert kind not in kinds(text)


CLEAN = [
    "def parse(line: str) -> tuple[int, int]:\n    return int(line[0:8], 16), int(line[8:16], 16)  # 0x1F 0b1010\n",
    'const x = { id: "3f2b8c1e-77aa-4b0c-9a11-0f4c2f6f1d2e", v: "2.31.0-rc.1", at: 1714566784123 };',
    "2024-05-01T12:33:04.123456Z INFO [worker-7] request_id=3f2b8c1e-77aa-4b0c-9a11-0f4c2f6f1d2e status=200 bytes=18234",
    "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "commit 9f8e7d6c5b4a3928170615243342516f00112233\nindex 83db48f..bf2a3c1 100644",
    "pip install numpy==1.26.4 torch==2.3.0+cu121 && node v20.11.1",
    "SELECT id, total FROM orders WHERE id IN (10482, 10483, 1048477) LIMIT 100;",
    'Traceback (most recent call last):\n  File "app.py", line 1042, in <module>\n    main(argv[1:])',
    "ISBN 978-3-16-148410-0, DOI 10.1000/182, arXiv:2301.12345v2",
    "Order #20240501-4711 ships on 01.05.2024 between 08:00 and 12:00, invoice INV-2024-001837.",
    "3.14159265358979 2.718281828459045 1e-9 6.02214076e23 0.1+0.2=0.30000000000000004",
    "for i in {1..100}; do curl -s localhost:8080/health; done",
    "git@github.com is how SSH remotes begin"[4:],
    "kubectl get pods -n prod | grep web-7d4b9c6f5d-x2x9k",
    "@media (max-width: 1200px) { .a { color: #deadbeef; margin: 0 0 12px 0; } }",
    "docker run -p 8080:80 --memory 512m nginx:1.25.3@sha256:4c0fdaa8b6341",
    "0001 0002 0003 0004 0005 0006\n1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144",
    "In 1905, aged 26, he wrote four papers; by 1921 he had the prize. Population: 8 336 817.",
    "std::vector<std::pair<int, int>> v; foo::bar::baz(); ns::f::g",
    '{"text": "91480072", "box": [[63, 191], [372, 124]]}',
    "chr1:155205634-155214653 rs1800497 ENSG00000139618 P04637",
]


@pytest.mark.parametrize("text", CLEAN)
def test_code_logs_and_prose_hold_no_personal_data_and_no_secret(text: str) -> None:
    assert isinstance(Chain(GUARDS, Policy()).inspect(Segment(role="user", path="p", text=text)), Allow)


# -- generated numbers


def _complete(stem: str, holds: Callable[[str], bool]) -> str | None:
    """The stem with a check digit, if there is one."""
    return next((stem + str(digit) for digit in range(10) if holds(stem + str(digit))), None)


def digits(count: int, first: str = "123456789") -> st.SearchStrategy[str]:
    return st.tuples(st.sampled_from(first), st.text("0123456789", min_size=count - 1, max_size=count - 1)).map("".join)


def checked(stem: st.SearchStrategy[str], holds: Callable[[str], bool]) -> st.SearchStrategy[str]:
    return stem.map(lambda one: _complete(one, holds) or "").filter(bool)


def _iban(account: str) -> str:
    check = next(n for n in range(2, 99) if is_iban(f"DE{n:02d}{account}"))
    return f"DE{check:02d}{account}"


def _wallet(body: bytes) -> str:
    raw = b"\0" + body
    raw += sha256(sha256(raw).digest()).digest()[:4]
    value, address = int.from_bytes(raw, "big"), ""
    while value:
        value, digit = divmod(value, 58)
        address = BASE58[digit] + address
    return "1" + address


GENERATED = {
    "credit_card": checked(digits(15, "4"), form.is_luhn),
    "iban": digits(18).map(_iban),
    "uk_nhs": checked(digits(9), uk.is_nhs).map(lambda one: f"NHS {one}"),
    "ca_sin": checked(digits(8, "1234567"), form.is_luhn).map(lambda one: f"SIN {one}"),
    "au_tfn": checked(digits(8), au.is_tfn).map(lambda one: f"TFN {one}"),
    "in_aadhaar": checked(digits(11, "23456789"), in_.is_verhoeff).map(lambda one: f"{one[:4]} {one[4:8]} {one[8:]}"),
    "es_nif": digits(8).map(lambda one: one + eu.NIF_LETTERS[int(one) % 23]),
    "nl_bsn": checked(digits(8), eu.is_bsn).map(lambda one: f"BSN {one}"),
    "eu_vat": checked(digits(8), form.is_mod_11_10).map(lambda one: f"DE{one}"),
    "crypto": st.binary(min_size=20, max_size=20).filter(lambda one: one[0] > 8).map(_wallet),
    "ip_address": st.ip_addresses(v=4).filter(lambda one: 0 < int(one) >> 24 < 255 and not one.is_loopback).map(str),
    "mac_address": st.binary(min_size=6, max_size=6)
    .filter(lambda one: len(set(one)) > 2 and one[0] % 2 == 0)  # A device's: groups have the last bit of the first.
    .map(lambda one: one.hex(":")),
}
AROUND = st.sampled_from(["", " ", "\n", "(", '"', "<b>", " is: ", "→ ", "— ", "名", "é "])


@pytest.mark.parametrize("kind", GENERATED)
@given(
    data=st.data(), before=AROUND, after=st.sampled_from(["", " ", "\n", ")", '"', "</b>", ", ", ". Then", "—", "名"])
)
def test_any_valid_number_is_found_wherever_it_stands(kind: str, data: st.DataObject, before: str, after: str) -> None:
    value = data.draw(GENERATED[kind])
    assert kind in kinds(f"{before}{value}{after}")


@given(values=st.lists(st.sampled_from([text.format(value) for _, value, text in VALID]), max_size=6))
def test_what_was_masked_comes_back(values: list[str]) -> None:
    text = "; ".join(values)
    verdict = Chain(GUARDS, Policy()).inspect(Segment(role="user", path="p", text=text))
    vault, masked, at = Vault(b"k" * 32, lambda: frozenset()), "", 0
    for finding in verdict.findings if isinstance(verdict, Mask) else ():
        masked += text[at : finding.start] + vault.mask(finding.kind, text[finding.start : finding.end])
        at = finding.end
    assert unmask(masked + text[at:], vault.originals) == text


DISGUISES: dict[str, Callable[[str], str]] = {
    "full-width digits": lambda value: re.sub(r"\d", lambda digit: chr(0xFF10 + int(digit[0])), value),
    "arabic digits": lambda value: re.sub(r"\d", lambda digit: chr(0x0660 + int(digit[0])), value),
    "zero-width spaces": "\u200b".join,
    "no-break spaces": lambda value: value.replace(" ", "\u00a0"),
}


@pytest.mark.parametrize("disguise", DISGUISES)
@pytest.mark.parametrize(
    ("kind", "text"),
    [("uk_nhs", "NHS number 943 476 5919"), ("in_aadhaar", "2341 2341 2346"), ("date_of_birth", "born on 1946-04-19"), ("es_nif", "12345678Z")],
)  # fmt: skip
def test_a_disguised_number_is_found(kind: str, text: str, disguise: str) -> None:
    verdict = Chain(GUARDS, Policy()).inspect(Segment(role="user", path="p", text=DISGUISES[disguise](text)))
    assert isinstance(verdict, Mask)
    assert kind in {finding.kind for finding in verdict.findings}


def test_random_digits_are_hardly_ever_a_number() -> None:
    draw = random.Random(7)
    samples = [f"ref {draw.randrange(10**9, 10**13)} done" for _ in range(2_000)]
    # Most are cards: thirteen digits and a 4 at the front pass Luhn one time in ten.
    assert sum(bool(kinds(sample)) for sample in samples) <= 60


def _examined(kinds: dict[str, Action], key: bytes, text: str) -> Examined:
    body = json.dumps({"messages": [{"role": "user", "content": text}]}).encode()
    order = Order(body=body, policy=Policy(kinds=kinds), key=key, max_depth=64)
    examined = examine(order, pipeline(GUARDS), lambda: 0.0)
    assert isinstance(examined, Examined)
    return examined


def test_what_is_hashed_leaves_the_same_mark_for_a_tenant_and_never_comes_back() -> None:
    once = _examined({"email": "hash"}, b"a" * 32, "ada@example.com and ada@example.com")
    assert once.masked is not None
    assert b"ada@" not in once.masked
    assert once.masked.count(hashed(b"a" * 32, "email", "ada@example.com").encode()) == 2
    assert once.originals == {}
    other = _examined({"email": "hash"}, b"b" * 32, "ada@example.com and ada@example.com")
    assert other.masked != once.masked


def test_a_hash_is_not_the_placeholder_of_the_same_value() -> None:
    vault = Vault(b"k" * 32, lambda: frozenset())
    mark, placeholder = vault.hashed("email", "ada@example.com"), vault.mask("email", "ada@example.com")
    assert mark != placeholder
    assert unmask(mark, vault.originals) == mark


def test_a_key_behind_an_escape_inside_tool_call_arguments_is_found() -> None:
    key = "ghp_" + "aB3dE5fG7hJ9kL1mN0pQ2rS4tU6vW8xY1zA3"
    arguments = json.dumps({"text": f"first line\n{key}\tend"})
    body = {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": arguments}}]}]}
    order = Order(body=json.dumps(body).encode(), policy=Policy(), key=b"k" * 32, max_depth=64)
    examined = examine(order, pipeline(GUARDS), lambda: 0.0)
    assert isinstance(examined, Examined)
    assert examined.masked is not None
    assert key.encode() not in examined.masked


@pytest.mark.parametrize(
    ("text", "kind", "found"),
    [
        ("chart no. 0720051; specimen 24-0091", "medical_record", {"0720051"}),
        ("Kontonummer: 40150849170 Kundennummer: 10050000", "bank_account", {"40150849170"}),
        ("accounts 40150849170 and 10050000", "bank_account", {"40150849170", "10050000"}),
        ("routing 021000021 account 40150849170", "bank_account", {"40150849170"}),
    ],
)
def test_a_word_is_for_the_numbers_up_to_the_next_word(text: str, kind: str, found: set[str]) -> None:
    assert {value for one, value in seen(text) if one == kind} == found
