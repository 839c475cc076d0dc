"""Passwords that somebody writes: assigned in a file, given to a command, or told in a sentence, in some thirty languages.

A person chooses a password, so nothing about the value alone says that it is one. What stands before it does.
"""

import re
from collections.abc import Iterable, Iterator

from llmproxy.shield import glance
from llmproxy.shield.drawn import CAMEL, is_stand_in, turns

NAMES = (
    b"pass", b"pwd", b"kennwort", b"contrase", b"senha", b"wachtwoord", b"identified by", b"adgangskode", b"salasana", b"parola", b"heslo",
    b"kata sandi", b"lozinka", b"geslo", b"parool", b"sifre", b"kodeord", b"losenord", b"haslo", b"jelszo", b"securestring",
)  # fmt: skip
"""What is ASCII; the others are looked for in texts that are not."""

SHORT = {
    **dict.fromkeys((b"pw ", b"pw:", b"pw="), r"(?<![a-z0-9])pw"),
    **dict.fromkeys((b"mdp ", b"mdp:", b"mdp="), r"(?<![a-z0-9])mdp"),
    b" clave": r"(?:(?<=mi)|(?<=la)|(?<=tu)|(?<=su)|(?<=,)) clave",
}
"""Names that are words of something else, too, and how they stand when they are none."""

PLACES = (*NAMES, *SHORT)

NAMES_BEYOND = (
    "парол(?:ь|я|ем|ю|а)", "лозинка", "密码", "密碼", "口令", "パスワード", "暗証番号", "비밀번호", "비번", "암호", "كلمة المرور", "كلمة السر", "ה?סיסמ[אה]",
    "รหัสผ่าน", "पासवर्ड", "mật khẩu", "hasł[oa]", "şifre(?:m|n|si|niz|miz)?", "lösenord(?:et)?", "jelszó", "parol[ăā]", "slaptažodis", "κωδικός", "рassword",
)  # fmt: skip
"""What is not: expressions, without regard to capitals. The last one has a Cyrillic first letter."""

