"""A value that stands in a message in base64, in hex or percent-encoded is found, taken out with its run, and comes back."""

import json
import time
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmproxy.common.policy import Policy
from llmproxy.common.segments import Segment
from llmproxy.shield import encoded
from llmproxy.shield.answers.asked import Asked
from llmproxy.shield.answers.guards import Guards
from llmproxy.shield.answers.reading import Reading
from llmproxy.shield.examine import Examined, Order, Refused, examine
from llmproxy.shield.guards import GUARDS
from llmproxy.shield.guards.pii import Pii
from llmproxy.shield.guards.secrets import Secrets
from llmproxy.shield.preflight import pipeline
from llmproxy.shield.vault import unmask
from llmproxy.shield.verdict import Finding, Mask
from llmproxy.shield.window import Originals

MAIL = "ada@example.org"
KEY = "ghp_" + "Zx8Qw3Lm9Rt2Vb6Nk1Yc5Hd7Jf4Gs0PaQr2T"
TEXT = f"name;mail\nAda;{MAIL}\nZürich, too\n"


def base64(text: str) -> str:
    return b64encode(text.encode()).decode()


def lines(text: str, *, of: int = 76, indent: str = "  ") -> str:
    whole = base64(text)
    return f"\n{indent}".join(whole[at : at + of] for at in range(0, len(whole), of))


ENCODINGS: dict[str, Callable[[str], str]] = {
    "base64": base64,
    "unpadded": lambda text: base64(text).rstrip("="),
    "urlsafe": lambda text: urlsafe_b64encode(text.encode()).decode(),
    "hex": lambda text: text.encode().hex(),
    "capital hex": lambda text: text.encode().hex().upper(),
    "base64 twice": lambda text: base64(base64(text)),
    "percent": lambda text: quote(text, safe=""),
    "percent twice": lambda text: quote(quote(text, safe=""), safe=""),
    "base64 in percent": lambda text: quote(base64(text) + "=", safe=""),
    "percent in base64": lambda text: base64(quote(text, safe="")),
    "lines": lambda text: lines(text * 4),
}


def examined(text: str, **policy: Any) -> Examined | Refused:
    body = json.dumps({"messages": [{"role": "user", "content": text}]}).encode()
    order = Order(body=body, policy=Policy(**policy), key=b"k" * 32, max_depth=64)
    return examine(order, pipeline(GUARDS), time.monotonic)


def seen(text: str) -> list[Finding]:
    findings: list[Finding] = []
    for guard in (Secrets(), Pii()):
        verdict = guard.inspect(Segment(role="user", path="messages[0].content", text=text))
        findings += verdict.findings if isinstance(verdict, Mask) else ()
    return findings


@pytest.mark.parametrize("encode", ENCODINGS.values(), ids=ENCODINGS)
@pytest.mark.parametrize("value", [MAIL, KEY, "4111 1111 1111 1111"])
def test_what_is_encoded_is_masked_and_comes_back(encode: Callable[[str], str], value: str) -> None:
    run = encode(TEXT.replace(MAIL, value))
    said = f"Please look at this: {run} and say what it is."
    result = examined(said)
    assert isinstance(result, Examined)
    assert result.masked is not None
    content = json.loads(result.masked)["messages"][0]["content"]
    assert content != said
    assert encode(value)[:12] not in content
    assert content.startswith("Please look at this: ")
    assert content.endswith(" and say what it is.")
    assert unmask(content, result.originals) == said
    assert result.explained is not None
    assert all(one.via for one in result.explained.findings)


