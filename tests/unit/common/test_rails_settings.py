"""Operators' rails are checked where the configuration is applied; at run time there is nothing left to refuse."""

import asyncio
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from patience import PATIENCE_S
from unit.common.config_problems import problem

from llmproxy.common import expressions
from llmproxy.common.channels import CONFIG_BUCKET
from llmproxy.common.config import Config, Snapshot
from llmproxy.common.config_file import parse
from llmproxy.common.config_watch import CURRENT, ConfigWatch
from llmproxy.common.policy import Policies, Policy, problems
from llmproxy.common.rails import RULES_MAX, LanguageRule, LinkRule, Rails, Rule, Topic
from llmproxy.common.testing import FakeBroker, FakeWire, envelope, fake_bus

ROOT = Path(__file__).parents[3]


def rule(pattern: str = "acme", name: str = "r", **more: Any) -> Rule:
    return Rule(name=name, pattern=pattern, **more)


def topic(**more: Any) -> Topic:
    return Topic(name="t", **more)


@pytest.mark.parametrize(
    ("rails", "where", "says"),
    [
        (Rails(rules=(rule("("),)), "rules[0].pattern", "RE2 does not accept it: missing )"),
        (Rails(rules=(rule("a(?=b)"),)), "rules[0].pattern", "no look-around"),
        (Rails(rules=(rule(r"(a)\1"),)), "rules[0].pattern", "no back-references"),
        (Rails(rules=(rule(), rule("x*", "s"))), "rules[1].pattern", "match everywhere"),
        (Rails(rules=(rule("(?:a.{900}b|c.{900}d)"),)), "rules[0].pattern", "too large"),
        (Rails(rules=(rule("(?:.{500}x){2}"),)), "rules[0].pattern", "too large"),
        (Rails(rules=(rule(r"\Aacme"),)), "rules[0].pattern", "write ^ or $"),
        (Rails(rules=(rule(r"\\\Aacme"),)), "rules[0].pattern", "write ^ or $"),
        (Rails(rules=(rule("(?i-m)^acme"),)), "rules[0].pattern", "leave it out"),
        (Rails(rules=(rule(r"\Qa.b\E"),)), "rules[0].pattern", r"write \ before"),
        (Rails(rules=tuple(rule(f"x[a-z]{{400}}{n}", f"r{n}") for n in range(60))), "rules", "too large together"),
        (Rails(rules=tuple(rule(name=f"r{n}") for n in range(RULES_MAX + 1))), "rules", "at most"),
        (Rails(rules=(rule(), rule())), "rules[1].name", "given twice"),
        (Rails(rules=(rule(replacement="x"),)), "rules[0].replacement", "action: replace"),
        (Rails(topics=(topic(),)), "topics[0]", "finds nothing"),
        (Rails(topics=(topic(words=("  ",)),)), "topics[0].words", "nothing but spaces"),
        (Rails(topics=(topic(patterns=("a", "(")),)), "topics[0].patterns[1]", "missing )"),
        (Rails(topics=(topic(fuzzy=("two words",)),)), "topics[0].fuzzy", "single words"),
        (Rails(topics=(topic(fuzzy=("abc",)),)), "topics[0].fuzzy", "4 to 32"),
        (Rails(links=LinkRule(only_allowed=True)), "links.only_allowed", "denies every link"),
        (Rails(links=LinkRule(allowed=("co.uk",))), "links.allowed", "anybody can have a name"),
        (Rails(links=LinkRule(allowed=("com",))), "links.allowed", "anybody can have a name"),
        (Rails(language=LanguageRule(languages=("xx",))), "language.languages", "cannot be told"),
        (Rails(language=LanguageRule(scripts=("Klingon",))), "language.scripts", "cannot be told"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_place_and_the_fix(rails: Rails, where: str, says: str) -> None:
    place, fix = next(problems(Policy(rails=rails)))
    assert place == f"rails.{where}"
    assert says in fix


def test_an_error_does_not_quote_the_expression() -> None:
    said = problem("policy: {rails: {rules: [{name: key, pattern: 'tr0ub4dor('}]}}")
    assert said.startswith("policy.rails.rules[0].pattern: of 'key'")
    assert "tr0ub4dor" not in said


def test_the_example_of_the_documentation_is_accepted() -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "rails.md").read_text(encoding="utf-8"), re.DOTALL)
    rails = parse(example, {}).policy.rails
    assert rails.rules and rails.topics and not rails.links.is_empty and not rails.language.is_empty  # noqa: PT018


def test_hundreds_of_words_are_one_expression() -> None:
    words = tuple(f"word{n}" for n in range(2_000))
    assert not list(problems(Policy(rails=Rails(topics=(topic(words=words, keywords=words),)))))


@pytest.mark.parametrize(
    ("pattern", "width"),
    [("acme", 4), ("a{2,5}", 5), ("a|bcd", 3), (r"\pL{3}[[:alpha:]]", 4), ("a*", 0), ("a.+b", 0), (r"(?i)x\b", 1), ("(?-i:a)", 1)],
)  # fmt: skip
def test_the_longest_match_is_known_or_counts_as_without_a_bound(pattern: str, width: int) -> None:
    assert expressions.width(pattern) == width


def test_a_rule_for_an_api_is_in_the_policy_of_that_api_alone() -> None:
    policies = Policies(
        Policy(rails=Rails(rules=(rule(apis=("chat",)), rule(name="s")), topics=(topic(words=("a",)),)))
    )
    assert [one.name for one in policies.of(envelope(api="chat")).rails.rules] == ["r", "s"]
    other = policies.of(envelope(api="messages")).rails
    assert [one.name for one in other.rules] == ["s"]
    assert other.topics
    assert policies.of(envelope(api="messages")).rails is other


def test_a_rule_for_an_api_may_come_from_an_override() -> None:
    policy = {
        "overrides": [
            {"when": {"tenants": ["acme"]}, "rails": {"rules": [{"name": "r", "pattern": "x", "apis": ["chat"]}]}}
        ]
    }
    policies = Policies(msgspec.convert(policy, Policy))
    assert policies.of(envelope(api="chat", tenant="acme")).rails.rules
    assert not policies.of(envelope(api="messages", tenant="acme")).rails.rules
    assert not policies.of(envelope(api="chat", tenant="other")).rails.rules


def test_rails_that_this_version_cannot_use_leave_the_old_ones_in_force() -> None:
    async def scenario() -> None:
        broker = FakeBroker()
        bucket = await FakeWire(broker).bucket(CONFIG_BUCKET)

        async def publish(revision: int, pattern: str) -> None:
            config = Config(policy=Policy(rails=Rails(rules=(rule(pattern),))))
            await bucket.put(CURRENT, msgspec.json.encode(Snapshot(revision=revision, config=config)))

        await publish(1, "first")
        watch = ConfigWatch(await fake_bus(broker, "shield"))
        await watch.start()
        await publish(2, "(")
        await publish(3, "third")
        seen = [watch.config.policy.rails.rules[0].pattern]
        while watch.snapshot.revision != 3:
            await asyncio.sleep(0)
            seen.append(watch.config.policy.rails.rules[0].pattern)
        assert set(seen) == {"first", "third"}

    async def main() -> None:
        async with asyncio.timeout(PATIENCE_S):
            await scenario()

    asyncio.run(main())