ASSIGNED_WITH = r"\s{0,3}(?:=>|:=|==?|[:：])\s{0,3}|\s(?:->|→|—|–)\s"
OPENED = r"\\{0,3}[\"'`]"  # A quote, of a text within a text too.
CHOSEN = rf"(?:[NbBrRuUfL@$]{{1,2}}(?=[\"']))?(?P<quote>{OPENED})(?P<quoted>[^\"'`\n]{{4,128}})(?P=quote)"
BARE = r"(?P<bare>[^\s\"'`,;<>\u3000-\u30ff\u4e00-\u9fff\uac00-\ud7ff，。]{6,128})"
NAME = (
    r"(?<!no)(?!passe[ds](?![a-z]))(?:pass(?:word|wort|ord|wd|phrase|code|w|e)?|contrase.a|parola d'ordine|"
    + "|".join(name.decode() for name in NAMES[1:])
    + "|"
    + "|".join(dict.fromkeys(SHORT.values()))
    + r")(?![a-z]{2})(?!_(?:encryption|algorithm|hasher|encoder|policy))[A-Za-z0-9_-]{0,16}+"
)
WHOSE = (
    r"\s(?:for|of|to|on|in|für|zu|vom|von|para|per|pour|de|du|del|della|da|do|dla|til|till|voor|van|k)\s[\w@. -]{1,40}?"
)
WHICH = r"\s\(?(?:new|old|temp(?:orary)?|initial|current|nueva|nova|nuova|nouă|noua|actual)\)?"
PASSWORD = re.compile(
    NAME + r"(?:\\{0,3}[\"'`\])*]){0,3}+"
    rf"(?P<sign>(?:{WHOSE}|{WHICH})?(?:{ASSIGNED_WITH})|>(?=[^<>\s]{{6,64}}</)|(?<=by)\s|(?<=--password)\s|(?<=requirepass)\s|(?<=-storepass)\s|(?<=-keypass)\s"
    rf"|:\s?[&'A-Za-z][\w |?]{{0,16}}\s?=\s?|\s--(?:body|value)[ =]|(?:,\s?|\s{{1,40}})(?:{OPENED})?value(?:{OPENED})?\s?[:=]\s?"
    rf"|\s?(?:是|为|為|は|는|은)\s?|[\(,]\s?(?={OPENED})|\s?\|\s?|(?<!pass)\s(?=[\"'`])"
    rf"|(?:{WHOSE})?(?:\s(?:has been|have been|is|was|wurde|got|now|been))?\s(?:changed|set|reset|updated|rotated)\s(?:back\s)?to\s"
    rf"|(?:{WHOSE})?\s(?:is|was|are|ist|lautet|es|est|c'est|é|è|(?<!pass.)to|auf|wurde auf|er|är|on|je|adalah|será|sera)\s:?\s?|(?<=a)\sa\s|(?P<said>(?<!pass)\s))"
    rf"(?:{CHOSEN}|[\"'`]?{BARE})",
    re.IGNORECASE,
)
LIST = re.compile(NAME + r"[\"']\s{0,3}:\s{0,3}\[", re.IGNORECASE)
"""As documents have them: `"passwords": ["...", "..."]`."""
LISTED = re.compile(rf"\s*{CHOSEN}\s*,?")
LISTED_MAX = 1_000
RULE = re.compile(r"[a-z_]+:[\w,.-]+")  # `"password": ["required", "min:8"]` says what a password must be.
BEYOND = re.compile("|".join(NAMES_BEYOND), re.IGNORECASE)
STEMS = tuple(
    spelled
    for stem in (
        "парол", "лозинк", "密码", "密碼", "口令", "パスワード", "暗証番号", "비밀번호", "비번", "암호", "كلمة", "סיסמ", "รหัสผ่าน", "पासवर्ड", "mật khẩu", "hasł",
        "şifre", "lösenord", "jelszó", "parolă", "parolā", "slaptažodis", "κωδικός", "рassword",
    )
    for spelled in dict.fromkeys((stem, stem.capitalize(), stem.upper()))
)  # fmt: skip
"""Something of each, for the quick look."""

TOLD = re.compile(  # Many of these languages need no verb: `мой пароль ...`.
    rf"[\"'\])]{{0,3}}(?P<sign>(?:\s[\w-]{{1,20}}){{0,3}}?(?:{ASSIGNED_WITH})|已?(?:是|为|為|改为|改成|设为|重置为)\s?|\s?(?:は|を|는|은|이|:)\s?"
    rf"|(?:\s[\w-]{{1,20}}){{0,2}}?\s(?:это|to|jest|är|là|είναι|на|-)\s:?\s?|\s)"
    rf"(?:{CHOSEN}|[\"'`]?{BARE})",
    re.IGNORECASE,
)

Place = tuple[bytes, tuple[bytes, ...], re.Pattern[str]]
"""Something to look for, what stands before it on its line, and the expression that holds from it on."""

VALUE = rf"(?P<sign>)(?:{CHOSEN}|{BARE})"
ARGUMENT = r"(?:[\"'][^\"'\n]{0,120}[\"']|[\w.$>-]{1,64}),\s?"
LAST_OF_TWO, LAST_OF_THREE = rf"\(\s?{ARGUMENT}(?P<sign>){CHOSEN}", rf"\(\s?{ARGUMENT}{ARGUMENT}(?P<sign>){CHOSEN}"

