"""E-mail addresses, in any script, and with the signs of one spelt out."""

import re
from collections.abc import Iterator

from llmproxy.shield.verdict import Finding

UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u2e80-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\uff00-\uffef"
"""Scripts that put no space between an address and the sentence around it: Thai, Lao, Burmese, Khmer, Chinese, Japanese, Korean."""

DOMAIN = re.compile(
    rf"@(?:[A-Za-z0-9][A-Za-z0-9-]{{0,62}}(?:\.[A-Za-z0-9][A-Za-z0-9-]{{0,62}}){{1,8}}(?![\w-]|\.[^\W_])"
    rf"|[A-Za-z0-9][A-Za-z0-9-]{{0,62}}(?:\.[A-Za-z0-9][A-Za-z0-9-]{{0,62}}){{0,7}}\.[A-Za-z]{{2,24}}(?=[{UNSPACED}])"
    r"|[^\W_](?:[\w-]{0,62})(?:\.[^\W_][\w-]{0,62}){1,8})"
)
SENTENCE = re.compile(rf".*[{UNSPACED}]{{4}}(?=[\x21-\x7e]+\Z)")
"""What stands before an address of ASCII letters without a space between them. Fewer letters may be a name that is part of it."""

LOCAL = re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]{1,64}\Z")
LOCAL_CHARS_MAX = 64
MASK = "**"  # `j***@example.com` has been masked already.
LOCAL_FIRST = re.compile(r"[\w]")
FILE_SUFFIXES = frozenset((
    "png", "jpg", "jpeg", "gif", "svg", "webp", "ico", "css", "js", "ts", "jsx", "tsx", "py", "rb", "go",
    "rs", "md", "txt", "html", "htm", "json", "xml", "yaml", "yml", "pdf", "zip", "gz",
))  # fmt: skip
"""`icon@2x.png` is a file. Some of these are countries too (md, py, rs): those are told by the name before the dot."""

SPELT = (
    "&#64;", "&#064;", "&#x40;", "&commat;", "[at]", "[ at ]", "(at)", "( at )", "{at}", "{ at }",
)  # fmt: skip
"""What may stand for the `@`. The first look knows these words (look.py), so they cost nothing where they are not."""

DOT = r"(?:\.|&#0?46;|&#x2e;|&period;| ?[\[({] ?dot ?[\])}] ?| dot )"
LABEL = "[a-z0-9][a-z0-9-]{0,62}"
SPELT_DOMAIN = re.compile(
    rf"(?:{'|'.join(map(re.escape, SPELT))}) ?{LABEL}(?:{DOT}{LABEL}){{0,7}}{DOT}([a-z]{{2,24}})(?![\w-])",
    re.IGNORECASE | re.ASCII,
)
LETTER = r"[\w\u00c0-\u024f+-]"
SPELT_LOCAL = re.compile(
    rf"(?<!{LETTER}){LETTER}{{1,64}}(?:{DOT}{LETTER}{{1,32}}){{0,4}} ?\Z", re.IGNORECASE | re.ASCII
)
SPELT_CHARS_MAX = 96


def find(text: str) -> Iterator[Finding]:
    yield from _written(text)
    lower = text.lower()
    if any(at in lower for at in SPELT):  # Twenty times as fast as the search.
        yield from _spelt(text)


def _spelt(text: str) -> Iterator[Finding]:
    """`jane&#64;example.com`, `jane [at] example [dot] com`."""
    for domain in SPELT_DOMAIN.finditer(text):
        local = SPELT_LOCAL.search(text, max(0, domain.start() - SPELT_CHARS_MAX), domain.start())
        if local is not None and domain[1].lower() not in FILE_SUFFIXES:
            yield Finding("email", local.start(), domain.end())


def _written(text: str) -> Iterator[Finding]:
    for domain in DOMAIN.finditer(text):
        host = domain[0][1:].rstrip("-_")
        suffix = host.rpartition(".")[2]
        if not _is_top_level(suffix) or (suffix.lower() in FILE_SUFFIXES and host[0].isdigit()):
            continue
        local = LOCAL.search(text[max(0, domain.start() - LOCAL_CHARS_MAX) : domain.start()])
        name = _local(local[0]) if local is not None else ""
        if not name or MASK in name or (name == "git" and text[domain.start() + 1 + len(host) :][:1] in (":", "/")):
            continue  # `git@host:owner/repository` is where a repository is.
        yield Finding("email", domain.start() - len(name), domain.start() + 1 + len(host))


def _local(name: str) -> str:
    """Without what stands before the address rather than in it: quotes, `key=`, dots."""
    name = SENTENCE.sub("", re.split(r"[=/|{}`'?&]", name)[-1])
    first = LOCAL_FIRST.search(name)
    return name[first.start() :] if first else ""


def _is_top_level(suffix: str) -> bool:
    return len(suffix) >= 2 and (suffix.isalpha() or suffix.lower().startswith("xn--"))
