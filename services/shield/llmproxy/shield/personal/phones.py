"""Phone numbers: international, as their countries write them, or behind a word for one."""

import re
from collections.abc import Iterator
from functools import partial

from llmproxy.shield.personal.page import Page
from llmproxy.shield.personal.runs import Run, only_digits
from llmproxy.shield.verdict import Finding

EXTENSION = r"(?:\s?(?:x|ext\.?|#)\s?\d{1,6})?"
END_OF_PHONE = r"(?!\w|[.-]\d)"
INTERNATIONAL = re.compile(
    rf"(?<![\w+])(?:\+\(?|(?<!\d )\+ \(?|(?<!-)00|\(\+(?=\d{{1,3}}\)))[1-9](?:[ ()./-]{{0,3}}\d){{6,14}}{EXTENSION}{END_OF_PHONE}",
    re.ASCII,
)
NORTH_AMERICAN = re.compile(  # And Russian: the same groups after an 8.
    r"(?<![\w.+-])(?:[18][ .-]?)?(?:\([2-9]\d\d\)[ .-]?|[2-9]\d\d[ .-])[2-9]\d\d[ .-](?:\d{4}|\d\d[ -]\d\d)"
    rf"{EXTENSION}{END_OF_PHONE}",
    re.ASCII,
)
TRUNK = re.compile(
    r"(?<![\w.+/-])(?:"
    r"0[1-9](?:[ .-]\d\d){4}"  # France
    r"|\(?0[1-9]\d{1,3}\)?[ /-]\d{3,4}[ -]?\d{3,4}"  # United Kingdom, Germany, Australia, Japan
    r"|0[1-9]\d{2,3}(?:[ /-]| / )\d{5,8}|0[1-9]\d?-\d{7,8}|06 \d{8}"
    r"|0[1-9]\d{0,3}[ /.-]{1,2}\d{2,4}([ .-])\d{2,4}(?:\1\d{2,4}){0,2}"  # Area, then groups with one kind of sign between.
    rf"){END_OF_PHONE}",
    re.ASCII,
)
AREA = re.compile(
    r"(?<![\w.+-])\((?!19\d\d\)|20\d\d\))(?:0?[1-9]\d{1,4}|0[1-9])\)[ /-]{0,2}(?!\d{4}[./-]\d\d?[./-])\d{2,6}(?:[ -]?\d{2,6}){0,3}"
    rf"{EXTENSION}{END_OF_PHONE}",
    re.ASCII,
)
"""An area in brackets is how people write telephone numbers, and nothing else that is not a year."""