COMMANDS: tuple[Place, ...] = tuple(
    (flag, tuple(before.split(b"|")) if before else (), re.compile(expression, re.IGNORECASE))
    for flag, before, expression in (
        (b" -p", b"sshpass|mysql|7z|rar ", rf" -p ?{VALUE}"),
        (b" -u ", b"curl|wget|http", rf" -u \"?[\w.@-]{{1,64}}:{VALUE}"),
        (b" --user", b"curl|wget|http", rf" --user[ =]\"?[\w.@-]{{1,64}}:{VALUE}"),
        (b" user ", b"net", rf" user \S{{1,64}} {VALUE}"),
        (b" add_user ", b"rabbitmqctl", rf" add_user \S{{1,64}} {VALUE}"),
        (b" /user:", b"net use", rf" /user:\S{{1,64}} {VALUE}"),
        (b" password ", b"login|username|nmcli|enable", rf" password (?:\d )?{VALUE}"),
        (b"enable password ", b"", rf"enable password (?:\d )?{VALUE}"),
        (b"enable secret ", b"", rf"enable secret (?:\d )?{VALUE}"),
        (b"snmp-server community ", b"", rf"snmp-server community {VALUE}"),
        (b" / ", b"login:|user:|username:|credential:|credentials:|logins:|zugang:|log in|login with", rf" / {VALUE}"),
        (b"creds", b"", rf"creds(?:\s[\w\s]{{0,40}}?)?(?:\s(?:are|is)|:)?\s[\w.@-]{{1,64}}[:/]{VALUE}"),
        (b"credentials", b"", rf"credentials(?:\s[\w\s]{{0,40}}?)?(?:\s(?:are|is)|:)\s[\w.@-]{{1,64}}[:/]{VALUE}"),
        (b".login(", b"", rf"\.login{LAST_OF_TWO}"),
        (b"auth=(", b"", rf"auth={LAST_OF_TWO}"),
        (b"basicauth(", b"", rf"basicauth{LAST_OF_TWO}"),
        (b"credential(", b"", rf"credential{LAST_OF_TWO}"),
        (b"credentials(", b"", rf"credentials{LAST_OF_TWO}"),
        (b"username_pw_set(", b"", rf"username_pw_set{LAST_OF_TWO}"),
        (b"getconnection(", b"", rf"getconnection{LAST_OF_THREE}"),
        (b"mysqli_connect(", b"", rf"mysqli_connect{LAST_OF_THREE}"),
        (b"new pdo(", b"", rf"new pdo{LAST_OF_THREE}"),
    )
)
"""The part that the password stands behind, and what stands before it on its line."""

COMMAND_CHARS = 120

ANY = r"(?:(?P<quote>[\"'])(?P<quoted>[^\"'\n]{4,128})(?P=quote)|(?P<bare>[^\s\"'`,;<>&|]{4,128}))"
OF_A_USER = "uid= user= userid= username= id="
SLOTS: tuple[Place, ...] = tuple(
    (flag, tuple(before.encode().split()), re.compile(expression))
    for flag, before, expression in (
        (b"pwd=", OF_A_USER, rf"(?i:pwd)={ANY}"),  # Connection strings.
        (b"password=", OF_A_USER, rf"(?i:password)={ANY}"),
        (b"_password=", "", rf"(?<=[A-Z0-9])_PASSWORD={ANY}"),  # The environment.
        (b"pgpassword=", "", rf"PGPASSWORD={ANY}"),
        (b"$password", "", rf"\$password\s?=\s?(?=[\"']){ANY}"),
        (b" login ", "machine", rf" login \S{{1,64}} password {ANY}"),  # .netrc
        (b"securestring", "convertto-", rf"(?i:securestring(?:\s-string)?)\s(?=[\"']){ANY}"),
        (b" -p ", "sshpass psexec mongosh mongodump mongorestore login", rf" -p {ANY}"),
        (b" -p ", "zip", rf" -P {ANY}"),
        (b" -w ", "ldapsearch ldapmodify ldapadd ldapwhoami", rf" -w {ANY}"),
        (b"htpasswd -", "", rf"htpasswd -\w{{0,3}}b\w{{0,3}} \S+ \S+ {ANY}"),
        (b":5432:", "", rf":5432:[\w*-]{{1,64}}:[\w.-]{{1,64}}:{ANY}"),  # .pgpass
        (b"psk=", "", rf"(?i:psk)={ANY}"),
        (b" -pw ", "plink pscp", rf" -pw {ANY}"),
        (b" -a ", "redis-cli", rf" -a {ANY}"),
        (b" -u ", "smbclient rpcclient", rf" -U [^\s%]{{1,64}}%{ANY}"),
    )
)  # fmt: skip
"""Where a password stands and nothing else can: it may be any word there."""

