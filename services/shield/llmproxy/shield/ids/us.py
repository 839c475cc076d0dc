"""United States, and what is written alike everywhere: passports, licences, accounts."""

import re

from llmproxy.shield.ids.form import always, number

PASSPORT = "passport,passeport,reisepass,pasaporte,passaport,paszport,paspoort,passnummer,pass-nr,ausweis,travel document,护照,護照,旅券,パスポート,여권,паспорт,Паспорт,جواز السفر,جواز سفر,पासपोर्ट,דרכון,διαβατ"
LICENCE = "driver,driving licen,dl number,dl no,dl#,dl:,licence no,license no,licence number,license number,permis de conduire,f?hrerschein,fuhrerschein,patente,carnet de conducir,rijbewijs,prawo jazdy,驾驶证,驾照,免許証,운전면허,водительск"
ACCOUNT = "account,acct,acc,a/c,bank,konto,compte,cuenta,conto,rekening,账号,帳號,口座番号,계좌번호,номер счёта,номер счета,رقم الحساب,खाता संख्या,खाता नंबर"
RECORD = "mrn,medical record,patient id,patient no,patient number,patient #,chart no,chart number,health record,病历号,就诊号,患者番号,カルテ番号"

YEARS_OR_DATE = re.compile(
    r"(?:19|20)\d\d[ -](?:19|20)\d\d|\d{1,2}[ -]\d{1,2}[ -](?:19|20)\d\d|(?:19|20)\d\d[ -]\d{1,2}[ -]\d{1,2}"
)


def is_no_date(text: str) -> bool:
    """`account opened 01-05-2024` and `bank, 1990-2015` are no account numbers."""
    return YEARS_OR_DATE.fullmatch(text) is None


def is_lettered(text: str) -> bool:
    """Neither a word nor the number of something."""
    return sum(character.isdecimal() for character in text) >= 2


NUMBERS = (
    # https://www.irs.gov/individuals/individual-taxpayer-identification-number
    number("us_itin", r"9\d\d([ -])(?:5\d|6[0-5]|7\d|8[0-8]|9[0-24-9])\1\d{4}", digits_min=9),
    number("us_itin", r"9\d\d(?:5\d|6[0-5]|7\d|8[0-8]|9[0-24-9])\d{4}", words="itin,taxpayer id", digits_min=9),
    # https://www.icao.int/publications/pages/publication.aspx?docnum=9303: at most nine letters and digits.
    number("passport", r"[A-Z]{0,3}\d{6,9}|[A-Z]\d{2}[A-Z0-9]{5,6}|\d{2} ?\d{2} ?\d{6}", words=PASSPORT),
    number("passport", r"(?-i:[A-Z][A-Z0-9]{7,8}|\d{2}[A-Z]{2}\d{5})", is_lettered, words=PASSPORT, digits_min=1),
    # https://www.aamva.org: each state has its own; only the words before it tell.
    number("driver_license", r"(?-i:[A-Z]\d{3}-\d{3}-\d{2}-\d{3}-\d)", digits_min=12),
    # https://assets.publishing.service.gov.uk/media/5a7c7ae640f0b626628aba8a/INF45-4.pdf: five letters of the name, the date of birth, initials.
    number("driver_license", r"(?-i:[A-Z]{2,5}9{0,3}(?<=[A-Z9]{5})\d(?:[05][1-9]|[16][0-2])(?:0[1-9]|[12]\d|3[01])\d[A-Z9]{2}\d[A-Z]{2})"),
    number("driver_license", r"(?-i:[A-Z]\d{2,3}[A-Z0-9]{6,7}[0-9X])", words="f?hrerschein,fuhrerschein", digits_min=1),
    number("driver_license", r"[A-Z]{0,2}\d{6,14}|\d{3} \d{3} \d{3}|[A-Z]\d{2,4}-\d{4}-\d{4,5}|\d{3,4}-\d{2}-\d{4}|[A-Z]{5}\d{6}[A-Z0-9]{5}", words=LICENCE),
    number("bank_account", r"\d{6,26}|\d{2,6}(?:[ -]\d{2,8}){1,4}|[A-Z]{4}\d{10,14}|[A-Z]\d{10}[A-Z0-9]{12}", is_no_date, words=ACCOUNT),
    number("medical_record", r"(?:MRN|MR|PT)[ :#-]{0,2}\d{5,10}", always),
    number("medical_record", r"[A-Z]{0,3}-?\d{5,12}|\d{2,4}(?:-\d{2,4}){1,3}", is_no_date, words=RECORD),
    number("license_plate", r"(?-i:[A-Z]{2}\d\d ?[A-Z]{3}|[A-Z]{1,3}[ -]?[A-Z]{0,2}[ -]?\d{1,4}[A-Z]{0,2}|\d{1,4}[ -]?[A-Z]{2,3})", words="license plate,licence plate,number plate,registration plate,plate number,plate no", digits_min=1),
)  # fmt: skip
