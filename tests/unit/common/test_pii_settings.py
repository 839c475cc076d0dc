"""An operator's recognizers are checked before they are published: a shield that cannot load them refuses requests."""

import pytest
from msgspec import convert

from llmproxy.common.pii import Pattern, Pii, Recognizer
from llmproxy.common.policy import Override, Policy, problems

OWN = Recognizer(name="n", supported_entity="X_ID", patterns=(Pattern(name="p", regex=r"X\d"),))


@pytest.mark.parametrize(
    ("settings", "where", "says"),
    [
        (Pii(recognizers=(OWN,)), "pii.recognizers", "engine: presidio"),
        (Pii(engine="presidio", recognizers=(Recognizer(name="n", patterns=OWN.patterns),)), "pii.recognizers[0].supported_entity", "name what it finds"),
        (Pii(engine="presidio", recognizers=(Recognizer(name="n", supported_entity="X_ID"),)), "pii.recognizers[0]", "finds nothing"),
        (Pii(engine="presidio", recognizers=(OWN, Recognizer(name="n", supported_entity="X_ID", patterns=(Pattern(name="p", regex="("),)))), "pii.recognizers[1].patterns[0].regex", "no regular expression"),
        (Pii(engine="presidio", recognizers=(Recognizer(name="n", supported_entity="X_ID", patterns=(Pattern(name="p", regex=r"\d*"),)),)), "pii.recognizers[0].patterns[0].regex", "match everywhere"),
        (Pii(engine="presidio", recognizers=(Recognizer(name="UkNinoRecognizer", type="predefined", supported_entity="X_ID"),)), "pii.recognizers[0]", "its own patterns"),
        (Pii(engine="presidio", recognizers=(Recognizer(name="n", supported_entity="X_ID", supported_language="de", deny_list=("a",)),)), "pii.recognizers[0].supported_language", "none of languages"),
        (Pii(languages=("de",)), "pii.languages", "engine: presidio"),
        (Pii(entities=("PERSON",)), "pii.entities", "engine: presidio"),
        (Pii(engine="presidio", languages=("en", "xx")), "pii.languages[1]", "one of af, am"),
        (Pii(engine="presidio", entities=("PERSON", "EMAIL_ADRESS")), "pii.entities[1]", "did you mean 'EMAIL_ADDRESS'?"),
        (Pii(engine="presidio", entities=("HOUSE_COLOUR",)), "pii.entities[0]", "add one of your own to recognizers"),
        (Pii(engine="presidio", entities=("UK_NINO",)), "pii.entities[0]", "add {name: UkNinoRecognizer, type: predefined}"),
        (Pii(engine="presidio", recognizers=(Recognizer(name="UkPostcodRecognizer", type="predefined"),)), "pii.recognizers[0].name", "did you mean 'UkPostcodeRecognizer'?"),
        (Pii(engine="presidio", recognizers=(Recognizer(name="AzureAILanguageRecognizer", type="predefined"),)), "pii.recognizers[0].name", "none of Presidio's that work here"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_place_and_the_fix(settings: Pii, where: str, says: str) -> None:
    ((place, fix),) = problems(Policy(pii=settings))
    assert place == where
    assert says in fix


def test_what_presidios_documentation_shows_is_accepted() -> None:
    assert not list(problems(Policy(pii=Pii(engine="presidio", recognizers=(OWN,)), kinds={"pii.x_id": "block"})))


def test_an_entity_may_be_presidios_own_one_that_is_switched_on_or_the_operators() -> None:
    nino = Recognizer(name="UkNinoRecognizer", type="predefined")
    entities = ("PERSON", "CREDIT_CARD", "UK_NINO", "X_ID")
    assert not list(problems(Policy(pii=Pii(engine="presidio", recognizers=(OWN, nino), entities=entities))))


def test_a_kind_may_be_what_the_recognizers_of_an_override_find() -> None:
    override = convert({"when": {"tenants": ["a"]}, "pii": {"engine": "presidio", "recognizers": [OWN]}}, Override)
    assert not list(problems(Policy(kinds={"pii.x_id": "block"}, overrides=(override,))))