PIPED = re.compile(r"[\"'][\w.-]{1,64}:(?P<bare>[^\s\"'|]{4,128})[\"']\s?\|\s?(?:sudo )?\Z")
"""`echo "root:..." | chpasswd`"""

SELF_SAID = frozenset(
    ("password", "passwd", "pass", "secret", "postgres", "changeme", "example", "string", "text", "test", "required")
)
"""Words that say that there is one, or are every example's."""

PHRASE = re.compile(
    r"(?:seed|recovery|mnemonic|backup)(?: recovery)?(?: (?:phrase|words?|seed))?\s?(?:is|are|:|=)?\s{0,2}[\"'`]?"
    r"((?:[a-z]{3,8} ){11}(?:[a-z]{3,8} ){0,12}[a-z]{3,8})(?![A-Za-z])",
    re.IGNORECASE,
)
PHRASE_NAMES = (b"seed", b"mnemonic", b"recovery phrase", b"recovery words", b"backup phrase")
IN_NO_LIST = frozenset((
    "the", "and", "for", "are", "was", "not", "but", "with", "from", "your", "have", "has", "our", "its", "his", "her",
    "their", "than", "these", "those", "which", "would", "could", "should", "been", "were",
))  # fmt: skip
"""The commonest words of prose that are not among those of BIP 39."""

SETUP_KEY = re.compile(
    r"(?<![A-Za-z0-9])(?:setup key|2fa(?: setup)?(?: key| secret| code)?|totp(?: key| secret| seed)?|authenticator(?: key| secret| code)?)\s?(?:is|:|=)?\s{0,2}[\"'`]?"
    r"((?=[a-z ]{0,60}[2-7])(?:[a-z2-7]{4} ){3,15}[a-z2-7]{4})(?![A-Za-z0-9])",
    re.IGNORECASE,
)
"""As apps show it, in groups of four: https://github.com/google/google-authenticator/wiki/Key-Uri-Format"""

SETUP_KEY_NAMES = (b"setup key", b"2fa ", b"totp", b"authenticator")
PHRASE_WORDS = frozenset((12, 15, 18, 21, 24))  # https://github.com/bitcoin/bips/blob/master/bip-0039.mediawiki


LITERALS = (*dict.fromkeys((*PLACES, *(flag for flag, _, _ in (*COMMANDS, *SLOTS)), *PHRASE_NAMES, *SETUP_KEY_NAMES)),)
"""Without one of them a text of ASCII holds none of all these."""


def find(text: str, lower: bytes) -> Iterator[tuple[int, int]]:
    """Spans of passwords. `lower` is the text in lower case, a byte for each character."""
    yield from _chosen(_matches(text, lower), lower)
    yield from _listed(text, lower)
    yield from _piped(text, lower)
    for match in _at_places(SLOTS, text, lower):
        group = "quoted" if match["quoted"] else "bare"
        if is_stand_in(match[group]) or match[group].lower() in SELF_SAID or match[group][0] in "/-":
            continue
        if group == "quoted" or INDEXED.fullmatch(match[group]) is None:
            yield match.span(group)
    for name in PHRASE_NAMES:
        for at in glance.places(lower, name):
            phrase = PHRASE.match(text, at)
            if phrase is not None and (end := _end_of_phrase(phrase)):
                yield phrase.start(1), end
    for name in SETUP_KEY_NAMES:
        for at in glance.places(lower, name):
            key = SETUP_KEY.match(text, at)
            if key is not None:
                yield key.span(1)


