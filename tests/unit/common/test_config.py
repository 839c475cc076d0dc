"""The configuration: parsed once, and what is wrong names its place and the fix."""

from typing import Any, get_args, get_type_hints

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct
from unit.common.config_problems import problem

from llmproxy.common import config, config_file
from llmproxy.common.config import COUNT_MAX, SIZE_MAX, Config, Endpoint, Group, Snapshot, Target, fingerprint
from llmproxy.common.config_file import parse

WHOLE = """
gateway:
  max_body_bytes: 1048576
  trusted_proxies: ["10.0.0.0/8", "192.168.1.1"]
endpoints:
  main:
    provider: openai
    url: ${BASE}/v1
    key: env:OPENAI_API_KEY
    models: [gpt-4o, gpt-4o-mini]
  claude:
    provider: anthropic
    key: file:/run/secrets/anthropic
    models: ["*"]
groups:
  smart:
    strategy: round_robin
    targets:
      - endpoint: main
        model: gpt-4o
      - endpoint: claude
        model: claude-sonnet-4-5
fallbacks:
  gpt-4o:
    - endpoint: claude
      model: claude-sonnet-4-5
policy:
  kinds: {email: redact, secret: block, secret.aws: mask}
limits:
  key: {requests_per_minute: 600, concurrency: 32}
prices:
  my-model: {input: "0.10", output: "0.20"}
"""
ONE_ENDPOINT = "endpoints: {main: {provider: openai, models: [m]}}\n"


def test_a_whole_file_parses() -> None:
    parsed = parse(WHOLE, {"BASE": "https://llm.example.com"})
    assert parsed.endpoints["main"].url == "https://llm.example.com/v1"
    assert parsed.groups["smart"].targets[1] == Target(endpoint="claude", model="claude-sonnet-4-5")
    assert parsed.policy.action("secret.aws") == "mask"
    assert parsed.limits.key.concurrency == 32


def test_what_is_not_written_has_its_default() -> None:
    assert parse("{}", {}) == Config()


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n"])
def test_a_text_that_says_nothing_takes_nothing_away(text: str) -> None:
    assert problem(text).startswith("it is empty")


