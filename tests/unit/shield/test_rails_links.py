"""Where links may lead: a rule about a domain is not evaded by the way in which an address is spelled."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxy.common.rails import LinkRule
from llmproxy.common.segments import Segment
from llmproxy.shield import links
from llmproxy.shield.guards.links import Links
from llmproxy.shield.verdict import Allow


def found(text: str, **settings: Any) -> list[tuple[str, str]]:
    """What is found in a text, and why."""
    verdict = Links(LinkRule(**settings)).inspect(Segment(role="user", path="p", text=text))
    return [] if isinstance(verdict, Allow) else [(text[one.start : one.end], one.rule) for one in verdict.findings]


def is_denied(url: str, *domains: str) -> bool:
    return any(why == "denied" for _, why in found(f"see {url} now", denied=domains))


@pytest.mark.parametrize(
    "url",
    ["https://evil.net", "https://sub.evil.net/x", "http://evil.net:8080", "https://EVIL.NET./", "https://example.com@evil.net/", "https://a:b@evil.net",
     "https:\\\\evil.net", "https:/evil.net", "https:///evil.net", "https:evil.net", "//evil.net/x", "evil.net", "www.evil.net/path", "ada@evil.net",
     "https://%65vil.net", "https://e%76il%2Enet", "https://evil。net", "https://ｅｖｉｌ．ｎｅｔ", "https://ev\u00adil.net", "[x](https://evil.net)",
     "<https://evil.net>", "(https://evil.net).", "https://evil.net\\@example.com", "https://example.com％2f@evil.net", "ftp://evil.net", "hxxp://evil.net",
     "https://example.com⁄@evil.net", "https://evil.net?x", "https://evil.net#example.com", "'https://evil.net'", "https://evil&#46;net/x",
     "[x](https://evil&#x2E;net)", "[x](https://evil&period;net)", "[x](&#104;ttps&colon;&sol;&sol;evil&#46;net)", "<a href='https&#58;//evil&#46;net'>",
     "evil&#46;net", r"[x](https://evil\.net/)", r"[x](https\://evil\.net)", "<a href=https://ev&Tab;il.net>", "https://example.com&#46;evil&#46;net"],
)  # fmt: skip
def test_a_denied_domain_is_seen_in_every_spelling(url: str) -> None:
    assert is_denied(url, "evil.net")


@pytest.mark.parametrize(
    "url",
    ["https://notevil.net", "https://evil.net.example.com", "https://evil&amp;.net", "AT&amp;T and R&D;.net", r"C:\.net\evil", "https://example.com&#47;evil&#45;net", "https://example.com/evil.net", "https://example.com?u=evil-net", "https://evil.network"],
)  # fmt: skip
def test_another_domain_is_another_domain(url: str) -> None:
    assert not is_denied(url, "evil.net")


def test_what_is_written_in_entities_is_one_link_with_its_place() -> None:
    assert found("see https://evil&#46;net/a?b&amp;c. And evil&#46;net", denied=("evil.net",)) == [
        ("https://evil&#46;net/a?b&amp;c", "denied"),
        ("evil&#46;net", "denied"),
    ]


def test_an_exact_domain_is_that_alone() -> None:
    assert is_denied("https://evil.net", "=evil.net")
    assert not is_denied("https://www.evil.net", "=evil.net")


@pytest.mark.parametrize(
    "host",
    ["10.0.0.1", "0x0a.0.0.1", "0x0a000001", "167772161", "012.0.0.1", "10.1", "10.0.1", "[::ffff:10.0.0.1]", "[::ffff:a00:1]", "１０.0.0.1", "10。0。0。1"],
)  # fmt: skip
def test_a_denied_number_is_seen_in_every_notation(host: str) -> None:
    assert is_denied(f"http://{host}/", "10.0.0.1")


def test_a_name_of_other_letters_and_its_ascii_form_are_the_same() -> None:
    assert is_denied("https://xn--mller-kva.de", "xn--mller-kva.de")
    assert is_denied("https://müller.de", "xn--mller-kva.de")
    assert is_denied("https://mu\u0308ller.de", "xn--mller-kva.de")


@pytest.mark.parametrize(
    ("url", "is_allowed"),
    [("https://example.com", True), ("https://docs.example.com/a?b", True), ("https://example.com.evil.net", False), ("https://example.com@evil.net", False),
     ("https://notexample.com", False), ("https://evil.net/example.com", False), ("https://evil.net\\.example.com", False), ("https://evil.net／.example.com", False),
     ("https://example.com/?a=1&amp;b=2", True), ("https://example.com/a&#46;b", True), ("https://example.com&#46;evil.net", False), ("https://example.com&#64;evil.net", False),
     ("https&colon;//evil.net", False), ("https://example.com\\@evil.net", False), ("https://evil.net%2f.example.com", False), ("https://еxample.com", False), ("http://[::1]/", False)],
)  # fmt: skip
def test_only_what_every_program_takes_for_an_allowed_domain_is_one(url: str, *, is_allowed: bool) -> None:
    assert (found(f"see {url} now", allowed=("example.com",), only_allowed=True) == []) == is_allowed


def test_a_scheme_that_is_not_listed_is_denied_and_a_script_always_weighs() -> None:
    assert found("ftp://a.example and https://a.example", schemes=("https",)) == [("ftp://a.example", "scheme")]
    assert found("javascript:alert(1)", risk_min=100) == [("javascript:alert(1)", "script")]
    assert found("note: javascript: the good parts", risk_min=100) == []


@pytest.mark.parametrize(
    ("url", "seen"),
    [("https://example.com/docs/how-to-do-it", ()), ("https://8.8.8.8/x", ("address",)), ("https://192.168.1.1/x", ()), ("https://xn--mller-kva.de/", ("punycode",)),
     ("https://pаypal.com", ("lookalike", "punycode")), ("https://a.b.c.d.e.f.example", ("subdomains",)), ("https://prize.tk/", ("tld",)), ("https://bit.ly/x", ("shortener",)),
     ("https://u@example.com", ("userinfo",)), ("https://example.com:4444", ("port",)), ("https://example.com/" + "aB3" * 30, ("payload",)),
     ("https://ex%61mple.com", ("escaped",)), ("javascript:alert(1)", ("script",)), ("data:text/html,x", ("script",)), ("#top", ()),
     ("http://169.254.169.254/latest", ("metadata",)), ("http://2852039166/", ("metadata", "address")), ("http://[::ffff:169.254.169.254]/", ("metadata",)),
     ("http://metadata.google.internal./x", ("metadata",)), ("http://100.100.100.200", ("metadata",)), ("https://secure-login.example", ("bait",)),
     ("https://login.example/account", ()), ("https://a-b-c-d-e.example", ("noise",)), ("https://my-cdn-01.example", ()), ("https://x83920a1.example", ("noise",)),
     ("http://10.0.0.1/", ()), ("http://localhost:8080/", ())],
)  # fmt: skip
def test_what_speaks_against_an_address_has_a_name(url: str, seen: tuple[str, ...]) -> None:
    assert links.signals(url) == seen


def test_a_link_counts_from_the_risk_on_that_the_operator_wants() -> None:
    assert found("https://u@prize.tk/", risk_min=90) == [("https://u@prize.tk/", "userinfo+tld")]
    assert found("https://u@prize.tk/", risk_min=91) == []
    assert found("https://u@prize.tk/", risk_min=90, allowed=("prize.tk",)) == []


LABELS = st.from_regex(r"[a-z][a-z0-9]{0,8}", fullmatch=True)
DOMAINS = st.tuples(LABELS, st.sampled_from(["com", "net", "co.uk", "example"])).map(".".join)


def wide(text: str) -> str:
    return "".join(chr(ord(sign) + 0xFEE0) if sign.isalnum() else sign for sign in text)


SPELLINGS: list[Any] = [
    str.upper, wide, lambda host: host.replace(".", "。"), lambda host: host.replace(".", "%2E", 1), lambda host: f"%{ord(host[0]):02x}{host[1:]}",
    lambda host: f"{host}.", lambda host: f"www.{host}", lambda host: f"trusted.example@{host}", lambda host: f"{host}:8080", lambda host: f"{host}\\@trusted.example",
    lambda host: host[0] + "\u200b" + host[1:], lambda host: f"a:b%40c@{host}",
]  # fmt: skip


@given(domain=DOMAINS, spell=st.sampled_from(SPELLINGS), scheme=st.sampled_from(["https://", "http:\\\\", "HTTPS:/", "//", "ftp://"]), end=st.sampled_from(["", "/a", "?q=1", "#x"]))  # fmt: skip
def test_no_spelling_of_an_address_evades_its_domain(domain: str, spell: Any, scheme: str, end: str) -> None:
    assert is_denied(f"{scheme}{spell(domain)}{end}", domain)


@given(st.text(st.sampled_from("ab.:/\\@%[]#?-_ 0x1\u3002é"), max_size=40))
def test_any_text_is_read_and_what_is_found_stands_in_it(text: str) -> None:
    for start, end in links.places(text, bare=True):
        assert links.may_stand(text)
        assert 0 <= start < end <= len(text)
        links.signals(text[start:end])
    found(text, denied=("a.b",), only_allowed=True, allowed=("b.a",), risk_min=1)


def test_more_links_than_are_counted_are_not_let_through() -> None:
    verdict = Links(LinkRule(denied=("evil.net",), action="replace")).inspect(
        Segment(role="user", path="p", text="https://evil.net " * 1_100)
    )
    assert not isinstance(verdict, Allow)
    assert not verdict.findings[-1].is_exact
