"""Presidio behind our own interface: its list, the operator's recognizers, names by a language model, and no connection anywhere."""

import itertools
import json
import pkgutil
import socket
import sys
from typing import Any

import pytest
import spacy
import spacy.lang
import tldextract
from presidio_analyzer import predefined_recognizers
from presidio_analyzer.recognizer_registry.recognizers_loader_utils import RecognizerConfigurationLoader

from llmproxy.common.entities import BY_MODEL, KINDS, LANGUAGES, SWITCHED_OFF, SWITCHED_ON
from llmproxy.common.pii import Pattern, Pii, Recognizer
from llmproxy.common.policy import KINDS as POLICY_KINDS
from llmproxy.common.policy import Injection, Policy
from llmproxy.common.segments import Segment
from llmproxy.common.testing import FakeClock
from llmproxy.shield import look, preflight
from llmproxy.shield.chain import UNAVAILABLE, Chain
from llmproxy.shield.examine import Examined, Order, Refused, examine_within
from llmproxy.shield.guards import GUARDS, pii
from llmproxy.shield.guards.presidio import Presidio
from llmproxy.shield.presidio import engine
from llmproxy.shield.verdict import Allow, Mask

RING = preflight.pipeline(GUARDS)
EMPLOYEE = Recognizer(
    name="Employee numbers",
    supported_entity="EMPLOYEE_ID",
    patterns=(Pattern(name="number", regex=r"\bE-\d{5}\b", score=0.3),),
    context=("employee", "badge"),
)
PROJECTS = Recognizer(name="Projects", supported_entity="PROJECT", deny_list=("Bluebird",))
SETTINGS = Pii(
    engine="presidio", recognizers=(EMPLOYEE, PROJECTS, Recognizer(name="UkNinoRecognizer", type="predefined"))
)


class Ruled(engine.Installed):
    """Names by rules in the place of a trained model: the same interface."""

    def load(self) -> None:
        pipeline = spacy.blank("en")
        pipeline.add_pipe("entity_ruler").add_patterns(
            [{"label": "PERSON", "pattern": "Ada Lovelace"}, {"label": "GPE", "pattern": "London"}]
        )
        self.nlp = {"en": pipeline}


def kinds(text: str, analyzer: engine.Analyzer | None = None) -> dict[str, str]:
    found = (analyzer or engine.analyzer(SETTINGS)).find(text)
    return {one.kind: text[one.start : one.end] for one in found}


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the shield opens no connection to look at a text")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def test_an_operators_pattern_counts_more_with_its_context() -> None:
    assert kinds("the badge of this employee says E-12345")["pii.employee_id"] == "E-12345"
    assert kinds("E-12345") == {}


def test_an_operators_list_of_words_is_found() -> None:
    assert kinds("launch Bluebird on Friday") == {"pii.project": "Bluebird"}


def test_a_recognizer_that_presidio_ships_switched_off_is_switched_on_by_its_name() -> None:
    assert kinds("my nino is AB123456C")["uk_nino"] == "AB123456C"
    assert "UK_NINO" not in engine.analyzer(Pii(engine="presidio")).entities()


def test_an_address_is_judged_without_the_network() -> None:
    assert kinds("write to ada@example.co.uk")["email"] == "ada@example.co.uk"
    assert tldextract.tldextract.TLD_EXTRACTOR.suffix_list_urls == ()


def test_names_and_places_come_from_a_language_model() -> None:
    model = Ruled(models=[{"lang_code": "en", "model_name": ""}])
    model.load()
    found = kinds("Ada Lovelace lives in London", engine.Analyzer(Pii(engine="presidio"), model))
    assert found == {"person": "Ada Lovelace", "location": "London"}


EXAMPLES = {
    "CREDIT_CARD": "card 4111 1111 1111 1111",
    "CRYPTO": "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2",
    "EMAIL_ADDRESS": "ada@example.org",
    "IBAN_CODE": "GB82 WEST 1234 5698 7654 32",
    "IP_ADDRESS": "from 203.0.113.9",
    "MAC_ADDRESS": "00:1b:44:11:3a:b7",
    "PHONE_NUMBER": "+1 415 555 2671",
    "US_BANK_NUMBER": "bank account 123456789",
    "US_DRIVER_LICENSE": "driver license H12234567",
    "US_ITIN": "912-78-1234",
    "US_PASSPORT": "passport 912803456",
    "US_SSN": "219-09-9998",
    "UK_NHS": "NHS 401 023 2137",
}
"""What Presidio's default list has and the fast path finds by itself."""

BY_PRESIDIO = {
    "DATE_TIME": "on 2024-01-15",
    "MEDICAL_LICENSE": "DEA certification BB1388568",
    "URL": "see https://example.org/x",
    "UUID": "123e4567-e89b-12d3-a456-426614174000",
}
"""And what it alone finds."""


def test_every_entity_of_presidios_default_list_is_found_by_one_of_the_two() -> None:
    settings = Pii(engine="presidio", entities=(*EXAMPLES, *BY_PRESIDIO))
    listed = engine.analyzer(Pii(engine="presidio")).entities()
    assert listed - BY_MODEL == EXAMPLES.keys() | BY_PRESIDIO.keys()
    for entity, text in EXAMPLES.items():
        assert KINDS[entity] in {one.kind for one in pii.find(text, look.at(text))}, entity
    for entity, text in BY_PRESIDIO.items():
        assert KINDS[entity] in kinds(text, engine.analyzer(settings)), entity