@pytest.mark.parametrize(
    ("text", "place", "fix"),
    [
        ("endpoints: {Main: {provider: openai, models: [m]}}", "endpoints.Main", "lower-case letters"),
        (
            "endpoints: {a: {provider: openai, models: [m], url: example.com}}",
            "endpoints.a.url",
            "must start with http://",
        ),
        ("endpoints: {a: {provider: openai, models: [m], key: sk-live}}", "endpoints.a.key", "env:NAME or file:PATH"),
        ("endpoints: {a: {provider: openai}}", "endpoints.a.models", "list at least one model"),
        ("endpoints: {a: {provider: openai, models: ['']}}", "endpoints.a.models", "nobody can ask for"),
        ("endpoints: {a: {provider: openai, models: [m, ' n']}}", "endpoints.a.models", "spaces around it"),
        ("endpoints: {a: {provider: openai, models: [m], key: 'env:'}}", "endpoints.a.key", "write env:NAME"),
        ("endpoints: {a: {provider: openai, models: [m], key: 'env:A KEY'}}", "endpoints.a.key", "write env:NAME"),
        ("endpoints: {a: {provider: openai, models: [m], key: 'env:$KEY'}}", "endpoints.a.key", "write env:NAME"),
        ("endpoints: {a: {provider: openai, models: [m], key: 'file:'}}", "endpoints.a.key", "write file:PATH"),
        (ONE_ENDPOINT + "groups: {g: {targets: []}}", "groups.g.targets", "list at least one target"),
        (ONE_ENDPOINT + "groups: {g: {targets: [{endpoint: other}]}}", "groups.g.targets[0].endpoint", "known: main"),
        (ONE_ENDPOINT + "fallbacks: {m: [{endpoint: other}]}", "fallbacks.m[0].endpoint", "known: main"),
        ("fallbacks: {m: [{endpoint: other}]}", "fallbacks.m[0].endpoint", "none is configured"),
        ("policy: {kinds: {emails: mask}}", "policy.kinds.emails", "email"),
        ('prices: {m: {input: "1,50"}}', "prices.m.input", "write it like 2.50"),
        ('prices: {m: {input: "-1"}}', "prices.m.input", "'-1' is not a price in dollars"),
        ('prices: {m: {input: "1", output: nan}}', "prices.m.output", "'nan' is not a price in dollars"),
        ("prices: {m: {input: .nan}}", "prices.m.input", "put it in quotes"),
        ("prices: {m: {input: -1}}", "prices.m.input", "put it in quotes"),
        ('prices: {m: {output: "1"}}', "prices.m", "missing required field `input`"),
        ("prices: {m: free}", "prices.m", "Expected `object`"),
        ('prices: {"": {input: "1"}}', "prices", "name it"),
        ('prices: {m.5: {input: "1"}, M-5: {input: "2"}}', "prices.M-5", "the same model as m.5"),
        ('prices: {a/m: {input: "1"}, a/M: {input: "1", output: "2"}}', "prices.a/M", "the same model as a/m"),
        ('prices: {m: {input: "1", long: {input: "2"}}}', "prices.m.long", "missing required field `above`"),
        ('prices: {m: {input: "1", long: {above: 0, input: "2"}}}', "prices.m.long.above", ">= 1"),
        ('prices: {m: {input: "1", long: {above: 9, input: "2 $"}}}', "prices.m.long.input", "write it like 2.50"),
        ("routing: {unpriced_models: deny}", "routing.unpriced_models", "one of allow, refuse"),
        ("limits: {key: {requests_per_minute: 0}}", "limits.key.requests_per_minute", "leave it out for no limit"),
        ("limits: {ip: {burst: -1}}", "limits.ip.burst", "at least 1"),
        ("limits: {tenant: {concurrency: 0}}", "limits.tenant.concurrency", "at least 1"),
        ("gateway: {trusted_proxies: [proxy.local]}", "gateway.trusted_proxies", "write 10.0.0.0/8"),
        ("gateway: {max_in_flight: 0}", "gateway.max_in_flight", ">= 1"),
        ("gateway: {deadline_ms: soon}", "gateway.deadline_ms", "Expected `int`"),
        ("routing: {breaker: {failures: -5}}", "routing.breaker.failures", ">= 1"),
        ("limits: {key: {requests_per_minute: 9999999999}}", "limits.key.requests_per_minute", "at most 1000000000"),
        ("audit: {mode: off-ish}", "audit.mode", "one of strict, relaxed"),
        (
            "policy: {overrides: [{when: {tenants: [a]}, kindz: {email: mask}}]}",
            "policy.overrides[0]",
            "did you mean 'kinds'",
        ),
        (
            "policy: {overrides: [{when: {tenants: [a]}, injection: {mode: none}}]}",
            "policy.overrides[0].injection.mode",
            "one of block, alert, flag, shadow, disabled",
        ),
        ("policy: {overrides: [{when: {apis: [chats]}}]}", "policy.overrides[0].when.apis[0]", "one of chat"),
        ("policy: {overrides: [{kinds: {email: mask}}]}", "policy.overrides[0]", "missing required field `when`"),
        (
            "policy: {overrides: [{when: {}, kinds: {email: mask}}]}",
            "policy.overrides[0].when",
            "write what is for all into policy itself",
        ),
        ("policy: {overrides: [{when: {keys: [k]}}]}", "policy.overrides[0]", "changes nothing"),
        (
            "policy: {overrides: [{when: {models: ['*-mini']}, signed: block}]}",
            "policy.overrides[0].when.models",
            "one * at the end",
        ),
        ("policy: {answers: {kinds: {emial: flag}}}", "policy.answers.kinds.emial", "unknown kind"),
        (
            "policy: {overrides: [{when: {keys: [k]}, kinds: {emial: mask}}]}",
            "policy.overrides[0].kinds.emial",
            "unknown kind",
        ),
        ("policy: {injection: {mode: always}}", "policy.injection.mode", "one of block, alert, flag, shadow, disabled"),
        (
            "policy: {kinds: {phone: mask, email: hide}}",
            "policy.kinds.email",
            "one of mask, redact, hash, block, flag, alert, allow",
        ),
        (
            "policy: {overrides: [{when: {keys: [k]}, kinds: {email: mask, phone: [mask]}}]}",
            "policy.overrides[0].kinds.phone",
            "Expected `str`, got `array`",
        ),
        ("policy: {kinds: {secret.awss: block}}", "policy.kinds.secret.awss", "did you mean 'secret.aws'?"),
        ("policy: {kinds: {pii.employee_id: block}}", "policy.kinds.pii.employee_id", "policy.pii.recognizers"),
        ("policy: {pii: {engine: presidio, languages: [English]}}", "policy.pii.languages[0]", "such as en"),
        (
            "policy: {rails: {links: {denied: ['https://evil.example/x']}}}",
            "policy.rails.links.denied[0]",
            "a domain alone",
        ),
        ("policy: {rails: {rules: [{name: A B, pattern: x}]}}", "policy.rails.rules[0].name", "lower-case letters"),
        ("limits: {key: {burst: 5}}", "limits.key.burst", "write requests_per_minute beside it"),
        (
            ONE_ENDPOINT + "policy: {injection: {judge: {model: n}}}",
            "policy.injection.judge.model",
            "no endpoint or group has 'n'",
        ),
        (
            ONE_ENDPOINT + "policy: {overrides: [{when: {tenants: [a]}, injection: {judge: {model: n}}}]}",
            "policy.overrides[0].injection.judge.model",
            "add it to one",
        ),
        ("limits: {when_redis_fails: no}", "limits.when_redis_fails", "one of local, closed"),
        ("prices: {m: {input: 2.50}}", "prices.m.input", "put it in quotes"),
        (
            "policy: {overrides: [{when: {models: [2024-01-01]}}]}",
            "policy.overrides[0].when.models[0]",
            "put it in quotes",
        ),
        ("firewall: {enabled: off}", "firewall.enabled", "write true or false"),
        (
            ONE_ENDPOINT + "groups: {g: {strategy: fast, targets: []}}",
            "groups.g.strategy",
            "one of failover, round_robin",
        ),
        (
            "endpoints: {a: {provider: openai, models: [m]}, b: {provider: opnai, models: [m]}}",
            "endpoints.b.provider",
            "'opnai'; one of openai, openai-responses, anthropic, google, ollama, demo,",
        ),
        ("endpoints: {a: {models: [m]}}", "endpoints.a", "required field `provider`"),
        ("firewall: {signatures: [{id: Big, phrase: some words}]}", "firewall.signatures[0]", "id and category"),
        ("firewall: {signatures: [{id: a, phrase: '. .'}]}", "firewall.signatures[0].phrase", "one word"),
        (
            f"firewall: {{signatures: [{{id: a, phrase: '{'word ' * 60}'}}]}}",
            "firewall.signatures[0].phrase",
            "at most 200 characters",
        ),
        (
            "firewall: {signatures: [{id: a, phrase: some words, severity: fatal}]}",
            "firewall.signatures[0].severity",
            "one of high, medium, low",
        ),
        (
            "firewall: {signatures: [{id: a, phrase: some words}, {id: a, phrase: other words}]}",
            "firewall.signatures[1].id",
            "given twice",
        ),
        ("policy: {injection: {judge: {model: m, low: 0.6, high: 0.5}}}", "policy.injection.judge.high", "above low"),
        ("groups: {good: {targets: []}, bad: {targets: 3}}", "groups.bad.targets", "array"),
        ("- a list", "Expected `object`, got `array`", "array"),
    ],
)
def test_an_error_names_the_place_and_the_fix(text: str, place: str, fix: str) -> None:
    said = problem(text)
    assert said.startswith(place)
    assert fix in said