@pytest.mark.parametrize("encode", ENCODINGS.values(), ids=ENCODINGS)
def test_the_policy_decides_what_becomes_of_it(encode: Callable[[str], str]) -> None:
    text = f"see {encode(TEXT)} there"
    blocked = examined(text, kinds={"email": "block"})
    assert isinstance(blocked, Refused)
    assert (blocked.code, blocked.param) == ("content_blocked", "messages[0].content")
    assert MAIL not in blocked.message
    redacted = examined(text, kinds={"email": "redact"})
    assert isinstance(redacted, Examined)
    assert redacted.masked is not None
    assert b"[EMAIL_REDACTED]" in redacted.masked
    allowed = examined(text, kinds={"email": "allow"})
    assert isinstance(allowed, Examined)
    assert allowed.masked is None


def test_behind_percent_signs_only_the_value_is_taken_out() -> None:
    text = "see https://api.example.com/find?mail=ada%40example.org&city=Z%C3%BCrich now"
    result = examined(text)
    assert isinstance(result, Examined)
    assert list(result.originals.values()) == ["ada%40example.org"]


@given(
    st.integers(56, 90), st.sampled_from(["\n", "\r\n", "\n    "]), st.text(st.characters(codec="ascii"), max_size=90)
)
def test_lines_of_any_width_are_one_run(width: int, gap: str, before: str) -> None:
    whole = base64(f"{before.translate(CONTROLS)} words before {'it ' * 9} {MAIL} {'and behind it ' * 9}")
    run = gap.join(whole[at : at + width] for at in range(0, len(whole), width))
    text = f"so:\n{run}\n\nok"
    assert any(text[one.start : one.end].rstrip("=") == run.rstrip("=\r\n ") for one in seen(text))


def test_a_run_of_lines_ends_where_its_lines_do() -> None:
    run = lines(f"{'Some words of a long letter. ' * 9}{MAIL} {'And more of them. ' * 3}")
    for behind in ("\nHello there, thanks", "\n\nThanks", "", "\nok"):
        (one,) = seen(f"data: |\n  {run}{behind}")
        assert (one.kind, one.via) == ("email", ("base64",))
        assert f"data: |\n  {run}{behind}"[one.start : one.end] == run


TOKEN = (
    f"{base64(json.dumps({'alg': 'none'})).rstrip('=')}.{base64(json.dumps({'mail': MAIL})).rstrip('=')}.{'aB3' * 9}"
)


@pytest.mark.parametrize(
    "text",
    [
        "sha256:" + "3f786850e387550fdab836ed7e6dc881de23001b3f786850e387550fdab836ed",
        "/usr/local/lib/python3.11/site-packages/some_package/and_another/module_name.py",
        "https://docs.example.com/how-to-build/a-gateway?page=2&sort=asc#section-4",
        "internationalisation, counterrevolutionaries, ThisIsALongCamelCaseIdentifier, SOME_CONSTANT_NAME_42",
        "100% of it, 50%off, %s %d %20, a%zz, %",
        f"see {base64('a text without anything in it, however long it may be')} ok",
        "urn:uuid:6ba7b810-9dad-11d1-80b4-00c04fd430c8 0123456789012345678901234567890123456789",
    ],
)
def test_what_only_looks_encoded_is_left_alone(text: str) -> None:
    assert [one for one in seen(text) if one.via] == []


def test_the_claims_of_a_token_are_the_tokens() -> None:
    found = seen(f"as {TOKEN} ok")
    assert [(one.kind, one.via) for one in found if one.kind != "secret.assigned"] == [("secret.jwt", ())]


@given(st.binary(min_size=12, max_size=4_000), st.sampled_from([b64encode, urlsafe_b64encode]))
def test_random_bytes_are_no_text(raw: bytes, encode: Callable[[bytes], bytes]) -> None:
    text = f"![x](data:image/png;base64,{encode(raw).decode()}) {raw.hex()}"
    assert [one for one in seen(text) if one.via] == []


