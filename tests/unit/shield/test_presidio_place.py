"""Where Presidio runs, and what operators are told of it: another process, and one line."""

import asyncio
import json
import subprocess
import sys
from typing import Any

import pytest
from patience import PATIENCE_S

from llmproxy.common.pii import Pii, Recognizer
from llmproxy.common.policy import Override, Policy, When
from llmproxy.common.testing import FakeClock
from llmproxy.shield.answers.guards import Guards
from llmproxy.shield.examine import Examined, Order, examine_within
from llmproxy.shield.guards import GUARDS
from llmproxy.shield.offload import INLINE_WORK_MAX, Offload
from llmproxy.shield.preflight import pipeline
from llmproxy.shield.presidio import models

PROJECTS = Recognizer(name="Projects", supported_entity="PROJECT", deny_list=("Bluebird",))
OWN = Policy(guard_timeout_ms=1_000 * int(PATIENCE_S), pii=Pii(engine="presidio", recognizers=(PROJECTS,)))


def order(content: str, policy: Policy) -> Order:
    body = json.dumps({"messages": [{"role": "user", "content": content}]}).encode()
    return Order(body=body, policy=policy, key=b"k" * 32, max_depth=64)


@pytest.mark.parametrize(
    ("policy", "content", "is_elsewhere"),
    [
        (OWN, "launch Bluebird", True),
        (Policy(pii=Pii(engine="presidio")), "write to ada@example.org", True),
        (Policy(pii=Pii(engine="presidio")), "nothing to see here", False),
        (Policy(), "launch Bluebird, ada@example.org", False),
    ],
)
def test_the_loop_leaves_to_another_process_what_presidio_has_to_see(
    policy: Policy, content: str, *, is_elsewhere: bool
) -> None:
    examined = examine_within(INLINE_WORK_MAX, order(content, policy), pipeline(GUARDS), FakeClock())
    assert (examined is None) == is_elsewhere


def test_the_first_request_waits_for_the_load_and_is_masked() -> None:
    async def scenario() -> Any:
        offload = Offload(1)
        try:
            async with asyncio.timeout(2 * PATIENCE_S):
                return await offload.examine(order("launch Bluebird on Friday", OWN))
        finally:
            offload.close()

    examined = asyncio.run(scenario())
    assert isinstance(examined, Examined)
    assert list(examined.originals.values()) == ["Bluebird"]
    assert examined.findings == {"pii.project": 1}


@pytest.mark.parametrize(
    ("settings", "installed", "presidio", "says"),
    [
        (Pii(), "", "2.2.1", "patterns and checksums; names, places and organisations are not looked for"),
        (Pii(engine="presidio"), "", "", "presidio-analyzer is not installed"),
        (Pii(engine="presidio"), "", "2.2.1", "2.2.1 (en: no model); names, places and organisations are not looked for in en"),
        (Pii(engine="presidio"), "en_core_web_sm", "2.2.1", "2.2.1 (en: en_core_web_sm)"),
        (Pii(engine="presidio", languages=("en", "de")), "de_core_news_md", "2.2.1", "(en: no model, de: de_core_news_md)"),
        (OWN.pii, "", "2.2.1", "1 recognizers of the policy"),
    ],
)  # fmt: skip
def test_the_note_says_which_engine_and_which_model_is_in_force(
    settings: Pii, installed: str, presidio: str, says: str
) -> None:
    assert says in models.note(settings, lambda name: name == installed, presidio)


def test_the_largest_model_that_is_installed_is_taken() -> None:
    have = {"en_core_web_sm", "en_core_web_lg", "xx_ent_wiki_sm"}
    assert models.model_of("en", have.__contains__) == "en_core_web_lg"
    assert models.model_of("fi", have.__contains__) == "xx_ent_wiki_sm"
    assert models.model_of("fi", set[str]().__contains__) == ""


def test_every_overrides_settings_are_prepared() -> None:
    override = Override(when=When(tenants=("acme",)), pii=Pii(engine="presidio"))
    assert models.settings_of(Policy(overrides=(override,))) == [Pii(), Pii(engine="presidio")]


def test_answers_are_read_without_presidio_because_they_are_read_in_the_loop() -> None:
    answers = Guards(GUARDS, OWN)
    assert "presidio" not in {guard.name for chain in (answers.secrets, answers.others) for guard in chain.guards}


def test_a_shield_starts_without_importing_what_an_extra_brings() -> None:
    asks = "import sys, llmproxy.shield.__main__; sys.exit(bool({'spacy', 'presidio_analyzer'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", asks], check=False).returncode == 0