@pytest.mark.parametrize(
    "text",
    [
        ONE_ENDPOINT + "policy: {injection: {judge: {model: m}}}",
        ONE_ENDPOINT + "groups: {g: {targets: [{endpoint: main, model: m}]}}\npolicy: {injection: {judge: {model: g}}}",
        "endpoints: {main: {provider: openai, models: ['*']}}\npolicy: {injection: {judge: {model: n}}}",
        "policy: {injection: {judge: {model: n}}}",  # A policy by itself: nobody knows yet who serves it.
    ],
)
def test_a_judge_is_any_model_that_is_served(text: str) -> None:
    assert parse(text, {}).policy.injection.judge.model


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gatway: {}", "unknown field 'gatway'; did you mean 'gateway'?"),
        ("endpoints: {main: {provider: openai, model: [m]}}", "endpoints.main: unknown field 'model'"),
        ("gateway: {max_body_byte: 1}", "gateway: unknown field 'max_body_byte'; did you mean 'max_body_bytes'?"),
        ("gateway: {zzzzzz: 1}", "gateway: unknown field 'zzzzzz'; remove it"),
        (
            "policy: {overrides: [{when: {tenant: [a]}, kinds: {email: mask}}]}",
            "policy.overrides[0].when: unknown field 'tenant'; did you mean 'tenants'?",
        ),
    ],
)
def test_an_unknown_field_is_an_error_and_the_likely_one_is_named(text: str, said: str) -> None:
    assert problem(text).startswith(said)


