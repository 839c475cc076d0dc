"""Further members of the European Union, each behind its name: https://ec.europa.eu/taxation_customs/tin/"""

from datetime import date

from llmproxy.shield.ids.form import digits_of, is_luhn, is_mod_11_10, number, weighted

FINNISH = "0123456789ABCDEFHJKLMNPRSTUVWXY"
IRISH = "WABCDEFGHIJKLMNOPQRSTUV"


def is_day(year: int, month: int, day: int) -> bool:
    try:
        date(year, month, day)
    except ValueError:
        return False
    return True


def is_nrn(text: str) -> bool:
    """https://www.ibz.rrn.fgov.be/: 97 minus the rest of the first nine, with a 2 before them for those born since 2000."""
    plain = "".join(map(str, digits_of(text)))
    check = int(plain[9:])
    return any(97 - int(century + plain[:9]) % 97 == check for century in ("", "2"))


def is_nif_pt(text: str) -> bool:
    """https://info.portaldasfinancas.gov.pt/: modulus 11."""
    numbers = digits_of(text)
    rest = weighted(numbers[:8], (9, 8, 7, 6, 5, 4, 3, 2)) % 11
    return numbers[8] == (0 if rest < 2 else 11 - rest)


def is_pps(text: str) -> bool:
    """https://www.gov.ie/en/service/12e6de-get-a-personal-public-service-pps-number/: modulus 23, a second letter counts nine times."""
    plain = text.replace(" ", "").upper()
    second = IRISH.find(plain[8]) if len(plain) > 8 else 0
    return second >= 0 and IRISH[(weighted(digits_of(plain[:7]), (8, 7, 6, 5, 4, 3, 2)) + 9 * second) % 23] == plain[7]


def is_personnummer(text: str) -> bool:
    """https://skatteverket.se/: Luhn over the last ten digits; a coordination number has 60 more in its day."""
    plain = "".join(map(str, digits_of(text)))[-10:]
    return is_luhn(plain) and 1 <= int(plain[2:4]) <= 12 and 1 <= int(plain[4:6]) % 60 <= 31


def is_cpr(text: str) -> bool:
    """https://www.cpr.dk/: a date that exists. The checksum has not held since 2007."""
    numbers = digits_of(text)
    day, month, year = numbers[0] * 10 + numbers[1], numbers[2] * 10 + numbers[3], numbers[4] * 10 + numbers[5]
    return is_day(2000 + year, month, day) or is_day(1900 + year, month, day)


def is_hetu(text: str) -> bool:
    """https://dvv.fi/en/personal-identity-code: the nine digits modulo 31."""
    return FINNISH[int("".join(map(str, digits_of(text[:6] + text[7:10])))) % 31] == text[10].upper()


def is_rodne_cislo(text: str) -> bool:
    """https://www.mvcr.cz/: ten digits are a multiple of 11; those of nine were given until 1953, without a checksum."""
    numbers = digits_of(text)
    if not 1 <= (numbers[2] * 10 + numbers[3]) % 50 % 20 <= 12:
        return False
    return len(numbers) == 9 or int("".join(map(str, numbers))) % 11 == 0


def is_cnp(text: str) -> bool:
    """https://depabd.mai.gov.ro/: modulus 11, where ten is one."""
    numbers = digits_of(text)
    rest = weighted(numbers, (2, 7, 9, 1, 4, 6, 3, 5, 8, 2, 7, 9)) % 11
    return (1 if rest == 10 else rest) == numbers[12]


def is_egn(text: str) -> bool:
    """https://www.grao.bg/: modulus 11, where ten is nought."""
    numbers = digits_of(text)
    return weighted(numbers, (2, 4, 8, 5, 10, 9, 7, 3, 6)) % 11 % 10 == numbers[9]


def is_afm(text: str) -> bool:
    """https://www.aade.gr/: powers of two, modulus 11, where ten is nought."""
    numbers = digits_of(text)
    return weighted(numbers, (256, 128, 64, 32, 16, 8, 4, 2)) % 11 % 10 == numbers[8] and any(numbers)