def _end_of_phrase(phrase: re.Match[str]) -> int:
    """Nothing where it is prose. Behind a phrase that `is` or `:` announces, the sentence may go on."""
    words = phrase[1].split(" ")
    if len(words) in PHRASE_WORDS:
        return phrase.end(1)
    if phrase[0][: phrase.start(1) - phrase.start()].rstrip(" \"'`").endswith(("is", "are", ":", "=")):
        words = words[: max(count for count in PHRASE_WORDS if count <= len(words))]
        if IN_NO_LIST.isdisjoint(words):
            return phrase.start(1) + len(" ".join(words))
    return 0


def _listed(text: str, lower: bytes) -> Iterator[tuple[int, int]]:
    for name in NAMES if b"[" in lower else ():
        for at in glance.places(lower, name):
            found = LIST.match(text, at)
            end = found.end() if found is not None else len(text)
            for _ in range(LISTED_MAX):
                item = LISTED.match(text, end)
                if item is None:
                    break
                end = item.end()
                value = item["quoted"]
                if is_password(value, is_quoted=True, sign=":") and RULE.fullmatch(value) is None:
                    yield item.span("quoted")


def _piped(text: str, lower: bytes) -> Iterator[tuple[int, int]]:
    for at in glance.places(lower, b"chpasswd"):
        match = PIPED.search(text, max(0, at - COMMAND_CHARS), at)
        if match is not None and not is_stand_in(match["bare"]) and match["bare"].lower() not in SELF_SAID:
            yield match.span("bare")


def find_beyond(text: str, lower: bytes) -> Iterator[tuple[int, int]]:
    """The same, named in letters that are not ASCII."""
    matches = (TOLD.match(text, name.end()) for name in BEYOND.finditer(text))
    yield from _chosen((match for match in matches if match is not None), lower)


def _chosen(matches: Iterable[re.Match[str]], lower: bytes) -> Iterator[tuple[int, int]]:
    for match in matches:
        group = "quoted" if match["quoted"] else "bare"
        start, value, sign = match.start(group), match[group], match["sign"].strip()
        if group == "bare":
            is_prose_around = sign.strip(":=>") != "" or _is_said(match)
            value = value.rstrip(".:?)}]") if is_prose_around else value.rstrip(")}]")
            value = NEXT_PARAMETER.split(value, 1)[0]
        is_quoted = group == "quoted"
        is_phrase = is_quoted and lower.startswith(b"passphrase", match.start())
        if (
            (
                is_password(value, is_quoted=is_quoted, sign=sign)
                and _is_told(match, value, is_quoted=is_quoted, sign=sign)
            )
            or (is_phrase and value.count(" ") >= 2)
            or (is_quoted and APP_PASSWORD.fullmatch(value) is not None)
        ):
            yield start, start + len(value)


NEXT_PARAMETER = re.compile(r"&[\w.%-]{1,40}=")
APP_PASSWORD = re.compile(r"(?:[a-z]{4} ){3}[a-z]{4}")  # https://support.google.com/accounts/answer/185833
EMAIL = re.compile(r"[\w.+-]+@[\w-]+\.[a-z.]{2,}")
STANDARD = re.compile(
    r"(?:o?auth|sha|md|hmac|base|utf|ipv|web|https?|tls|argon|bcrypt|pbkdf|scrypt|rsa|aes)[A-Za-z-]{0,6}[\d-]{1,6}[A-Za-z]{0,2}",
    re.IGNORECASE,
)
"""`OAuth2`, `SHA-256`: what a password is stored with."""

