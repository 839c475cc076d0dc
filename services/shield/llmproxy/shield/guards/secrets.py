"""Credentials that somebody pasted: vendor keys by their documented form, private keys, tokens in URLs, and assignments.

Each rule names the literal texts that it cannot do without. They are what makes a clean text cheap (a substring search
each) and what keeps every pattern linear: it is tried only where its literal is.
"""

import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from math import log2

from msgspec import Struct

from llmproxy.common import keyring
from llmproxy.common.segments import Segment
from llmproxy.shield.verdict import Finding, Verdict, found

BEFORE, AFTER = r"(?<![A-Za-z0-9_])", r"(?![A-Za-z0-9_-])"
BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def _always(_: re.Match[str]) -> bool:
    return True


class Rule(Struct, frozen=True):
    """`secret.<name>` where `pattern` matches and `holds` agrees. Group 1, when there is one, is the secret."""

    name: str
    literals: tuple[str, ...]
    pattern: re.Pattern[str]
    holds: Callable[[re.Match[str]], bool] = _always


# -- checks


def entropy_bits(text: str) -> float:
    """Shannon entropy for each character."""
    counts = Counter(text)
    return -sum(count / len(text) * log2(count / len(text)) for count in counts.values())


def _is_random(match: re.Match[str]) -> bool:
    """Not a word of an example such as `sk-xxxxxxxxxxxxxxxxxxxxxxxx`."""
    return entropy_bits(match[match.lastindex or 0]) >= 2.5


def _has_github_checksum(match: re.Match[str]) -> bool:
    """The last six digits are the CRC-32 of the thirty before, in base 62; other lengths are newer forms without one.

    https://github.blog/engineering/platform-security/behind-githubs-new-authentication-token-formats/
    """
    token = match[0].partition("_")[2]
    if len(token) != 36:
        return _is_random(match)
    # A well-formed token with a wrong checksum is still masked when it looks random: GitHub documents no promise, and
    # to leave a real key in costs more than to mask a false one.
    return _base62(zlib.crc32(token[:30].encode())) == token[30:] or _is_random(match)


def _base62(number: int) -> str:
    digits = ""
    for _ in range(6):
        number, digit = divmod(number, 62)
        digits = BASE62[digit] + digits
    return digits


def _is_ours(match: re.Match[str]) -> bool:
    return keyring.is_well_formed(match[0])


def _is_password_in_url(match: re.Match[str]) -> bool:
    return not _is_stand_in(match[1])


STAND_IN = re.compile(
    r"\$|<|>|\{|\}|%\(|\*{3}|\.{3}|x{4}|redacted|placeholder|changeme|your[_-]?|my[_-]|example|process\.env|environ|getenv"
    r"|settings\.|config\.|secrets?\.|self\.|this\.|null|none|true|false|undefined|required|optional|string|\[[A-Z_]+_",
    re.IGNORECASE,
)


def _is_stand_in(value: str) -> bool:
    """Something that says where the secret goes, not the secret."""
    return STAND_IN.search(value) is not None or len(set(value)) < 5


def _is_assigned_password(match: re.Match[str]) -> bool:
    """People choose passwords: two classes of characters are enough."""
    value = match[1]
    classes = sum(
        (
            any(c.islower() for c in value),
            any(c.isupper() for c in value),
            any(c.isdigit() for c in value),
            any(not c.isalnum() and c not in "_-./:" for c in value),
        )
    )
    return classes >= 2 and (any(c.isdigit() for c in value) or classes >= 3) and not _is_stand_in(value)


