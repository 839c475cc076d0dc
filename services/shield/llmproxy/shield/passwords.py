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

NAMES_BEYOND = (
    "парол(?:ь|я|ем|ю|а)", "лозинка", "密码", "密碼", "口令", "パスワード", "暗証番号", "비밀번호", "암호", "كلمة المرور", "كلمة السر", "ה?סיסמ[אה]",
    "รหัสผ่าน", "पासवर्ड", "mật khẩu", "hasł[oa]", "şifre", "lösenord(?:et)?", "jelszó", "parol[ăā]", "slaptažodis", "κωδικός", "рassword",
)  # fmt: skip
"""What is not: expressions, without regard to capitals. The last one has a Cyrillic first letter."""

ASSIGNED_WITH = r"\s{0,3}(?:=>|:=|==?|[:：])\s{0,3}"
CHOSEN = r"(?P<quote>[\"'`])(?P<quoted>[^\"'`\n]{4,128})(?P=quote)"
NAME = (
    r"(?<!no)(?:pass(?:word|wort|ord|wd|phrase|code|w|e)?|contrase.a|"
    + "|".join(name.decode() for name in NAMES[1:])
    + r")(?![a-z]{2})(?!_(?:encryption|algorithm|hasher|encoder|policy))[\w-]{0,16}+"
)
PASSWORD = re.compile(
    NAME + r"[\"'\])]{0,3}+"
    rf"(?P<sign>{ASSIGNED_WITH}|>(?=[^<>\s]{{6,64}}</)|(?<=by)\s|(?<=--password)\s|(?<=requirepass)\s|(?<!pass)\s(?=[\"'`])"
    r"|(?:\s(?:for|of|to|on|für|para|per)\s[\w@.\s-]{1,40}?)?\s(?:is|was|ist|lautet|es|est|é|è|to|er|är|on|je|adalah)\s?:?\s?)"
    rf"(?:{CHOSEN}|[\"'`]?(?P<bare>[^\s\"'`,;<>]{{6,128}}))",
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
        "парол", "лозинк", "密码", "密碼", "口令", "パスワード", "暗証番号", "비밀번호", "암호", "كلمة", "סיסמ", "รหัสผ่าน", "पासवर्ड", "mật khẩu", "hasł",
        "şifre", "lösenord", "jelszó", "parolă", "parolā", "slaptažodis", "κωδικός", "рassword",
    )
    for spelled in dict.fromkeys((stem, stem.capitalize(), stem.upper()))
)  # fmt: skip
"""Something of each, for the quick look."""

TOLD = re.compile(  # Many of these languages need no verb: `мой пароль ...`.
    rf"[\"'\])]{{0,3}}(?P<sign>{ASSIGNED_WITH}|\s?(?:是|为|為|は|는|은|이|:)\s?|\s(?:это|to|jest|är|là|είναι|-|—)\s?:?\s?|\s)"
    rf"(?:{CHOSEN}|[\"'`]?(?P<bare>[^\s\"'`,;<>\u3000-\u30ff\u4e00-\u9fff\uac00-\ud7ff，。]{{6,128}}))",
    re.IGNORECASE,
)

Place = tuple[bytes, tuple[bytes, ...], re.Pattern[str]]
"""Something to look for, what stands before it on its line, and the expression that holds from it on."""

