"""An operator's recognizers are checked before they are published: a shield that cannot load them refuses requests."""

import pytest

from llmproxy.common.pii import Pattern, Pii, Recognizer
from llmproxy.common.policy import Policy, problems

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
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_place_and_the_fix(settings: Pii, where: str, says: str) -> None:
    ((place, fix),) = problems(Policy(pii=settings))
    assert place == where
    assert says in fix


def test_what_presidios_documentation_shows_is_accepted() -> None:
    assert not list(problems(Policy(pii=Pii(engine="presidio", recognizers=(OWN,)), kinds={"pii.x_id": "block"})))