FIRST = re.compile(r"\(\s?[\"'][A-Z0-9_]{0,40}\Z")  # The name is a call's first argument.
SIGNS_OF_WORDS = frozenset("_-./:()[]")
WORDS = re.compile(r"[A-Za-z]{3,}(?:[-_.][A-Za-z]{3,}){2,}[-_.]?\d{2,4}")  # As generators of phrases join them.


def _is_said(match: re.Match[str]) -> bool:
    """`the password ...`, without a verb."""
    return match.re is PASSWORD and match["said"] is not None


def _is_told(match: re.Match[str], value: str, *, is_quoted: bool, sign: str) -> bool:
    """Where nearly anything may stand behind the name, the value or the name must say more."""
    if sign == ",":  # `getenv("DB_PASSWORD", ...)`, and not a list of columns.
        is_first = FIRST.search(match.string, max(0, match.start() - COMMAND_CHARS), match.start()) is not None
        return is_first and match[0].partition(",")[0].rstrip("\"'`\\").isupper()
    if sign == "(":
        return EMAIL.fullmatch(value) is None
    if sign == "|" or (not is_quoted and _is_said(match)):
        if WORDS.fullmatch(value) is not None:
            return True
        signs = set(value) - SIGNS_OF_WORDS
        kinds = any(map(str.islower, value)) + any(map(str.isupper, value)) + any(not one.isalnum() for one in signs)
        has_digit, is_place = any(map(str.isdigit, value)), not {"=", "/", "\\"}.isdisjoint(value)
        return kinds >= 2 and has_digit and not is_place and STANDARD.fullmatch(value) is None
    return True


def _matches(text: str, lower: bytes) -> Iterator[re.Match[str]]:
    for name in PLACES:
        if name in lower:
            done = 0
            for at in glance.places(lower, name):
                match = PASSWORD.match(text, at) if at >= done else None
                if match is not None:
                    done = match.end()
                    yield match
    yield from _at_places(COMMANDS, text, lower)


def _at_places(places: tuple[Place, ...], text: str, lower: bytes) -> Iterator[re.Match[str]]:
    for flag, wanted, expression in places:
        for at in glance.places(lower, flag) if flag in lower else ():
            before = lower[max(0, at - COMMAND_CHARS) : at].rpartition(b"\n")[2]
            if not wanted or any(one in before for one in wanted):
                match = expression.match(text, at)
                if match is not None:
                    yield match


def is_password(value: str, *, is_quoted: bool, sign: str) -> bool:
    """In prose (`is`) a value must show that it is one; a quoted assignment says so itself."""
    if (
        (value.isalpha() and value.islower())
        or len(value) < (4 if is_quoted else 6)
        or " " in value
        or is_stand_in(value)
    ):
        return False
    signs = set(value)
    small, capital, digit = any(map(str.islower, signs)), any(map(str.isupper, signs)), any(map(str.isdigit, signs))
    other = not all(map(str.isalnum, signs - SIGNS_OF_WORDS))
    classes = small + capital + digit + other
    if (
        "(" in value
        or INDEXED.fullmatch(value)
        or re.fullmatch(r"[A-Za-z_]+(?:\.[A-Za-z_]+)+|[\d.,]+%?|/.*/\S*", value)
    ):
        return False
    if classes >= 2 and (digit or (other and not is_prose(value))):
        return True
    if len(value) < LETTERS_MIN or not (small and capital) or is_name(value):
        return False
    return turns(value) >= (1 if is_quoted and sign != "" else 2)


INDEXED = re.compile(r"[A-Za-z_][\w.]*\[[\w-]*\]?[)\]}]*")  # `row[2]`, in a program.
LETTERS_MIN = 8  # Of a password without digits and signs.


def is_prose(value: str) -> bool:
    return value.rstrip("!?.,…*#&%").isalpha()


def is_name(value: str) -> bool:
    """`userPassword`, `MyPasswordField`: words put together."""
    return all(re.fullmatch(r"[A-Z]?[a-z]{2,}", word) for word in CAMEL.split(value)) and turns(value) <= 3
