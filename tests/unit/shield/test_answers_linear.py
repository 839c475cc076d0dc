"""To read twice as long an answer takes twice the work, whatever is in it."""

import pytest
from msgspec import structs

from llmproxy.common.answers import Answers
from llmproxy.common.policy import Policy
from llmproxy.shield import glance
from llmproxy.shield.answers.asked import Asked
from llmproxy.shield.answers.guards import Guards
from llmproxy.shield.answers.reading import Reading
from llmproxy.shield.guards import GUARDS
from llmproxy.shield.window import Originals

OURS = Guards(GUARDS, structs.replace(Policy(), answers=Answers()))


def chars_looked_at(monkeypatch: pytest.MonkeyPatch, text: str) -> int:
    """By whoever looks for words in an answer."""
    looked_at, plain = 0, glance.plain

    def note(text: str) -> bytes:
        nonlocal looked_at
        looked_at += len(text)
        return plain(text)

    reading = Reading(OURS, Asked(users="hello"), Originals({}), clock=lambda: 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(glance, "plain", note)
        reading.text(text)
    return looked_at


@pytest.mark.parametrize(
    "unit",
    ["The password is fine. ", "pass. ", "passport\n", "Пароль тот же. ", "Mi clave, y ya. ", "a " * 120 + "pass "],
)
def test_an_answer_with_a_password_in_each_line_is_looked_through_once(
    monkeypatch: pytest.MonkeyPatch, unit: str
) -> None:
    once, twice = (chars_looked_at(monkeypatch, unit * count) for count in (300, 600))
    assert twice < 2.5 * once