IN_CONTEXT = re.compile(rf"(?<![\w.+-])\(?\d(?:[ ()./-]{{0,2}}\d){{6,13}}{EXTENSION}{END_OF_PHONE}", re.ASCII)
CALLED = r"(?:tele?(?:ph|f)on(?:e|o|u|nummer|nr)?|t[eé]l(?:[eé]f(?:ono)?)?|t[eé]l[eé]phone|tlf|tlfn|tfno|phone|fone|mobile?|mobiel|m[oó]vil|handy|celular|cellulare|komórka|whatsapp|zap|fax|тел|моб|телефон(?:а|у|ом)?|τηλέφωνο)"
ASKED = (  # To call: in the forms that people ask it in.
    r"(?:llam(?:ar|ad|e|en|a)(?:me|nos)?|avisar|chiam(?:a(?:re|r|te)?|i)(?:mi|ci)?|joindre|joignable|r?app?el+er?z?(?:-moi|-nous)?|erreich(?:bar|en)|(?:an|zurück)?ruf(?:en|e|t)?"
    r"|scriv(?:imi|etemi)|escr[ií]beme|(?<!la )lig(?:a|ar|ue|ou)|bel(?:len|t)?|(?:za)?dzwo(?:nić|ń)|conta[ct]to|contato|recapito|durchwahl|ligne|l[ií]nea|lijn|subscriber|msisdn|caller(?: id)?|абонент|(?:mi|meu|mio|mia|mon|ton|mijn|mein|m[oó]j|мой) (?:n[uú]m(?:[eé]ro|mer|er)?|номер))"
)
ASKED_AT = r"(?:[ :]{1,2}(?:me|mich|uns|nous|moi|al|allo|au|à|a|unter|auf|op|no|na|pod|es|is|é|è|ist|to|c'est|est le|nr|n[uú]mero|num[eé]ro|n[°º.])){0,3}"
PHONE_SAID = re.compile(
    r"(?:(?<![^\W_])(?:(?:tele)?phone|tel|tele?foon(?:nummer)?|telefon(?:o|nummer|nr|nummeret)?|telefone|handy(?:nummer)?|gsm|mobil(?:nummer|telefon|numret)?|m[oó]vil|num[eé]ro|desk|office|tel[eé]fono|t[eé]l[eé]phone|mobile?|mobiel|cell(?:ulare|phone|ular)?"
    r"|celular|portable|kom[oó]rka|rufnummer|numer telefonu|puhelinnumero|fax|whatsapp|hotline|helpline|(?:contact|kontakt)(?=:| (?:number|nr|no|me|us|him|her|them|at|on))|call|ring|dial|reach(?= (?:me|us|him|her|them|at|on)\b)|sms|text(?=\s)|puhelin|telefonszám|điện thoại|sđt"
    r"|телефону?|тел|моб(?:ильный)?|звоните|τηλ(?:έφωνο)?|κινητό)s?\d?"
    r"(?: (?:number|nr|no|num|me|us|him|her|them|at|on|is|number is|(?:me |us |him |her |them )?(?:back )?(?:at|on)))?(?![^\W_])[\s.:#=\"']{0,4}"
    r"(?:at |on |is |est le |est |ist |es |è |é |to |lautet |jest |er |är |on )?"
    r"|(?:电话|手机|联系方式|連絡先|電話番号|電話|携帯|手機|전화(?:번호)?|휴대폰|연락처|טלפון|נייד|هاتفي?|جوالي?|موبايلي?|โทร(?:ศัพท์)?|เบอร์|फ़ोन|फोन|मोबाइल)[號号码碼是はは은는이:：为為\s]{0,5})\Z",
    re.IGNORECASE,
)
ASKED_FOR = re.compile(
    rf"(?:(?<![^\W_]){CALLED}(?:\.? (?:kom|dom|mob|stac)\.?|\. [^\W\d_]{{2,12}}| для связи|(?:\.? \(?[^\W\d_]{{2,12}}\)?){{1,2}}\s?[:=]\s?|[\s.:]{{1,4}})[\s\"']{{0,2}}"
    rf"|(?<![^\W_]){ASKED}{ASKED_AT}[\s.:#=\"']{{0,3}})\Z",
    re.IGNORECASE,
)
PHONE_HEADS = frozenset(
    b"pho tel mob cel fax wha hot hel cal sms tex num m?v mov t?l des off han cid gsm por kom ruf con kon rin dia rea puh s?t tlf tfn zap lla avi chi joi app rap err lig lin l?n lij bel dzw zad rec dur sub msi anr zur fon n?m scr esc".split()
) | {b"??" + after for after in (b"?", b":", b" ")}  # The last three: words in other scripts.
PHONE_CONTEXT_CHARS = 28
PHONE_DIGITS_MIN, NATIONAL_DIGITS_MIN = 8, 9  # Shorter ones need a word.
BETWEEN_CHARS_MAX = 10
DIALLED_DIGITS_MAX = 15  # `00`, and what nearly all countries have behind it, in one piece.
NO_PHONE_CHARS = 16
NO_PHONE = re.compile(
    r"(?<![a-z])(?:sku|isbn(?:-?1[03])?|issn|ean|gtin|upc|order|invoice|ticket|tracking|serial|model|article|item|part|row|batch|lot|patent|doi|oid|case|bestell\w{0,8}|artikel\w{0,4}"
    r"|rechnung\w{0,6}|facture|commande|pedido|factura|awb|waybill|sendung\w{0,8}|bestel(?:ling|nummer)|ordine|fattura|faktur\w{0,2}|zamówieni\w|colis|заказ\w{0,2}|накладн\w{0,3})(?: ?(?:no|nr|num(?:ber)?|id|code)\b\.?)?[\s:#=\"'.°º-]{1,4}\+?\(?\Z",
    re.IGNORECASE,
)
"""What says that the groups of digits behind it are something else."""

GROUPED = frozenset({NORTH_AMERICAN, TRUNK})
ROW = re.compile(r" \d{1,2}(?!\d)")
"""Behind groups with nothing but spaces between them, fewer digits than a group has: a table."""

OR = re.compile(r"\s?(?:,? ?\b(?:or|and|oder|und|ou|et|o|y|e|of|en|lub|i|или|и)\b|或|または)\s?\(?")
BESIDE = re.compile(r"\s?[,;/|、，；]\s?")
SHAPE = str.maketrans("123456789", "0" * 9)
DATE = re.compile(r"\d{4}[./-]\d{1,2}[./-]\d{1,2}|\d{1,2}[./-]\d{1,2}[./-]\d{4}")
DIALLED = re.compile(r"00[ ()./-]{0,3}(\d{1,3})(?!\d)")
COUNTRY = re.compile(
    r"1|7|2[07]|3[0-469]|4[013-9]|5[1-8]|6[0-6]|8[1246]|9[0-58]"
    r"|21[1-368]|2[2-69]\d|3[578]\d|42[013]|5[09]\d|6[789]\d|80[08]|8[578]\d|9[679]\d"
)
"""ITU-T E.164 (Annex to the Operational Bulletin no. 1114); where a block of ten is partly assigned, all of it."""


