"""United States, and what is written alike everywhere: passports, licences, accounts."""

import re

from llmproxy.shield.ids.form import always, number

PASSPORT = "passport,passeport,reisepass,pasaporte,passaporto,paszport,paspoort,passnummer,ausweis"
LICENCE = "driver,driving licen,dl number,dl no,dl#,dl:,licence no,license no,licence number,license number,permis de conduire,f?hrerschein,fuhrerschein,patente,carnet de conducir,rijbewijs,prawo jazdy"
ACCOUNT = "account,acct,a/c,bank,konto,compte,cuenta,conto,rekening"
RECORD = "mrn,medical record,patient id,patient no,patient number,patient #,chart no,chart number,health record"

YEARS_OR_DATE = re.compile(
    r"(?:19|20)\d\d[ -](?:19|20)\d\d|\d{1,2}[ -]\d{1,2}[ -](?:19|20)\d\d|(?:19|20)\d\d[ -]\d{1,2}[ -]\d{1,2}"
)


def is_no_date(text: str) -> bool:
    """`account opened 01-05-2024` and `bank, 1990-2015` are no account numbers."""
    return YEARS_OR_DATE.fullmatch(text) is None


NUMBERS = (
    # https://www.irs.gov/individuals/individual-taxpayer-identification-number
    number("us_itin", r"9\d\d([ -])(?:5\d|6[0-5]|7\d|8[0-8]|9[0-24-9])\1\d{4}", digits_min=9),
    number("us_itin", r"9\d\d(?:5\d|6[0-5]|7\d|8[0-8]|9[0-24-9])\d{4}", words="itin,taxpayer id", digits_min=9),
    # https://www.icao.int/publications/pages/publication.aspx?docnum=9303: at most nine letters and digits.
    number("passport", r"[A-Z]{0,2}\d{6,9}|[A-Z]\d{2}[A-Z0-9]{5,6}|\d{2}[A-Z]{2}\d{5}", words=PASSPORT),
    # https://www.aamva.org: each state has its own; only the words before it tell.
    number("driver_license", r"[A-Z]{0,2}\d{6,14}|[A-Z]\d{3}-\d{3}-\d{2}-\d{3}-\d|[A-Z]\d{2,4}-\d{4}-\d{4,5}|\d{3,4}-\d{2}-\d{4}|[A-Z]{5}\d{6}[A-Z0-9]{5}", words=LICENCE),
    number("bank_account", r"\d{6,26}|\d{2,6}(?:[ -]\d{2,8}){1,4}|[A-Z]{4}\d{10,14}|[A-Z]\d{10}[A-Z0-9]{12}", is_no_date, words=ACCOUNT),
    number("medical_record", r"(?:MRN|MR|PT)[ :#-]{0,2}\d{5,10}", always),
    number("medical_record", r"[A-Z]{0,3}-?\d{5,12}", words=RECORD),
    number("license_plate", r"(?-i:[A-Z]{2}\d\d ?[A-Z]{3}|[A-Z]{1,3}[ -]?[A-Z]{0,2}[ -]?\d{1,4}[A-Z]{0,2}|\d{1,4}[ -]?[A-Z]{2,3})", words="license plate,licence plate,number plate,registration plate,plate number,plate no", digits_min=1),
)  # fmt: skip