@given(
    st.text(max_size=60),
    st.sampled_from([MAIL, KEY]),
    st.text(max_size=60),
    st.sampled_from([name for name in ENCODINGS if name not in ("lines", "base64 in percent")]),
)
@example("", MAIL, "", "base64")
@example("é" * 40, KEY, "\U0001f600", "percent")
def test_a_value_is_found_in_any_text_that_is_encoded(before: str, value: str, behind: str, name: str) -> None:
    plain = f"{before.translate(CONTROLS)} {value} {behind.translate(CONTROLS)}".encode("utf-8", "replace").decode()
    text = f"so: {ENCODINGS[name](plain)} ok"
    spans = [(one.start, one.end) for one in seen(text)]
    assert any(4 <= start < end <= len(text) - 3 for start, end in spans)


CONTROLS = dict.fromkeys([*range(32), 127, 0xFFFD, *range(0xD800, 0xE000)], " ")


LINES = st.lists(st.text("aZ09+/-_4eGVs", min_size=50, max_size=64), max_size=6)


@given(
    st.text(st.sampled_from("aZ09+/-_=%4e \n\té☃:."), max_size=400)
    | st.tuples(st.sampled_from(["\n", "\r\n", "\n  ", "\r"]), LINES, st.text("aZ=\r\n", max_size=9)).map(
        lambda drawn: drawn[0].join(drawn[1]) + drawn[2]
    )
)
def test_every_span_is_one_of_the_text(text: str) -> None:
    def everything(said: str, bits: int) -> list[Finding]:
        return [Finding("email", at, at + 1) for at in range(len(said))]

    for one in encoded.found(text, everything):
        assert 0 <= one.start < one.end <= len(text)
        assert one.via


@given(st.text(max_size=80))
def test_what_is_behind_percent_signs_is_at_its_place(text: str) -> None:
    plain = f"{text} {MAIL}".encode("utf-8", "replace").decode()
    source = quote(plain, safe="")
    (run,) = [one for one in encoded._runs(f"x {source} y") if one.via == ("percent",)]
    at = run.text.index(MAIL)
    span = run.span(at, at + len(MAIL))
    assert span is not None
    assert f"x {source} y"[slice(*span)] == quote(MAIL, safe="")


def test_each_kind_of_a_run_is_said_once_and_text_beside_it_is_found_as_ever() -> None:
    text = f"{base64(f'{MAIL} {MAIL} {KEY}')} and {MAIL}"
    assert sorted((one.kind, bool(one.via)) for one in seen(text) if one.kind in ("email", "secret.github")) == [
        ("email", False),
        ("email", True),
        ("secret.github", True),
    ]


def test_what_cannot_be_read_as_text_to_its_end_is_tried_once_for_all_its_lines() -> None:
    """Else it would be read again from each of its lines on."""
    line = b64encode(b"a text with a control sign: \x01 and so on...").decode()[:60]
    asked = 0

    def counted(letters: bytes, of: Callable[[bytes], bytes] = encoded._decoded) -> bytes:
        nonlocal asked
        asked += len(letters)
        return of(letters)

    text = f"{line}\n" * 300
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(encoded, "_decoded", counted)
        assert list(encoded._runs(text)) == []
    assert asked < 20 * len(text)


@pytest.mark.parametrize("size", [0, 3, 50])
def test_an_encoded_credential_is_taken_out_of_an_answer(size: int) -> None:
    read = Reading(Guards(GUARDS, Policy()), Asked(), Originals({}), clock=lambda: 0.0)
    text = f"Sure: {base64(f'the key is {KEY}')} is what you want"
    one = read.open()
    pieces = [text[at : at + size] for at in range(0, len(text), size)] if size else [text]
    said = "".join(map(one.push, pieces)) + one.flush()
    assert base64(KEY)[:24] not in said
    assert said.endswith("[SECRET_REDACTED] is what you want")
    assert read.findings.counts == {"answer.secret.github": 1}
    whole = Reading(Guards(GUARDS, Policy()), Asked(), Originals({}), clock=lambda: 0.0)
    assert (whole.text(text), whole.findings.counts) == (said, read.findings.counts)