NOBODYS = re.compile(r"1(?:[2-9]9|[2-9]11|37|96)")
"""North American areas that are assigned to nobody: `N11` is for services, `N9X`, `37X` and `96X` are kept for later (NANPA, numbering resources)."""


def find(run: Run) -> Iterator[Finding]:
    patterns = _patterns(run)
    if patterns and NO_PHONE.search(run.text, max(0, run.first - NO_PHONE_CHARS), run.start) is None:
        for pattern in patterns:
            for span in run.spans(pattern, partial(_holds, run, pattern)):
                run.page.phone = span
                yield Finding("phone", *span)
    before = run.page.phone[1]
    is_another = 0 < before <= run.start <= before + BETWEEN_CHARS_MAX
    if is_another or b"phone" in run.before or not PHONE_HEADS.isdisjoint(run.heads):
        yield from _said(run)


def _holds(run: Run, pattern: re.Pattern[str], match: re.Match[str]) -> bool:
    at = match.start()
    if (
        at > 1
        and match.string[at - 1] == " "
        and pattern in GROUPED
        and at - 1 != run.behind
        and match.string[at - 2] in "0123456789"
    ):
        return False  # Groups of something longer.
    return HOLDS.get(pattern, _is_a_national_phone)(match)


def _patterns(run: Run) -> list[re.Pattern[str]]:
    """Those that the signs of this run leave possible."""
    text, start, patterns = run.text, run.start, []
    is_dialled = text.startswith("00", start) and (run.is_spaced or run.end - start <= DIALLED_DIGITS_MAX)
    if is_dialled or "+" in text[run.first : start]:
        patterns.append(INTERNATIONAL)
    if run.is_spaced:
        patterns.append(NORTH_AMERICAN)
        if text[start] == "0":
            patterns.append(TRUNK)
        if text[start - 1 : start] == "(":
            patterns.append(AREA)
    return patterns


def _said(run: Run) -> Iterator[Finding]:
    """What follows a word for a phone."""
    for match in IN_CONTEXT.finditer(run.text, run.first, run.last):
        if match.start() >= run.end:
            break
        if is_likely(match[0]) and (is_said_a_phone(run.text, match.start()) or _is_another(run.page, match)):
            run.page.phone = match.span()
            yield Finding("phone", *match.span())


def is_likely(number: str) -> bool:
    """Of digits that are called a telephone number."""
    return len(set(only_digits(number))) > 2 and DATE.match(number) is None


def _is_another(page: Page, match: re.Match[str]) -> bool:
    """`one or the other`; in a list, when both look alike."""
    start, end = page.phone
    if OR.fullmatch(page.text, end, match.start()) is not None:
        return end > 0
    is_beside = end > 0 and BESIDE.fullmatch(page.text, end, match.start()) is not None
    return is_beside and page.text[start:end].translate(SHAPE) == match[0].translate(SHAPE)


def is_said_a_phone(text: str, start: int) -> bool:
    before = text[max(0, start - PHONE_CONTEXT_CHARS) : start]
    return PHONE_SAID.search(before) is not None or ASKED_FOR.search(before) is not None


def _is_an_international_phone(match: re.Match[str]) -> bool:
    """What begins with `00` is as often an id that is filled up with zeros: its first group is a country's, if it is a number."""
    dialled = DIALLED.match(match[0])
    return (
        _is_a_phone(match)
        and (dialled is None or COUNTRY.fullmatch(dialled[1]) is not None)
        and NOBODYS.match(only_digits(match[0]).lstrip("0")) is None
    )


def _is_a_national_phone(match: re.Match[str]) -> bool:
    return _is_a_phone(match) and len(only_digits(match[0])) >= NATIONAL_DIGITS_MIN


def _is_a_phone(match: re.Match[str]) -> bool:
    digits = only_digits(match[0])
    return PHONE_DIGITS_MIN <= len(digits) <= 21 and len(set(digits)) > 2 and DATE.match(match[0]) is None


def _is_a_north_american_phone(match: re.Match[str]) -> bool:
    is_bare = match[0].replace(" ", "").isdecimal()
    return _is_a_phone(match) and not (is_bare and ROW.match(match.string, match.end()) is not None)


HOLDS = {INTERNATIONAL: _is_an_international_phone, NORTH_AMERICAN: _is_a_north_american_phone}