def test_words_that_were_switches_in_old_yaml_are_words() -> None:
    assert parse("threats: {mode: off}", {}).threats.mode == "off"
    assert parse("policy: {rails: {language: {languages: [no]}}}", {}).policy.rails.language.languages == ("no",)
    assert not parse("firewall: {enabled: False}", {}).firewall.enabled


def test_a_phrase_in_syllables_or_signs_needs_two_of_them() -> None:
    written = "firewall: {{signatures: [{{id: a, phrase: {}}}]}}"
    for phrase in ("인수 합병", "蓝鹭", "blue heron"):
        assert parse(written.format(phrase), {}).firewall.signatures[0].phrase == phrase
    for phrase in ("鹭", "수 병", "ab cd"):
        assert "one word of at least 3 letters" in problem(written.format(phrase))


@pytest.mark.parametrize("phrase", ["role user", "User-Content", "max_tokens"])
def test_a_phrase_that_every_request_is_written_with_is_refused(phrase: str) -> None:
    said = problem(f"firewall: {{signatures: [{{id: a, phrase: '{phrase}'}}]}}")
    assert said.startswith("firewall.signatures[0].phrase: ")
    assert said.endswith("stands in every request's own format; add a word to it")
    assert parse(f"firewall: {{signatures: [{{id: a, phrase: '{phrase} heron'}}]}}", {}).firewall.signatures


def test_a_kind_that_nothing_has_weighs_nothing_and_is_an_error() -> None:
    assert (
        problem("threats: {kinds: [injektion]}") == "threats.kinds: unknown kind 'injektion'; did you mean 'injection'?"
    )
    assert "one of injection, firewall, rule" in problem("threats: {kinds: [attacks]}")
    known = (
        "injection.trajectory",
        "firewall.custom",
        "rule",
        "topic.takeover",
        "secret.aws_key_id",
        "pii.employee_id",
        "email",
    )
    assert parse(f"threats: {{kinds: [{', '.join(known)}]}}", {}).threats.kinds == known


def test_a_key_given_twice_is_an_error_where_yaml_would_keep_the_last() -> None:
    said = problem("policy:\n  kinds:\n    email: block\n    email: allow\n")
    assert "line 4" in said
    assert "'email' is given twice" in said


def test_bad_yaml_names_line_and_column() -> None:
    assert problem("gateway:\n  max_depth: [1\n").startswith("not valid YAML at line 3, column 1")


@pytest.mark.parametrize(
    "entry", ["[*x, *x, *x, *x, *x, *x, *x, *x, *x]", "{<<: [*x, *x, *x, *x, *x, *x, *x, *x, *x]}"]
)
def test_aliases_of_aliases_cost_no_more_than_the_lines_they_stand_in(entry: str) -> None:
    levels = [f"l{level + 1}: &l{level + 1} {entry.replace('*x', f'*l{level}')}" for level in range(30)]
    assert problem("\n".join(["l0: &l0 {a: 1}", *levels]))