def _is_assigned_token(match: re.Match[str]) -> bool:
    """Machines draw tokens: enough entropy, digits and letters, not a path and not a call."""
    value = match[1]
    return (
        len(value) >= 16
        and any(c.isdigit() for c in value)
        and any(c.isalpha() for c in value)
        and entropy_bits(value) >= 3.0
        and value.count("/") + value.count(".") + value.count("-") <= max(4, len(value) // 12)
        and "(" not in value
        and "://" not in value
        and not _is_stand_in(value)
    )


# -- rules


def _rule(
    name: str, literals: str, pattern: str, holds: Callable[[re.Match[str]], bool] = _is_random, flags: int = 0
) -> Rule:
    return Rule(name, tuple(literals.split()), re.compile(pattern, flags), holds)


RULES: tuple[Rule, ...] = (
    _rule("anthropic", "sk-ant-", BEFORE + r"sk-ant-(?:api|admin|oat|sid)?\d{0,2}-?[A-Za-z0-9_-]{20,200}"),
    _rule("openai", "sk-", BEFORE + r"sk-(?!ant-)(?:(?:proj|svcacct|admin|None|or-v1)-)?[A-Za-z0-9_-]{20,200}"),
    _rule("aws_key_id", "AKIA ASIA ABIA ACCA", BEFORE + r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}(?![A-Za-z0-9_])"),
    _rule(
        "aws",
        "aws Aws AWS ecret_access_key ecretAccessKey SecretAccessKey",
        r"(?i:aws|secret_?access_?key)[^\n]{0,40}?[\"'=:\s]([A-Za-z0-9/+]{40})(?![A-Za-z0-9/+=])",
        lambda match: entropy_bits(match[1]) >= 4.0,
    ),
    _rule(
        "github", "ghp_ gho_ ghu_ ghs_ ghr_", BEFORE + r"gh[pousr]_[A-Za-z0-9]{36,255}" + AFTER, _has_github_checksum
    ),
    _rule("github", "github_pat_", BEFORE + r"github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}" + AFTER),
    _rule(
        "gitlab", "glpat- gldt- glrt- glptt- glcbt- glft-", BEFORE + r"gl(?:pat|dt|rt|ptt|cbt|ft)-[A-Za-z0-9_.-]{20,64}"
    ),
    _rule("slack", "xox", BEFORE + r"xox[abeoprs](?:\.xox[bp])?-(?:[A-Za-z0-9]{1,64}-){0,5}[A-Za-z0-9]{10,150}"),
    _rule("slack", "xapp-", BEFORE + r"xapp-\d-[A-Z0-9]{8,16}-\d{8,16}-[a-f0-9]{32,64}"),
    _rule(
        "slack_webhook", "hooks.slack.com", r"https?://hooks\.slack\.com/(?:services|workflows|triggers)/[\w+/-]{20,80}"
    ),
    _rule(
        "discord_webhook",
        "/api/webhooks/",
        r"https?://(?:\w{1,10}\.)?discord(?:app)?\.com/api/webhooks/\d{17,20}/[\w-]{60,80}",
    ),
    _rule(
        "teams_webhook", "webhook.office.com", r"https?://[\w-]{1,40}\.webhook\.office\.com/webhookb2/[\w@/-]{40,200}"
    ),
    _rule("google", "AIza", BEFORE + r"AIza[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])"),
    _rule("google_oauth", "GOCSPX- ya29.", BEFORE + r"(?:GOCSPX-[A-Za-z0-9_-]{28}|ya29\.[A-Za-z0-9_-]{20,400})"),
    _rule("stripe", "k_live_ k_test_ whsec_", BEFORE + r"(?:[sr]k_(?:live|test)_|whsec_)[A-Za-z0-9+/=]{16,250}"),
    _rule("twilio", "SK AC", BEFORE + r"(?:SK|AC)[0-9a-f]{32}(?![A-Za-z0-9_])"),
    _rule("sendgrid", "SG.", BEFORE + r"SG\.[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{32,64}"),
    _rule("npm", "npm_", BEFORE + r"npm_[A-Za-z0-9]{36}" + AFTER),
    _rule("pypi", "pypi-", BEFORE + r"pypi-AgE[A-Za-z0-9_-]{50,400}"),
    _rule("huggingface", "hf_ api_org_", BEFORE + r"(?:hf|api_org)_[A-Za-z0-9]{30,60}" + AFTER),
    _rule("digitalocean", "doo_v1_ dop_v1_ dor_v1_", BEFORE + r"do[opr]_v1_[a-f0-9]{64}" + AFTER),
    _rule("shopify", "shpat_ shpca_ shppa_ shpss_", BEFORE + r"shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}" + AFTER),
    _rule("databricks", "dapi", BEFORE + r"dapi[a-f0-9]{32}(?:-\d)?(?![A-Za-z0-9_])"),
    _rule("groq", "gsk_", BEFORE + r"gsk_[A-Za-z0-9]{40,64}" + AFTER),
    _rule("xai", "xai-", BEFORE + r"xai-[A-Za-z0-9]{60,100}" + AFTER),
    _rule("perplexity", "pplx-", BEFORE + r"pplx-[A-Za-z0-9]{40,64}" + AFTER),
    _rule("replicate", "r8_", BEFORE + r"r8_[A-Za-z0-9]{37}" + AFTER),
    _rule("vault", "hvs. hvb.", BEFORE + r"hv[sb]\.[A-Za-z0-9_-]{24,300}"),
    _rule("telegram", ":AA", BEFORE + r"\d{8,10}:AA[A-Za-z0-9_-]{33}" + AFTER),
    _rule("azure_storage", "AccountKey=", r"AccountKey=([A-Za-z0-9+/]{86}==)"),
    _rule("azure_connection", "SharedAccessKey=", r"SharedAccessKey=([A-Za-z0-9+/]{42,44}=)"),
    _rule("azure_sas", "sig=", r"[?&]sig=([A-Za-z0-9%+/]{40,80}(?:=|%3[dD])?)"),
    _rule("jwt", "eyJ", BEFORE + r"eyJ[A-Za-z0-9_-]{10,4096}\.eyJ[A-Za-z0-9_-]{10,8192}\.[A-Za-z0-9_-]{8,1024}"),
    _rule(
        "private_key",
        "PRIVATE",
        r"-----BEGIN (?:[A-Z0-9]{1,10} ){0,3}PRIVATE KEY(?: BLOCK)?-----"
        r"(?:[^-]|-(?!----END)){16,20000}(?:-----END (?:[A-Z0-9]{1,10} ){0,3}PRIVATE KEY(?: BLOCK)?-----)?",
    ),
    _rule("llmproxy", "llmp-", BEFORE + r"llmp-[A-Za-z0-9]{49}(?![A-Za-z0-9])", _is_ours),
    _rule(
        "url_password",
        "://",
        r"\b[A-Za-z][A-Za-z0-9+.-]{1,30}://[^\s:/@\"'<>]{0,100}:([^\s:/@\"'<>]{3,200})@[^\s@\"'<>]",
        _is_password_in_url,
    ),
    _rule(
        "password",
        "pass Pass PASS pwd Pwd PWD",
        r"(?:passw(?:or)?d|passphrase|passwd|pwd|pass)[\"']?(?:\s{0,3}(?:=>|:=|[=:])\s{0,3}|\s(?:is|was)\s:?\s{0,1})"
        r"[\"'`]?([^\s\"'`,;<>]{6,128})",
        _is_assigned_password,
        re.IGNORECASE,
    ),
    _rule(
        "assigned",
        "ecret ECRET oken OKEN key Key KEY redential auth Auth AUTH earer",
        r"(?:secret|token|key|credentials?|auth|authorization|bearer)[\"'\])]{0,2}"
        r"(?:\s{0,3}(?:=>|:=|[=:])\s{0,3}|\s(?:is|was)\s:?\s{0,1}|\s)[\"'`]?(?:(?:Bearer|Basic|token)\s)?"
        r"[\"'`]?([^\s\"'`,;<>]{16,512})",
        _is_assigned_token,
        re.IGNORECASE,
    ),
)

RUN = re.compile(r"[!-~]{16}")
"""Every rule but those of `SHORT` needs this many characters without a space: few words of prose have them."""

SHORT = tuple(rule for rule in RULES if rule.name in ("password", "url_password", "private_key"))


class Secrets:
    """Masks credentials in any text. Kinds are `secret.<rule>`."""

    name = "secrets"

    def may_hold(self, text: str) -> bool:
        return any(rule.pattern.search(text) for rule in _rules(text))

    def inspect(self, segment: Segment) -> Verdict:
        return found(list(_findings(segment.text)))


def _rules(text: str) -> Iterator[Rule]:
    """The rules whose literals the text has."""
    for rule in SHORT if RUN.search(text) is None else RULES:
        for literal in rule.literals:
            if literal in text:
                yield rule
                break


def _findings(text: str) -> Iterator[Finding]:
    for rule in _rules(text):
        for match in rule.pattern.finditer(text):
            if rule.holds(match):
                yield Finding(f"secret.{rule.name}", *match.span(match.lastindex or 0))