def test_what_is_written_down_of_presidio_is_what_the_package_has() -> None:
    offered: dict[bool, dict[str, str]] = {True: {}, False: {}}
    for entry in RecognizerConfigurationLoader.get()["recognizers"]:
        try:
            made = getattr(predefined_recognizers, entry["name"])()
        except ImportError:
            continue  # Those that fetch a model, or ask another machine, want packages that are not here.
        (offered[entry.get("enabled") is not False])[entry["name"]] = made.supported_entities[0]
    assert (offered[True], offered[False]) == (SWITCHED_ON, SWITCHED_OFF)
    known = {one.name for one in pkgutil.iter_modules(spacy.lang.__path__) if one.ispkg}
    assert set(LANGUAGES) == known - {"xx"}  # Which is no language but a pipeline for many.


def test_an_entity_of_one_language_is_looked_for_in_that_one_and_the_others_are_not_refused() -> None:
    settings = Pii(
        engine="presidio",
        languages=("en", "de"),
        entities=("DE_TAX_ID",),
        recognizers=(Recognizer(name="DeTaxIdRecognizer", type="predefined"),),
    )
    assert kinds("Steuer-ID 86095742719", engine.analyzer(settings)) == {"de_tax_id": "86095742719"}


def test_every_kind_that_presidio_finds_can_be_named_in_a_policy() -> None:
    assert set(KINDS.values()) <= set(POLICY_KINDS)


def test_the_quick_look_lets_through_what_presidio_would_find() -> None:
    guard = Presidio().under(Policy(pii=Pii(engine="presidio")))
    assert all(guard.may_hold(text) for text in (*EXAMPLES.values(), *BY_PRESIDIO.values()))
    assert not guard.may_hold("Please summarise the minutes of the meeting.")


def test_an_operators_recognizers_see_every_text() -> None:
    assert Presidio().under(Policy(pii=SETTINGS)).may_hold("launch Bluebird")


def test_a_model_that_is_not_there_is_never_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("no model is downloaded")

    monkeypatch.setattr(engine.Installed, "_download_spacy_model_if_needed", refuse)
    model = engine.Installed(models=[{"lang_code": one, "model_name": ""} for one in ("de", "ja", "xx")])
    model.load()
    assert set(model.nlp) == {"de", "ja", "xx"}


def test_without_the_package_a_request_that_needs_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llmproxy.shield.presidio.engine", None)
    monkeypatch.delattr("llmproxy.shield.presidio.engine", raising=False)
    chain = Chain(GUARDS, Policy(pii=SETTINGS))
    assert chain.inspect(Segment(role="user", path="p", text="launch Bluebird")) == UNAVAILABLE


def test_under_the_default_policy_presidio_is_no_part_of_the_chain() -> None:
    assert "presidio" not in {guard.name for guard in Chain(GUARDS, Policy()).guards}
    assert isinstance(Presidio().inspect(Segment(role="user", path="p", text="a@b.co")), Allow)


def test_a_finding_says_which_recognizer_and_not_what_it_read() -> None:
    verdict = Chain(GUARDS, Policy(pii=SETTINGS)).inspect(Segment(role="user", path="p", text="launch Bluebird"))
    assert isinstance(verdict, Mask)
    assert [(one.guard, one.kind, one.rule) for one in verdict.findings] == [("presidio", "pii.project", "Projects")]


@pytest.mark.parametrize("length", [0, 1, 4_000, 4_001, 7_600, 50_000])
def test_the_windows_of_a_long_text_cover_it_and_are_bounded(length: int) -> None:
    cut = list(engine.windows(length))
    assert cut[0][0] == 0
    assert cut[-1][1] == length
    assert all(end - first <= engine.WINDOW_CHARS for first, end in cut)
    assert all(later[0] == earlier[1] - engine.OVERLAP_CHARS for earlier, later in itertools.pairwise(cut))


def test_what_stands_on_the_border_of_two_windows_is_found_whole_and_once() -> None:
    analyzer = engine.analyzer(SETTINGS)
    for at in range(engine.WINDOW_CHARS - engine.OVERLAP_CHARS - 12, engine.WINDOW_CHARS + 12, 37):
        text = ("word " * 2_000)[:at] + " Bluebird " + "word " * 1_000
        assert [(one.kind, text[one.start : one.end]) for one in analyzer.find(text)] == [("pii.project", "Bluebird")]


def test_what_stands_in_several_parts_of_a_message_is_found_where_they_meet() -> None:
    policy = Policy(injection=Injection(mode="disabled"), pii=SETTINGS)

    def examined(*texts: str, policy: Policy = policy, work_max: int | None = None) -> Examined | Refused | None:
        parts = [{"type": "text", "text": text} for text in texts]
        body = json.dumps({"messages": [{"role": "user", "content": parts}]}).encode()
        order = Order(body=body, policy=policy, key=b"k" * 32, max_depth=64)
        return examine_within(work_max, order, RING, FakeClock())

    for texts in (("We call it Blue", "bird here"), ("the employee badge E-12", "345 is his")):
        found = examined(*texts)
        assert isinstance(found, Examined)
        assert found.findings in ({"pii.project": 1}, {"pii.employee_id": 1})
        assert found.masked is not None
        assert b"Bluebird" not in found.masked.replace(b'"}, {"type": "text", "text": "', b"")
        assert examined(*texts, work_max=1_000) is None  # No work for the loop.
        own = examined(*texts, policy=Policy(), work_max=1_000)
        assert isinstance(own, Examined)
        assert own.findings == {}
    apart = examined("Nothing", " to see")
    assert isinstance(apart, Examined)
    assert apart.findings == {}