def test_a_mapping_may_be_written_once_and_merged_with_what_differs() -> None:
    config = parse(
        "endpoints:\n"
        "  a: &a {provider: openai, models: [m], first_byte_ms: 5}\n"
        "  b: &b {<<: *a, models: [n]}\n"
        "  c: {<<: [*b, *a], first_byte_ms: 7}\n",
        {},
    )
    assert config.endpoints["b"].models == ("n",)
    assert config.endpoints["c"].models == ("n",)
    assert (config.endpoints["b"].first_byte_ms, config.endpoints["c"].first_byte_ms) == (5, 7)


@pytest.mark.parametrize("text", ["!!python/object/apply:os.system ['true']", "&a [*a]", "\x00"])
def test_hostile_yaml_is_an_error_and_nothing_runs(text: str) -> None:
    assert problem(text)


NUMBERS = ("0x_", "9" * 5_000, "!!int x", '!!int ""', "!!float x")
DATES = ("2024-13-45", "2001-12-14T21:59:43.10-99:99", "!!timestamp x")
CHARACTERS = ('"\\UFFFFFFFF"', '"\\U00110000"', '"\\ud83d"', '"\\U0000dc00"')


@pytest.mark.parametrize("value", [*NUMBERS, *DATES, *CHARACTERS, "!!bool x", "!!set {a}"])
def test_a_value_that_is_none_is_told_with_its_line(value: str) -> None:
    said = problem(f"endpoints:\n  a: {{provider: openai, models: [{value}]}}")
    assert said.startswith("not valid YAML at line 2, column ")


def test_a_wrong_key_is_not_quoted() -> None:
    assert "sk-live-1" not in problem("endpoints: {a: {provider: openai, models: [m], key: sk-live-1}}")


# -- ${ENV}


def test_a_variable_that_is_no_text_is_named() -> None:
    text = "endpoints: {a: {provider: openai, models: ['${M}']}}"
    assert problem(text, M=b"m\xff".decode(errors="surrogateescape")) == "${M} is not UTF-8; export M as text"


def test_a_reference_is_replaced_anywhere_in_a_value() -> None:
    text = "endpoints: {a: {provider: openai, models: ['${M}-x', y], url: 'https://${HOST}:${PORT}/v1'}}"
    endpoint = parse(text, {"M": "m", "HOST": "h", "PORT": "1"}).endpoints["a"]
    assert endpoint.url == "https://h:1/v1"
    assert endpoint.models == ("m-x", "y")


def test_an_unset_variable_is_an_error_that_says_what_to_do() -> None:
    said = problem("endpoints: {a: {provider: openai, models: [m], url: 'https://${HOST}'}}")
    assert said == "${HOST} is not set; export HOST or remove the reference"


def test_an_empty_variable_is_a_value() -> None:
    assert parse("endpoints: {a: {provider: openai, models: [m], url: '${U}'}}", {"U": ""}).endpoints["a"].url == ""


def test_what_a_variable_holds_is_not_expanded_again() -> None:
    parsed = parse("endpoints: {a: {provider: openai, models: ['${M}']}}", {"M": "${SECRET}", "SECRET": "x"})
    assert parsed.endpoints["a"].models == ("${SECRET}",)


@given(st.text(max_size=30).filter(lambda text: "${" not in text))
def test_text_without_a_reference_stays_as_it_is(text: str) -> None:
    assert config_file.expand({"a": [text]}, {}) == {"a": [text]}


# -- what follows from it


def test_models_are_named_once_in_order_with_groups_and_without_the_wildcard() -> None:
    parsed = parse(WHOLE, {"BASE": "https://x"})
    assert list(config.models(parsed).items()) == [("gpt-4o", "openai"), ("gpt-4o-mini", "openai"), ("smart", "openai")]


def test_the_first_endpoint_with_a_model_gives_its_provider() -> None:
    made = Config(
        endpoints={"a": Endpoint(provider="ollama", models=("m",)), "b": Endpoint(provider="openai", models=("m",))}
    )
    assert config.models(made) == {"m": "ollama"}


names = st.text("abcdefgh", min_size=1, max_size=5)
endpoints = st.builds(
    Endpoint,
    provider=st.sampled_from(config.PROVIDERS),
    key=st.just("env:KEY"),  # Vertex AI wants one,
    region=st.just("eu-west-1"),  # Bedrock a region,
    url=st.just("https://llm.example"),  # and Azure an address.
    models=st.lists(names, min_size=1, max_size=3).map(tuple),
)


