"""European Union: national numbers, and VAT numbers with their country's checksum."""

from datetime import date

from llmproxy.shield.ids.form import always, digits_of, is_luhn, is_mod_11_10, number, weighted

NIF_LETTERS = "TRWAGMYFPDXBNJZSQVHLCKE"
ODD = dict(zip("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23), strict=True))  # fmt: skip


def is_steuer_id(text: str) -> bool:
    """https://www.bzst.de: eleven digits, one of the first ten twice or three times, MOD 11,10."""
    numbers = digits_of(text)
    return numbers[0] != 0 and len(set(numbers[:10])) in (8, 9) and is_mod_11_10(text)


def is_rvnr(text: str) -> bool:
    """https://www.gesetze-im-internet.de/vkvv: the letter counts as two digits, and of what the weights make the digits are added."""
    plain = "".join(character for character in text.upper() if character.isalnum())
    numbers = digits_of(plain[:8] + f"{ord(plain[8]) - ord('A') + 1:02}" + plain[9:])
    products = (digit * weight for digit, weight in zip(numbers, (2, 1, 2, 5, 7, 1, 2, 1, 2, 1, 2, 1), strict=False))
    return 1 <= int(plain[4:6]) <= 12 and sum(sum(divmod(one, 10)) for one in products) % 10 == numbers[12]


def is_id_card(text: str) -> bool:
    """https://www.icao.int/publications/pages/publication.aspx?docnum=9303: modulus 10 with sevens, threes and ones, letters from 10 on."""
    values = [int(character, 36) for character in text]
    return weighted(values[:9], (7, 3, 1) * 3) % 10 == values[9]


def is_nir(text: str) -> bool:
    """https://www.insee.fr: fifteen characters, 97 minus the rest of the first thirteen. Corsica's 2A and 2B are 19 and 18."""
    plain = (
        "".join(character for character in text.upper() if character.isalnum()).replace("2A", "19").replace("2B", "18")
    )
    return plain.isdecimal() and 97 - int(plain[:13]) % 97 == int(plain[13:])


def is_nif(text: str) -> bool:
    """https://www.interior.gob.es: DNI and NIE, the letter is the rest modulo 23."""
    plain = "".join(character for character in text.upper() if character.isalnum())
    stem = {"X": "0", "Y": "1", "Z": "2"}.get(plain[0], plain[0]) + plain[1:-1]
    return NIF_LETTERS[int(stem) % 23] == plain[-1]


def is_codice_fiscale(text: str) -> bool:
    """https://www.agenziaentrate.gov.it: the last letter is a sum with odd places weighted."""
    plain = text.upper().replace(" ", "")
    total = sum(ODD[one] for one in plain[0:15:2]) + sum(
        int(one, 36) - (0 if one.isdecimal() else 10) for one in plain[1:15:2]
    )
    return chr(total % 26 + ord("A")) == plain[15]


def is_bsn(text: str) -> bool:
    """https://www.rvig.nl/bsn: the eleven test."""
    numbers = digits_of(text)
    return weighted(numbers, (9, 8, 7, 6, 5, 4, 3, 2, -1)) % 11 == 0 and any(numbers)


def is_pesel(text: str) -> bool:
    """https://www.gov.pl: a day of birth, the century in the month, modulus 10."""
    numbers = digits_of(text)
    year, month, day = int(text[:2]), int(text[2:4]), int(text[4:6])
    century = {0: 1900, 1: 2000, 2: 2100, 3: 2200, 4: 1800}.get(month // 20)
    try:
        date((century or 0) + year, month % 20, day)
    except ValueError:
        return False
    return (10 - weighted(numbers, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3)) % 10) % 10 == numbers[10]


def is_vat(text: str) -> bool:
    """https://taxation-customs.ec.europa.eu/vat-identification-numbers_en"""
    plain = "".join(character for character in text.upper() if character.isalnum())
    country, rest = plain[:2], plain[2:]
    numbers = digits_of(rest)
    match country:
        case "DE":
            return len(numbers) == 9 and numbers[0] != 0 and is_mod_11_10(rest)
        case "FR":
            siren = rest[2:]
            return rest[:2].isdecimal() and is_luhn(siren) and int(rest[:2]) == (12 + 3 * (int(siren) % 97)) % 97
        case "IT":
            return is_luhn(rest)
        case "ES":
            return (rest[0].isdecimal() or rest[0] in "XYZ") and rest[-1].isalpha() and is_nif(rest)
        case "NL":
            return is_bsn(rest[:9]) or _mod_97(plain) == 1
        case "PL":
            return weighted(numbers, (6, 5, 7, 2, 3, 4, 5, 6, 7)) % 11 == numbers[9]
        case "BE":
            return 97 - int(rest[:8]) % 97 == int(rest[8:])
        case "AT":
            doubled = sum(sum(divmod(2 * digit, 10)) for digit in numbers[1:7:2])
            return (10 - (sum(numbers[0:7:2]) + doubled + 4) % 10) % 10 == numbers[7]
    return False


def _mod_97(plain: str) -> int:
    return int("".join(str(int(character, 36)) for character in plain)) % 97


NUMBERS = (
    number("de_tax_id", r"\d\d ?\d{3} ?\d{3} ?\d{3}", is_steuer_id, words="steuer-id,steuerid,steueridentifikation,idnr,identifikationsnummer,tax id,tin", digits_min=11),
    number("de_rvnr", r"\d\d ?\d{6} ?[A-Z] ?\d{3}", is_rvnr, words="rentenversicherung,sozialversicherung,versicherungsnummer,sv-nummer,sv-nr,svnr,rvnr,vsnr", digits_min=8),
    number("de_id_card", r"(?-i:[CFGHJKLMNPRTVWXYZ][CFGHJKLMNPRTVWXYZ0-9]{8}\d)", is_id_card, words="ausweis", digits_min=1),
    number("fr_nir", r"[12] ?\d\d ?(?:0[1-9]|1[0-2]|[2-9]\d) ?(?:\d\d|2[AB]) ?\d{3} ?\d{3} ?\d\d", is_nir, digits_min=13),
    number("es_nif", r"\d{8}[ -]?[A-Z]|\d\d\.\d{3}\.\d{3}[ -]?[A-Z]|[XYZ][ -]?\d{7}[ -]?[A-Z]", is_nif, digits_min=7),
    number("it_fiscal_code", r"[A-Z]{6}\d\d[A-EHLMPRST]\d\d[A-Z]\d{3}[A-Z]", is_codice_fiscale, digits_min=7),
    number("it_fiscal_code", r"[A-Z]{3} [A-Z]{3} \d\d[A-EHLMPRST]\d\d [A-Z]\d{3}[A-Z]", is_codice_fiscale, words="codice fiscale,cod. fisc,c.f.", digits_min=1),
    number("nl_bsn", r"\d{9}|\d{4}([. ])\d\d\1\d{3}|\d{3}([. ])\d{3}\2\d{3}", is_bsn, words="bsn,burgerservicenummer,sofi,sofinummer", digits_min=9),
    number("pl_pesel", r"\d{11}", is_pesel, words="pesel", digits_min=11),
    number("eu_vat", r"(?:DE ?\d{9}|FR ?\d\d ?\d{3} ?\d{3} ?\d{3}|IT ?\d{11}|ES ?[A-Z0-9]\d{7}[A-Z0-9]|NL ?\d{9}B\d\d|PL ?\d{10}|BE ?[01]\d{3}\.?\d{3}\.?\d{3}|ATU ?\d{8})", is_vat, digits_min=7),
    # ISO 9362. A bank's public code: only with the words.
    number("swift_bic", r"(?-i:[A-Z]{6}[A-Z0-9]{2}(?:[A-Z0-9]{3})?)", always, words="swift,bic", digits_min=0),
)  # fmt: skip