def is_amka(text: str) -> bool:
    """https://www.amka.gr/: a day of birth and Luhn."""
    numbers = digits_of(text)
    return is_luhn(text) and 1 <= numbers[0] * 10 + numbers[1] <= 31 and 1 <= numbers[2] * 10 + numbers[3] <= 12


def is_svnr(text: str) -> bool:
    """https://www.sozialversicherung.at/: the fourth digit is the others modulo 11."""
    numbers = digits_of(text)
    return weighted(numbers, (3, 7, 9, 0, 5, 8, 4, 2, 1, 6)) % 11 == numbers[3]


def is_taj(text: str) -> bool:
    """https://net.jogtar.hu/jogszabaly?docid=99600020.tv: threes and sevens, modulus 10."""
    numbers = digits_of(text)
    return weighted(numbers, (3, 7, 3, 7, 3, 7, 3, 7)) % 10 == numbers[8] and any(numbers)


def is_baltic(text: str) -> bool:
    """https://www.riigiteataja.ee/: modulus 11 with two rows of weights. Lithuania's is the same."""
    numbers = digits_of(text)
    rest = weighted(numbers[:10], (1, 2, 3, 4, 5, 6, 7, 8, 9, 1)) % 11
    if rest == 10:
        rest = weighted(numbers[:10], (3, 4, 5, 6, 7, 8, 9, 1, 2, 3)) % 11 % 10
    return rest == numbers[10]


def is_emso(text: str) -> bool:
    """https://www.gov.si/: modulus 11; the same in all countries of former Yugoslavia."""
    numbers = digits_of(text)
    rest = weighted(numbers, (7, 6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2)) % 11
    return numbers[12] == (0 if rest == 0 else 11 - rest)


NUMBERS = (
    number("be_nrn", r"\d\d([. ]?)\d\d\1\d\d[- ]?\d{3}[. ]?\d\d", is_nrn, words="rijksregister,registre national,nationalregister,niss,insz", digits_min=11),
    number("pt_nif", r"[1-35689]\d{2}[ .]?\d{3}[ .]?\d{3}", is_nif_pt, words="nif,contribuinte,nipc", digits_min=9),
    number("ie_pps", r"\d{7} ?[A-W][A-IW]?", is_pps, words="pps", digits_min=7),
    number("se_personnummer", r"(?:19|20)?\d{6}[-+ ]?\d{4}", is_personnummer, words="personnummer,samordningsnummer,personnr", digits_min=10),
    number("dk_cpr", r"\d{6}[- ]?\d{4}", is_cpr, words="cpr", digits_min=10),
    number("fi_hetu", r"[0-3]\d[01]\d{3}[-+A-FU-Y]\d{3}[0-9A-FHJ-NPR-Y]", is_hetu, words="henkil?tunnus,henkilotunnus,hetu"),
    number("cz_rodne_cislo", r"\d{6} ?/? ?\d{3,4}", is_rodne_cislo, words="rodn? ??slo,rodn? ?islo,rodne cislo", digits_min=9),
    number("ro_cnp", r"[1-9]\d{12}", is_cnp, words="cnp,cod numeric personal", digits_min=13),
    number("bg_egn", r"\d{10}", is_egn, words="egn", digits_min=10),
    number("gr_afm", r"\d{9}", is_afm, words="afm", digits_min=9),
    number("gr_amka", r"\d{11}", is_amka, words="amka", digits_min=11),
    number("hr_oib", r"\d{11}", is_mod_11_10, words="oib", digits_min=11),
    number("at_svnr", r"\d{4}[ -]?\d{6}", is_svnr, words="svnr,sozialversicherungsnummer,versicherungsnummer,sv-nummer", digits_min=10),
    number("hu_taj", r"\d{3}([ -]?)\d{3}\1\d{3}", is_taj, words="taj", digits_min=9),
    number("ee_isikukood", r"[1-8]\d{10}", is_baltic, words="isikukood", digits_min=11),
    number("lt_asmens_kodas", r"[1-8]\d{10}", is_baltic, words="asmens kod", digits_min=11),
    number("si_emso", r"\d{13}", is_emso, words="emso,em?o,jmbg", digits_min=13),
    number("lv_personas_kods", r"\d{6}-\d{5}", words="personas kod", digits_min=11),
)  # fmt: skip