COMMANDS: tuple[Place, ...] = tuple(
    (flag, tuple(commands.encode().split()), re.compile(expression, re.IGNORECASE))
    for flag, commands, expression in (
        (b" -p", "sshpass mysql mysqldump mysqladmin", rf" -p(?P<sign>) ?(?:{CHOSEN}|(?P<bare>[^\s\"'`,;<>]{{6,128}}))"),
        (b" -u ", "curl wget http", rf" -u \"?[\w.@-]{{1,64}}:(?P<sign>)(?:{CHOSEN}|(?P<bare>[^\s\"'`,;<>]{{6,128}}))"),
        (b" --user", "curl wget http", rf" --user[ =]\"?[\w.@-]{{1,64}}:(?P<sign>)(?:{CHOSEN}|(?P<bare>[^\s\"'`,;<>]{{6,128}}))"),
        (b" user ", "net", rf" user \S{{1,64}} (?P<sign>)(?:{CHOSEN}|(?P<bare>[^\s\"'`,;<>]{{6,128}}))"),
        (b" password ", "login", rf" password (?P<sign>)(?:{CHOSEN}|(?P<bare>[^\s\"'`,;<>]{{6,128}}))"),
        (b" / ", "login: user: username: credential: credentials: logins: zugang:", rf" / (?P<sign>)(?:{CHOSEN}|(?P<bare>[^\s\"'`,;<>]{{6,128}}))"),
    )
)  # fmt: skip
"""The part that the password stands behind, and the commands that have it."""

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
        (b" -p ", "sshpass psexec", rf" -p {ANY}"),
        (b" -pw ", "plink pscp", rf" -pw {ANY}"),
        (b" -a ", "redis-cli", rf" -a {ANY}"),
        (b" -u ", "smbclient rpcclient", rf" -U [^\s%]{{1,64}}%{ANY}"),
    )
)  # fmt: skip
"""Where a password stands and nothing else can: it may be any word there."""

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
PHRASE_WORDS = frozenset((12, 15, 18, 21, 24))  # https://github.com/bitcoin/bips/blob/master/bip-0039.mediawiki


LITERALS = (*dict.fromkeys((*NAMES, *(flag for flag, _, _ in (*COMMANDS, *SLOTS)), *PHRASE_NAMES)),)
"""Without one of them a text of ASCII holds none of all these."""


def find(text: str, lower: bytes) -> Iterator[tuple[int, int]]:
    """Spans of passwords. `lower` is the text in lower case, a byte for each character."""
    yield from _chosen(_matches(text, lower), lower)
    yield from _listed(text, lower)
    for match in _at_places(SLOTS, text, lower):
        group = "quoted" if match["quoted"] else "bare"
        if not is_stand_in(match[group]) and match[group].lower() not in SELF_SAID and match[group][0] not in "/-":
            yield match.span(group)
    for name in PHRASE_NAMES:
        for at in glance.places(lower, name):
            phrase = PHRASE.match(text, at)
            if phrase is not None and phrase[1].count(" ") + 1 in PHRASE_WORDS:
                yield phrase.span(1)


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


def find_beyond(text: str, lower: bytes) -> Iterator[tuple[int, int]]:
    """The same, named in letters that are not ASCII."""
    matches = (TOLD.match(text, name.end()) for name in BEYOND.finditer(text))
    yield from _chosen((match for match in matches if match is not None), lower)


def _chosen(matches: Iterable[re.Match[str]], lower: bytes) -> Iterator[tuple[int, int]]:
    for match in matches:
        group = "quoted" if match["quoted"] else "bare"
        start, value = match.start(group), match[group]
        if group == "bare":
            value = value.rstrip(".:?)}]") if match["sign"].strip(" :=>") else value.rstrip(")}]")
        is_phrase = group == "quoted" and lower.startswith(b"passphrase", match.start())
        if is_password(value, is_quoted=group == "quoted", sign=match["sign"].strip()) or (
            is_phrase and value.count(" ") >= 2
        ):
            yield start, start + len(value)


def _matches(text: str, lower: bytes) -> Iterator[re.Match[str]]:
    for name in NAMES:
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
    small, capital = any(c.islower() for c in value), any(c.isupper() for c in value)
    digit, other = any(c.isdigit() for c in value), any(not c.isalnum() and c not in "_-./:()[]" for c in value)
    classes = small + capital + digit + other
    if "(" in value or re.fullmatch(r"[A-Za-z_]+(?:\.[A-Za-z_]+)+|[\d.,]+%?|/.*/\S*", value):
        return False
    if classes >= 2 and (digit or (other and not is_prose(value))):
        return True
    if len(value) < LETTERS_MIN or not (small and capital) or is_name(value):
        return False
    return turns(value) >= (1 if is_quoted and sign != "" else 2)


LETTERS_MIN = 8  # Of a password without digits and signs.


def is_prose(value: str) -> bool:
    return value.rstrip("!?.,…*#&%").isalpha()


def is_name(value: str) -> bool:
    """`userPassword`, `MyPasswordField`: words put together."""
    return all(re.fullmatch(r"[A-Z]?[a-z]{2,}", word) for word in CAMEL.split(value)) and turns(value) <= 3
