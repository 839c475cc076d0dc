"""Every kind of personal data for readers: what it looks like, what is checked, where that is written down, and an example that is found.

docs/pii.md is made from this, and a test finds every example.
"""

from typing import NamedTuple


class Kind(NamedTuple):
    name: str
    form: str
    check: str  # "" where there is no checksum: then the words before it tell, or the form is strict.
    source: str
    example: str
    country: str = ""


KINDS: tuple[Kind, ...] = (
    Kind("email", "local@domain, also international", "a top-level domain of letters", "https://www.rfc-editor.org/rfc/rfc5321", "ada@example.org"),
    Kind("phone", "`+` and a country's digits; area and groups; any digits after a word for it", "digits and groups as countries have them; with +1, an area that may be assigned", "https://www.itu.int/rec/T-REC-E.164", "+44 20 7946 0958"),
    Kind("credit_card", "12 to 19 digits of an issuer", "Luhn", "https://www.iso.org/standard/70484.html", "4111 1111 1111 1111"),
    Kind("iban", "country, two digits, and the country's length", "mod 97", "https://www.swift.com/standards/data-standards/iban-international-bank-account-number", "GB82 WEST 1234 5698 7654 32"),
    Kind("bank_account", "6 to 17 digits after a word for it", "", "https://www.nacha.org/rules", "account number 12345678"),
    Kind("swift_bic", "8 or 11 letters after its name; let pass by default", "", "https://www.iso.org/standard/60390.html", "BIC DEUTDEFF"),
    Kind("crypto", "Bitcoin, Litecoin, Dogecoin, Tron, Ethereum, Monero", "Base58Check; hexadecimal and bech32 by form", "https://github.com/bitcoin/bips/blob/master/bip-0173.mediawiki", "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2"),
    Kind("ip_address", "IPv4 and IPv6; not loopback, masks, networks, groups and versions", "each group's range", "https://www.rfc-editor.org/rfc/rfc4291", "203.0.113.9"),
    Kind("mac_address", "six pairs of hexadecimal digits; not broadcast and groups", "the group bit", "https://standards.ieee.org/products-programs/regauth/", "00:1b:44:11:3a:b7"),
    Kind("date_of_birth", "a date beside a word for it, in some forty languages", "", "https://www.iso.org/iso-8601-date-and-time-format.html", "born on 12 May 1985"),
    Kind("passport", "6 to 10 letters and digits after a word for it", "", "https://www.icao.int/publications/pages/publication.aspx?docnum=9303", "passport C01X00T47"),
    Kind("driver_license", "each state's form after a word for it", "", "https://www.aamva.org/", "driver license H12234567"),
    Kind("medical_record", "`MRN` and digits, or digits after a word for it", "", "https://www.hhs.gov/hipaa/for-professionals/privacy/special-topics/de-identification/index.html", "MRN-00123456"),
    Kind("license_plate", "letters and digits after a word for it; let pass by default", "", "https://www.aamva.org/", "license plate AB12 CDE"),
    Kind("us_ssn", "three, two and four digits", "no area 000, 666 or 9xx, no group 00, no serial 0000", "https://www.ssa.gov/employer/randomization.html", "219-09-9998", "United States"),
    Kind("us_itin", "9xx, a middle pair of the assigned ones, four digits", "the assigned middle pairs", "https://www.irs.gov/individuals/individual-taxpayer-identification-number", "912-78-1234", "United States"),
    Kind("uk_nino", "two letters, six digits, A to D", "the prefixes in use", "https://www.gov.uk/hmrc-internal-manuals/national-insurance-manual/nim39110", "AB 12 34 56 C", "United Kingdom"),
    Kind("uk_nhs", "ten digits after its name", "mod 11", "https://www.datadictionary.nhs.uk/attributes/nhs_number.html", "NHS 943 476 5919", "United Kingdom"),
    Kind("uk_sort_code", "three pairs after its name", "", "https://www.vocalink.com/tools/modulus-checking/", "sort code 20-00-00", "United Kingdom"),
    Kind("ca_sin", "nine digits after its name", "Luhn", "https://www.canada.ca/en/employment-social-development/services/sin.html", "SIN 046 454 286", "Canada"),
    Kind("au_tfn", "nine digits after its name", "mod 11", "https://www.ato.gov.au/individuals-and-families/tax-file-number", "TFN 123 456 782", "Australia"),
    Kind("au_medicare", "ten or eleven digits after its name", "mod 10", "https://meteor.aihw.gov.au/content/270101", "Medicare 2123 45670 1", "Australia"),
    Kind("au_abn", "eleven digits after its name; let pass by default", "mod 89", "https://abr.business.gov.au/Help/AbnFormat", "ABN 51 824 753 556", "Australia"),
    Kind("in_aadhaar", "twelve digits in groups, or after its name", "Verhoeff", "https://uidai.gov.in/", "2341 2341 2346", "India"),
    Kind("in_pan", "five letters, four digits, a letter", "the fourth letter", "https://incometaxindia.gov.in/", "ABCPE1234F", "India"),
    Kind("de_tax_id", "eleven digits after its name", "MOD 11,10, and one digit twice or three times", "https://www.bzst.de/", "Steuer-ID 86 095 742 719", "Germany"),
    Kind("de_rvnr", "eight digits, a letter and three digits after its name", "weighted digits, mod 10", "https://www.gesetze-im-internet.de/vkvv/", "Rentenversicherungsnummer 65 170839 J 003", "Germany"),
    Kind("de_id_card", "nine letters and digits and a digit after its name", "mod 10", "https://www.icao.int/publications/pages/publication.aspx?docnum=9303", "Ausweisnummer L01X00T471", "Germany"),
    Kind("fr_nir", "fifteen digits", "97 minus the remainder", "https://www.insee.fr/fr/metadonnees/definition/c1409", "1 84 12 76 451 089 46", "France"),
    Kind("es_nif", "eight digits and a letter; X, Y or Z, seven digits and a letter", "mod 23", "https://www.interior.gob.es/", "12345678Z", "Spain"),
    Kind("it_fiscal_code", "sixteen letters and digits", "a sum with odd places weighted", "https://www.agenziaentrate.gov.it/", "RSSMRA85T10A562S", "Italy"),
    Kind("nl_bsn", "nine digits after its name", "the eleven test", "https://www.rvig.nl/bsn", "BSN 111222333", "Netherlands"),
    Kind("pl_pesel", "eleven digits after its name", "mod 10, and a date that exists", "https://www.gov.pl/web/gov/czym-jest-numer-pesel", "PESEL 44051401359", "Poland"),
    Kind("eu_vat", "AT, BE, DE, ES, FR, IT, NL, PL and the number", "each country's own", "https://taxation-customs.ec.europa.eu/vat-identification-numbers_en", "DE136695976", "European Union"),
    Kind("be_nrn", "eleven digits after its name", "97 minus the remainder", "https://www.ibz.rrn.fgov.be/", "Rijksregister 85.07.30-033.28", "Belgium"),
    Kind("pt_nif", "nine digits after its name", "mod 11", "https://info.portaldasfinancas.gov.pt/", "NIF 123456789", "Portugal"),
    Kind("ie_pps", "seven digits and one or two letters after its name", "mod 23", "https://www.gov.ie/en/service/12e6de-get-a-personal-public-service-pps-number/", "PPS 1234567T", "Ireland"),
    Kind("se_personnummer", "ten or twelve digits after its name", "Luhn, and a date", "https://skatteverket.se/", "personnummer 811218-9876", "Sweden"),
    Kind("dk_cpr", "ten digits after its name", "a date that exists", "https://www.cpr.dk/", "CPR 211062-5629", "Denmark"),
    Kind("fi_hetu", "a date, the sign of a century, three digits and a letter after its name", "mod 31", "https://dvv.fi/en/personal-identity-code", "hetu 131052-308T", "Finland"),
    Kind("cz_rodne_cislo", "nine or ten digits after its name", "mod 11", "https://www.mvcr.cz/", "rodné číslo 736028/5163", "Czechia, Slovakia"),
    Kind("ro_cnp", "thirteen digits after its name", "mod 11", "https://depabd.mai.gov.ro/", "CNP 1800101221144", "Romania"),
    Kind("bg_egn", "ten digits after its name", "mod 11", "https://www.grao.bg/", "EGN 7523169263", "Bulgaria"),
    Kind("gr_afm", "nine digits after its name", "mod 11", "https://www.aade.gr/", "AFM 090000045", "Greece"),
    Kind("gr_amka", "eleven digits after its name", "Luhn, and a date", "https://www.amka.gr/", "AMKA 01013099997", "Greece"),
    Kind("hr_oib", "eleven digits after its name", "MOD 11,10", "https://www.porezna-uprava.hr/HR_OIB/", "OIB 94577403194", "Croatia"),
    Kind("at_svnr", "ten digits after its name", "mod 11", "https://www.sozialversicherung.at/", "SVNR 1237 010180", "Austria"),
    Kind("hu_taj", "nine digits after its name", "mod 10", "https://net.jogtar.hu/jogszabaly?docid=99600020.tv", "TAJ 254 756 834", "Hungary"),
    Kind("ee_isikukood", "eleven digits after its name", "mod 11", "https://www.riigiteataja.ee/", "isikukood 37605030299", "Estonia"),
    Kind("lt_asmens_kodas", "eleven digits after its name", "mod 11", "https://www.registrucentras.lt/", "asmens kodas 33309240064", "Lithuania"),
    Kind("si_emso", "thirteen digits after its name", "mod 11", "https://www.gov.si/", "EMŠO 0101006500006", "Slovenia"),
    Kind("br_cpf", "eleven digits in groups, or after its name", "mod 11, twice", "https://www.gov.br/receitafederal/", "529.982.247-25", "Brazil"),
    Kind("cn_id", "seventeen digits and a digit or X", "a date that exists, and MOD 11-2", "https://openstd.samr.gov.cn/", "11010519491231002X", "China"),
    Kind("jp_my_number", "twelve digits after its name", "mod 11", "https://www.digital.go.jp/", "個人番号 1234 5678 9018", "Japan"),
    Kind("kr_rrn", "six and seven digits after its name", "a date that exists", "https://www.law.go.kr/", "주민등록번호 900101-1234567", "Korea"),
    Kind("ru_snils", "eleven digits in groups, or after its name", "mod 101", "https://sfr.gov.ru/", "112-233-445 95", "Russia"),
    Kind("lv_personas_kods", "six and five digits after its name", "", "https://www.pmlp.gov.lv/", "personas kods 161175-19997", "Latvia"),
)  # fmt: skip
