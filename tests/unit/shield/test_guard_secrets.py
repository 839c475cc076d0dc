"""Credentials are found by their documented form; talk about credentials is not."""

import pytest

from llmproxy.common import keyring
from llmproxy.common.segments import Segment
from llmproxy.shield.guards.secrets import Secrets, base62_checksum, entropy_bits
from llmproxy.shield.verdict import Allow

# Put together here so that no scanner of this repository takes them for real ones.
A20 = "aB3dE5fG7hJ9kL1mN0pQ"
LONG = "aB3dE5fG7hJ9kL1mN0pQ2rS4tU6vW8xY1zA3bC5dE7fG9hJ2kL4mN6pQ8rS0tU1vW3xY5zA7bC9dE2fG4hJ6kL8mN1pQ3rS5"
HEX32 = "0123456789abcdef0123456789abcdef"


OURS = keyring.PREFIX + LONG[: keyring.RANDOM_DIGITS]


def github_token() -> str:
    body = LONG[:30]
    digits = base62_checksum(body)
    return f"ghp_{body}{digits}"


PEM = "-----BEGIN " + "RSA PRIVATE KEY-----\n" + f"{LONG[:64]}\n" * 4 + "-----END RSA PRIVATE KEY-----"

KEYS = {
    "openai": ("sk-" + LONG[:48], "sk-proj-" + LONG[:64], "sk-svcacct-" + LONG[:64]),
    "anthropic": ("sk-ant-api03-" + LONG[:93],),
    "aws_key_id": ("AKIA" + "IOSFODNN7EXAMPLE", "ASIA" + "IOSFODNN7EXAMPLE"),
    "github": (github_token(), "github_pat_" + LONG[:22] + "_" + LONG[:59]),
    "gitlab": ("glpat-" + A20,),
    "slack": ("xoxb-" + "123456789012-123456789012-" + LONG[:24],),
    "slack_webhook": ("https://hooks.slack.com/services/" + "T00000000/B00000000/" + LONG[:24],),
    "google": ("AIza" + LONG[:35],),
    "stripe": ("sk_live_" + LONG[:24], "rk_live_" + LONG[:24]),
    "twilio": ("SK" + HEX32,),
    "sendgrid": ("SG." + LONG[:22] + "." + LONG[:43],),
    "npm": ("npm_" + LONG[:36],),
    "pypi": ("pypi-AgE" + LONG[:80],),
    "huggingface": ("hf_" + LONG[:34],),
    "digitalocean": ("dop_v1_" + HEX32 * 2,),
    "azure_storage": ("AccountKey=" + LONG[:86] + "==",),
    "jwt": ("eyJ" + LONG[:20] + ".eyJ" + LONG[:30] + "." + LONG[:43],),
    "private_key": (PEM, PEM.replace("\n", "\\n")),
    "llmproxy": (OURS + keyring.checksum(OURS),),
}


def seen(text: str) -> dict[str, str]:
    verdict = Secrets().inspect(Segment(role="user", path="p", text=text))
    if isinstance(verdict, Allow):
        return {}
    return {one.kind: text[one.start : one.end] for one in verdict.findings}


@pytest.mark.parametrize(("name", "key"), [(name, key) for name, keys in KEYS.items() for key in keys])
def test_a_vendors_key_is_found_whole(name: str, key: str) -> None:
    for text in (key, f"use {key} please", f'{{"x": "{key}"}}', f"KEY={key}\nnext"):
        assert f"secret.{name}" in seen(text)
        assert seen(text)[f"secret.{name}"] in key
        assert len(seen(text)[f"secret.{name}"]) >= len(key) - len("AccountKey=")
        assert Secrets().may_hold(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("password: hunter2!x", "hunter2!x"),
        ('DB_PASSWORD="Tr0ub4dor&3"', "Tr0ub4dor&3"),
        ("my password is correct7Horse", "correct7Horse"),
        ("pwd=S3cr3tPa55", "S3cr3tPa55"),
        ("api_key = 9f8e7d6c5b4a3928170615243342516f", "9f8e7d6c5b4a3928170615243342516f"),
        ('client_secret: "Zx9Qw3Er7Ty1Ui5Op2As4D"', "Zx9Qw3Er7Ty1Ui5Op2As4D"),
        ("Authorization: Bearer 9f8e7d6c5b4a3928170615243342516f", "9f8e7d6c5b4a3928170615243342516f"),
        ("at postgres://app:s3cr3tPw@db.internal:5432/x now", "postgres://app:s3cr3tPw@db.internal:5432/x"),
        (
            "aws_secret_access_key = " + "wJalrXUtnFEMI/K7MDENG/bPxRfiCY" + "EXAMPLEKEY",
            "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        ),
    ],
)
def test_an_assigned_secret_is_found_and_only_its_value(text: str, value: str) -> None:
    assert value in seen(text).values()


@pytest.mark.parametrize(
    "text",
    [
        "What is the key idea of the token bucket? Tell me the secret of good tomato sauce.",
        "password: ${DB_PASSWORD}",
        "password = os.environ['DB_PASSWORD']",
        "api_key=YOUR_API_KEY_GOES_HERE_1234",
        "token: <your-token-here-0123456789>",
        "password: required",
        "the password is wrong, and the secret is out",
        "key: value, token: none",
        "sk-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        "AIza is how Google keys begin, sk- OpenAI's and ghp_ GitHub's",
        "see https://example.com/a:b and user@example.com",
        "https://user@example.com/path",
        "commit 9f8e7d6c5b4a3928170615243342516f00112233",
        "uuid 123e4567-e89b-12d3-a456-426614174000",
        "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
        "[SECRET_7f3a9c21b4d0e6f8] and password=[SECRET_7f3a9c21b4d0e6f8]",
        "llmp-" + "a" * 49,
        "monkey = keyboard1234567890abcd(x)",
    ],
)
def test_talk_about_secrets_is_left_alone(text: str) -> None:
    assert seen(text) == {}


def test_a_private_key_without_its_end_is_masked_as_far_as_it_goes() -> None:
    cut = PEM[: len(PEM) // 2]
    assert seen(f"here: {cut}")["secret.private_key"] == cut


def test_entropy_of_a_constant_is_zero_and_of_sixteen_different_digits_four_bits() -> None:
    assert entropy_bits("aaaa") == 0
    assert entropy_bits("0123456789abcdef") == 4