@st.composite
def configs(draw: st.DrawFn) -> Config:
    made = draw(st.dictionaries(names, endpoints, min_size=1, max_size=3))
    targets = st.builds(Target, endpoint=st.sampled_from(sorted(made)), model=names)
    groups = draw(
        st.dictionaries(
            names, st.builds(Group, targets=st.lists(targets, min_size=1, max_size=3).map(tuple)), max_size=2
        )
    )
    return Config(endpoints=made, groups=groups)


@given(configs())
def test_what_is_written_out_parses_to_the_same(made: Config) -> None:
    written = yaml.safe_dump(msgspec.to_builtins(made))
    assert parse(written, {}) == made


@given(configs(), configs())
def test_the_fingerprint_tells_configurations_apart_and_ignores_order(one: Config, other: Config) -> None:
    reordered = msgspec.structs.replace(one, endpoints=dict(reversed(one.endpoints.items())))
    assert fingerprint(one) == fingerprint(reordered)
    assert (fingerprint(one) == fingerprint(other)) == (one == other)


def test_a_snapshot_survives_the_bus() -> None:
    sent = Snapshot(revision=7, config=parse(WHOLE, {"BASE": "https://x"}))
    received = msgspec.json.decode(msgspec.json.encode(sent), type=Snapshot)
    assert received == sent
    assert received.fingerprint == sent.fingerprint


def test_the_schema_knows_every_field_and_refuses_others() -> None:
    schema: dict[str, Any] = config.schema()
    assert schema["$schema"].startswith("https://json-schema.org/")
    definition = schema["$defs"]["Endpoint"]
    assert set(definition["properties"]) == set(Endpoint.__struct_fields__)
    assert definition["additionalProperties"] is False


def structs(kind: Any) -> set[type[Struct]]:
    """It, and all that is in it."""
    found = {kind} if isinstance(kind, type) and issubclass(kind, Struct) else set()
    inner = get_type_hints(kind).values() if found else get_args(kind)
    return found.union(*map(structs, inner))


def test_what_is_published_says_nothing_that_was_not_written() -> None:
    """A service of the release before refuses what it does not know: a new setting matters to it from its first use on."""
    saying = {kind.__name__ for kind in structs(Config) if not kind.__struct_config__.omit_defaults}
    assert not saying, f"{saying} would publish the defaults of their new settings"
    text = 'prices: {m: {input: "1"}}\npolicy: {answers: {kinds: {email: flag}}, injection: {mode: flag}}'
    given = Snapshot(revision=1, config=parse(text, {}))
    assert msgspec.json.decode(msgspec.json.encode(given))["config"] == yaml.safe_load(text)
    assert msgspec.json.decode(msgspec.json.encode(given), type=Snapshot) == given


def written(field: str, number: int) -> str:
    *above, name = field.split(".")
    text = f"{name}: {[number] if name == 'ports' else number}"
    for one in reversed(above):
        text = f"{one}: {{{text}}}"
    return text


@pytest.mark.parametrize(
    ("field", "largest"),
    [
        *((f"gateway.{name}", COUNT_MAX) for name in ("deadline_ms", "grace_ms", "max_in_flight", "max_depth")),
        *((field, COUNT_MAX) for field in ("routing.breaker.open_ms", "routing.attempts_max", "fetch.timeout_ms")),
        ("limits.redis_timeout_ms", COUNT_MAX),
        *((field, SIZE_MAX) for field in ("gateway.max_body_bytes", "audit.spool_bytes_max", "fetch.max_bytes")),
        ("fetch.ports", 65_535),
        ("policy.guard_timeout_ms", 86_400_000),
    ],
)
def test_a_number_that_can_only_be_a_mistake_is_refused(field: str, largest: int) -> None:
    """It was published, of 64 bits and more, which Redis' scripts round."""
    parse(written(field, largest), {})
    for number in (largest + 1, 1 << 63, 1 << 64, 10**40):
        assert problem(written(field, number)).startswith(field)
