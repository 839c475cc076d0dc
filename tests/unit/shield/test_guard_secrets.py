"""Credentials are found by their documented form; talk about credentials is not."""

import random

import forms
import pytest

from llmproxy.common import keyring
from llmproxy.common.segments import Segment
from llmproxy.shield.drawn import entropy_bits
from llmproxy.shield.guards.secrets import Secrets
from llmproxy.shield.vendors import VENDORS, Vendor
from llmproxy.shield.verdict import Allow

# Put together here so that no scanner of this repository takes them for real ones.
A20 = "aB3dE5fG7hJ9kL1mN0pQ"
LONG = "aB3dE5fG7hJ9kL1mN0pQ2rS4tU6vW8xY1zA3bC5dE7fG9hJ2kL4mN6pQ8rS0tU1vW3xY5zA7bC9dE2fG4hJ6kL8mN1pQ3rS5"
HEX32 = "0123456789abcdef0123456789abcdef"
OURS = keyring.PREFIX + LONG[: keyring.RANDOM_DIGITS]


def github_token() -> str:
    body = LONG[:30]
    return f"ghp_{body}{keyring.checksum(body)}"  # GitHub's is ours, too: CRC-32 in base 62.


PEM = "-----BEGIN " + "RSA PRIVATE KEY-----\n" + f"{LONG[:64]}\n" * 4 + "-----END RSA PRIVATE KEY-----"

SIGNED = "x(-3q!k9d_^w2p)8=+z&b7n*5v@t6r1m#c4$h0g%j_s9f!e2yq"
SALT = "k9}d_^w2p)8 +z&b7n*5v@T6r1m#c4$H0g%j_s9f!e2yq(L3{aQ~W;x|Y:M<N>?u"

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
    "password_hash": ("$2b$12$" + LONG[:53], "$6$" + LONG[:8] + "$" + LONG[:86], "$1$" + LONG[:8] + "$" + LONG[:22]),
    "ansible_vault": ("$ANSIBLE_VAULT;1.1;AES256\n" + (HEX32 * 3)[:80] + "\n" + (HEX32 * 3)[:60],),
    "salesforce": ("00D" + LONG[:15] + "!" + LONG[:96],),
    "tailscale": ("tskey-auth-" + LONG[:12] + "-" + LONG[:32],),
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
        ("my password is ZWzLCqyIVnFxod and login fails", "ZWzLCqyIVnFxod"),
        ("mein Passwort lautet Kaese99brot", "Kaese99brot"),
        ("la mia password è Ciao1234!", "Ciao1234!"),
        ("mi contraseña es Gato_1987", "Gato_1987"),
        ("moje hasło to Krakow99!", "Krakow99!"),
        ("мой пароль Zx9#kLm2", "Zx9#kLm2"),
        ("Пароль: Qwerty!23", "Qwerty!23"),
        ("密码是Zhang1988!，谢谢", "Zhang1988!"),
        ("パスワードはSakura#99です", "Sakura#99"),
        ("비밀번호는 Busan2024!", "Busan2024!"),
        ("mật khẩu: Hanoi!123", "Hanoi!123"),
        ("şifre: Ankara06!", "Ankara06!"),
        ("كلمة المرور: Cairo2024!", "Cairo2024!"),
        ("use password 'Winter2024' to log in", "Winter2024"),
        ('passphrase: "correct horse battery staple"', "correct horse battery staple"),
        ("<password>T0pSecret</password>", "T0pSecret"),
        ("sshpass -p Hk39!kd ssh host", "Hk39!kd"),
        ("mysql -u root -pS3cretPw! db", "S3cretPw!"),
        ("curl -s -u admin:pa55W0rd9 https://api.example.com", "pa55W0rd9"),
        ("curl --user bob:Zq9!wwer https://x.example", "Zq9!wwer"),
        ("net user bob P@ss1234 /add", "P@ss1234"),
        ('ConvertTo-SecureString "MyP@ss123" -AsPlainText', "MyP@ss123"),
        ("machine api.example.com login bob password d7Gk2mQ9", "d7Gk2mQ9"),
        ("login: admin / P@ssw0rd123", "P@ssw0rd123"),
        ("requirepass r3disP4ss", "r3disP4ss"),
        (
            "seed phrase: " + "apple river stone cloud " * 2 + "apple river stone cloud",
            "apple river stone cloud " * 2 + "apple river stone cloud",
        ),
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
        "the password was changed yesterday at 10:30 and is case-sensitive",
        "Das Passwort ist falsch; le mot de passe est incorrect; la contraseña es obligatoria",
        "пароль должен содержать 8 символов",
        "密码错误，请重试。パスワードを忘れた場合",
        "the password 'Password' field, type=\"password\" name='password'",
        "System Users: (Users / Customers)**",
        "decoded into one `TextPart`, pass `part_index=0`",
        "docker run -p 8080:8080 image; curl -u user:$PASS https://x.example",
        "the mnemonic of the seed catalogue is easy to keep in mind when you sow in spring",
        "token_type: bearer, max_tokens: 4096, password_hash VARCHAR(255) NOT NULL",
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


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("saved as token_" + "sk-ant-api03-" + LONG[:93], "sk-ant-api03-" + LONG[:93]),
        ("backup_" + "glpat-" + A20 + " is in the listing", "glpat-" + A20),
        ("KEY" + "ghp_" + LONG[:36], "ghp_" + LONG[:36]),
        ("x9" + "xoxb-" + "123456789012-123456789012-" + LONG[:24], "123456789012-123456789012-" + LONG[:24]),
        ("prod_" + "AKIA" + "IOSFODNN7EXAMPLE", "AKIA" + "IOSFODNN7EXAMPLE"),
        ("MY_" + "AIza" + LONG[:35], "AIza" + LONG[:35]),
    ],
)
def test_a_key_directly_behind_a_letter_or_an_underscore_is_found(text: str, value: str) -> None:
    assert any(one.endswith(value) for one in seen(text).values())
    assert Secrets().may_hold(text)


@pytest.mark.parametrize(
    "text",
    [
        "the radio_" + LONG[:28] + " channel",
        "flip_" + LONG[:20] + " and clip_" + LONG[:20],
        "version_" + LONG[:42],
        "risk-" + "ant-colony-optimisation-2024-a1",
    ],
)
def test_a_word_that_ends_like_a_vendors_prefix_is_none(text: str) -> None:
    assert seen(text) == {}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("bob,," + "AKIA" + "IOSFODNN7EXAMPLF," + LONG[:40] + ",https://example.com", LONG[:40]),
        ("https://b.s3.amazonaws.com/x?X-Amz-Expires=900&X-Amz-Signature=" + HEX32 * 2, HEX32 * 2),
        ("fb says " + "EAAM" + LONG[:90], "EAAM" + LONG[:90]),
        (
            "zap it with " + "nsec1" + "q2w3e4r5t6y7u8p9" * 3 + "q2w3e4r5t6",
            "nsec1" + "q2w3e4r5t6y7u8p9" * 3 + "q2w3e4r5t6",
        ),
        ("SECRET_KEY=" + SIGNED + "\nDEBUG=0", SIGNED),
        ("- name: DJANGO_SECRET_KEY\n      value: '" + SIGNED + "'", SIGNED),
        ("define('AUTH_KEY',         '" + SALT + "');", SALT),
        ('"azureDevopsPat": "' + "q2w3e4r5t6" * 5 + "ab" + '"', "q2w3e4r5t6" * 5 + "ab"),
        ("run " + "bkua_" + "MTA." + (HEX32 * 2)[:40], "bkua_" + "MTA." + (HEX32 * 2)[:40]),
    ],
)
def test_a_key_that_only_its_surroundings_or_a_newer_form_tell_is_found(text: str, value: str) -> None:
    assert value in seen(text).values()


@pytest.mark.parametrize(
    "text",
    [
        'mapboxgl.accessToken = "' + "pk.eyJ1Ijoi" + LONG[:40] + "." + LONG[:22] + '";',
        '<div data-sitekey="' + "6L" + LONG[:38] + '">',
        "STRIPE_PUBLISHABLE_KEY=" + "pk_test_" + LONG[:24],
        'dsn: "https://' + HEX32 + "@o123456.ingest.us.sentry.io/4504" + '"',
        "AccountSid: " + "AC" + HEX32,
        "s3 cp key=uploads/40cd1116367f1c70/photo.jpg",
        "gpg: key 4AEE18F83AFDEB23 was imported",
        "DB_PASSWORD=op://prod/db1/password and PASSWORD=ENC[AES256_GCM,data:a1b2]",
        "password_encryption = scram-sha-256",
    ],
)
def test_what_is_public_by_design_or_says_where_a_secret_is_kept_is_left_alone(text: str) -> None:
    assert seen(text) == {}


HEX40 = "9f8e7d6c5b4a3928170615243342516f00112233"


@pytest.mark.parametrize(
    "before",
    [
        "- name: ACME_API_KEY\n          value: ",
        '{"name": "ACME_TOKEN", "value": "',
        '<add key="AcmeApiKey" value="',
        "<acmeAuthToken>",
        "<td>ACME_TOKEN</td>\n  <td>",
        'os.environ[\\"ACME_KEY\\"] = \\"',
        '"body": "{\\"acmeKey\\":\\"',
        'const ACME_KEY: string = "',
        "acme_token: str = '",
        'client.acme_token("',
        "builder.withApiKey('",
        "| `ACME_TOKEN` | `",
        "token = process.env.TOKEN || '",
        "Set `ACME_KEY` to `",
        'gh secret set ACME_KEY --body "',
        "aws ssm put-parameter --name /acme/token --value ",
        "mein Acme API key lautet ",
        "Acme PATは",
        "我的API key是",
        "the new token -> ",
        "grant_type=client_credentials&client_id=some-web-client&client_secret=",
        "GET /v1/shoes?q=red-shoes&sort=price-ascending&limit=20&access_token=",
    ],
)
def test_a_drawn_value_is_found_wherever_its_name_stands(before: str) -> None:
    closing = {"<acmeAuthToken>": "</acmeAuthToken>", "<td>": "</td>"}
    after = next((end for start, end in closing.items() if before.endswith(start)), "&page=2" if "&" in before else "")
    assert HEX40 in seen(f"{before}{HEX40}{after}").values()
    assert Secrets().may_hold(f"{before}{HEX40}{after}")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("- name: DB_PASSWORD\n  value: Kelp-4711", "Kelp-4711"),
        ('{"arguments": "{\\"user\\": \\"ann\\", \\"password\\": \\"Kelp4711!\\"}"}', "Kelp4711!"),
        ("password: str = 'Kelp4711'", "Kelp4711"),
        ('.root_password("KelpForest21")', "KelpForest21"),
        ("define( 'DB_PASSWORD', 'KelpForest66' );", "KelpForest66"),
        ('os.getenv("DB_PASSWORD", "Kelp4711")', "Kelp4711"),
        ("CREATE LOGIN etl WITH PASSWORD = N'Kelp4711';", "Kelp4711"),
        ('gh secret set DB_PASSWORD --body "Kelp4711"', "Kelp4711"),
        ("| password | `Kelp!4711` |", "Kelp!4711"),
        ("user=ann&password=Kelp4711&remember=1", "Kelp4711"),
        ("login: root\nPW: Kelp4711", "Kelp4711"),
        ("the wifi pw is Kelp4711 if anybody asks", "Kelp4711"),
        ("new SMTP password -> Kelp4711", "Kelp4711"),
        ("the VPN password has been changed to Kelp4711.", "Kelp4711"),
        ("use the passphrase Kelp?4711 please", "Kelp?4711"),
        ("use the passphrase kelp-forest-otter-47 please", "kelp-forest-otter-47"),
        ("password for the printer: Kelp4711", "Kelp4711"),
        ("Ich habe als Kennwort Kelp!4711 gesetzt", "Kelp!4711"),
        ("le mot de passe du wifi : Kelp4711", "Kelp4711"),
        ("mon mdp c'est Kelp4711", "Kelp4711"),
        ("la contraseña del router: Kelp4711", "Kelp4711"),
        ("he cambiado la contraseña a Kelp4711", "Kelp4711"),
        ("usuario: admin, clave: Kelp4711", "Kelp4711"),
        ("parola d'ordine: Kelp4711", "Kelp4711"),
        ("我的password是Kelp4711，谢谢", "Kelp4711"),
        ("密码已改为Kelp4711", "Kelp4711"),
        ("パスワードをKelp4711に変更", "Kelp4711"),
        ("пароль от почты: Kelp4711", "Kelp4711"),
        ("новый пароль для сервера — Kelp4711", "Kelp4711"),
        ("şifrem Kelp4711 mı", "Kelp4711"),
        ("비번은 Kelp4711 입니다", "Kelp4711"),
        ("net use Z: //fs/d /user:ACME/svc Kelp4711", "Kelp4711"),
        ("echo 'deploy:kelpforest' | sudo chpasswd", "kelpforest"),
        ("db.local:5432:orders:app:kelpforest", "kelpforest"),
        ('network={ psk="kelpforest" }', "kelpforest"),
        ("enable secret 0 Kelp4711", "Kelp4711"),
        ("username bob privilege 15 password 0 Kelp4711", "Kelp4711"),
        ("snmp-server community Kelp4711 RO", "Kelp4711"),
        ("server.login('ann@example.com', 'abcd efgh ijkl mnop')", "abcd efgh ijkl mnop"),
        ("requests.get(url, auth=('ann', 'Kelp4711'))", "Kelp4711"),
        ('new NetworkCredential("ann", "Kelp4711")', "Kelp4711"),
        ('DriverManager.getConnection(url, "ann", "Kelp4711")', "Kelp4711"),
        ("htpasswd -b /etc/htpasswd ann kelpforest", "kelpforest"),
        ("7z x a.7z -pKelp4711 -oout", "Kelp4711"),
        ("unzip -P kelpforest a.zip", "kelpforest"),
        ("docker login -u ann -p kelpforest registry.example.com", "kelpforest"),
        ("ldapsearch -x -D cn=ann -w kelpforest -b dc=acme", "kelpforest"),
        ("IDENTIFIED BY kelp4711", "kelp4711"),
        ("requirepass kelp4711", "kelp4711"),
        ("keytool -keystore k.jks -storepass Kelp4711", "Kelp4711"),
        ("log in to the wiki with admin / Kelp4711", "Kelp4711"),
        ("creds for the box are deploy:Kelp4711", "Kelp4711"),
        ("my 2FA setup key is abcd efg2 hijk lmn3 please", "abcd efg2 hijk lmn3"),
        (
            "my seed phrase is " + "apple river stone cloud " * 2 + "apple river stone cloud please recover it",
            "apple river stone cloud " * 2 + "apple river stone cloud",
        ),
    ],
)
def test_a_password_is_found_wherever_people_and_programs_put_it(text: str, value: str) -> None:
    assert value in seen(text).values()
    assert Secrets().may_hold(text)


@pytest.mark.parametrize(
    "text",
    [
        "COLUMNS = ['username', 'password', 'address_1']",
        'send_reset_password("ann1985@example.com")',
        "store the password SHA-256 hashed, the token OAuth2-style and the rest as password Argon2id",
        "passwords for all users\nversion: 1.2.3-beta",
        "| password | varchar2 |",
        "basic authentication sends a username:password base64-encoded.",
        "palabra clave: producto_1, pw and ph are units, the pw of 12mW",
        "password — must be of 12 characters; password in the manual: see page-4",
        "t.login('dashboard', 'Overview')",
        "flags passed to Tcl_CreateTrace, a context to pass to libxml2, what passes to Tk_Layout2",
        "isinstance(private_key, ed25519.Ed25519PrivateKey), from .oauth2 import OAuth2Token, OAuth2ConfigParam",
        "https://generativelanguage.googleapis.com/v1beta/files/864z7ft4m14h and https://keys.openpgp.org/vks/v1/7FFB7D6BD83147D7",
        "connect(username=info[0], password=auth_info[2])",
        '"EXPAND", "/EXPAND", "EXPASS", "*EXPORT", ["PASSWORD", "COLUMN_2"]',
        "# Passes Python2.7 and the linter",
        "PS> pwd D:\\Work\\Build2",
        "62F9 62FA 62FB 62FC 62FD 62FE",
        f"session('{HEX32}') and cookie('{HEX32}') and api('{HEX32}')",
        "credentials are kept in Vault/kv-v2",
        "docker run -p 8080:8080 -w /srv/app image; zip -P is an option",
        "ports: 127.0.0.1:5432:5432",
        "the mnemonic is for users that have lost their wallet and every word must match with care",
        "2fa is what they need most when that site asks",
        "пароль должен содержать: минимум 8 символов",
        "set `key` to `value-of-the-environment`, key (see above), token: string = another_name_of_it",
    ],
)
def test_what_only_stands_where_a_secret_could_stand_is_left_alone(text: str) -> None:
    assert seen(text) == {}


def test_a_private_key_without_its_end_is_masked_as_far_as_it_goes() -> None:
    cut = PEM[: len(PEM) // 2]
    assert seen(f"here: {cut}")["secret.private_key"] == cut


def test_entropy_of_a_constant_is_zero_and_of_sixteen_different_digits_four_bits() -> None:
    assert entropy_bits("aaaa") == 0
    assert entropy_bits("0123456789abcdef") == 4


FORMS = tuple(vendor for vendor in VENDORS if vendor.name not in ("llmproxy", "aws"))
"""The one has a checksum, the other's name may stand in the secret."""

DRAWS = 20


@pytest.mark.parametrize("vendor", FORMS, ids=lambda vendor: f"{vendor.name} {vendor.literals[0].decode()}")
def test_whatever_has_a_vendors_documented_form_is_found(vendor: Vendor) -> None:
    chance = random.Random(vendor.pattern.pattern)
    tried = 0
    for _ in range(DRAWS):
        key = forms.drawn(vendor.pattern, chance)
        group = vendor.pattern.fullmatch(key)
        if group is None or not any(literal.decode() in key for literal in vendor.literals):
            continue  # What it says about its surroundings, or another vendor's prefix.
        first, end = group.span(group.lastindex or 0)
        if entropy_bits(key[first:end]) < max(3.5, vendor.entropy_min):
            continue
        tried += 1
        found = Secrets().inspect(Segment(role="user", path="p", text=f"use {key} now"))
        assert not isinstance(found, Allow), key
        assert any(one.start <= 4 + first and one.end >= 4 + end for one in found.findings), key
    assert tried >= DRAWS // 2


def test_there_are_a_hundred_vendor_forms_each_with_a_source() -> None:
    assert len({vendor.name for vendor in VENDORS}) >= 90
    assert all(vendor.link.startswith("https://") for vendor in VENDORS)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("the passcode: 8841-zulu", "8841-zulu"),
        ("The password for the staging db is Tr0ub4dor&3.", "Tr0ub4dor&3"),
        ("mein Passwort ist Geheim123", "Geheim123"),
        ("mi contraseña es Secreto99!", "Secreto99!"),
        ("CREATE USER 'app'@'%' IDENTIFIED BY 'q5gON5W6d';", "q5gON5W6d"),
        ('dbPass: "ULqRYp9zdWAcK1m"', "ULqRYp9zdWAcK1m"),
        ('  db-password: "sDSBWnbc"', "sDSBWnbc"),
        ("mysql --password=S3cr3tPa55 -u root", "S3cr3tPa55"),
        ("SECRET_KEY=9f8e7d6c5b4a3928170615243342516f", "9f8e7d6c5b4a3928170615243342516f"),
        (
            "    client-key-data: LS0tLS1CRUdJTiBSU0EgUFJJVkFURSBLRVktLS0tLQo",
            "LS0tLS1CRUdJTiBSU0EgUFJJVkFURSBLRVktLS0tLQo",
        ),
        ("Authorization: Basic YWRtaW46czNjcjN0UHchIQ==", "YWRtaW46czNjcjN0UHchIQ=="),
        ("Set-Cookie: session=9f8e7d6c5b4a3928170615243342516f; Path=/", "9f8e7d6c5b4a3928170615243342516f"),
        ("PHPSESSID: 9f8e7d6c5b4a3928170615243342516f", "9f8e7d6c5b4a3928170615243342516f"),
        ('"session": "9f8e7d6c5b4a3928170615243342516f"', "9f8e7d6c5b4a3928170615243342516f"),
        ("Authorization: SSWS " + "00" + LONG[:38], "00" + LONG[:38]),
        ("git clone https://" + LONG[:24] + "@git.internal/a.git", "https://" + LONG[:24] + "@git.internal/a.git"),
        (
            "SECRET_KEY = 'x(-3q!k9d_^w2p)8=+z&b7n*5v@t6r1m#c4$h0g%j_s9f!e2yq'",
            "x(-3q!k9d_^w2p)8=+z&b7n*5v@t6r1m#c4$h0g%j_s9f!e2yq",
        ),
        ("Driver={SQL Server};Server=db1;Uid=ann;Pwd=rosebud;", "rosebud"),
        ("jdbc:postgresql://db1/main?user=ann&password=rosebud", "rosebud"),
        ("export STAGING_DB_PASSWORD=rosebud", "rosebud"),
        ("PGPASSWORD=rosebud psql -h db1", "rosebud"),
        ("$user = 'ann'; $password = 'rosebud';", "rosebud"),
        ("machine api.internal login ann password rosebud", "rosebud"),
        ('ConvertTo-SecureString -String "rosebud" -AsPlainText -Force', "rosebud"),
        ("sshpass -p rosebud ssh ann@db1", "rosebud"),
        ("plink -ssh ann@db1 -pw rosebud uptime", "rosebud"),
        ("redis-cli -h db1 -a rosebud ping", "rosebud"),
        ("smbclient //db1/share -U ann%rosebud", "rosebud"),
        ("sonar.login=9f8e7d6c5b4a3928170615243342516f15243342", "9f8e7d6c5b4a3928170615243342516f15243342"),
        ("Datadog: 9f8e7d6c5b4a3928170615243342516f", "9f8e7d6c5b4a3928170615243342516f"),
        ('export API_KEY="ASIA' + 'CRCCFVCDBCGPMKVM"', "ASIA" + "CRCCFVCDBCGPMKVM"),
        ("amqps://svc:pa@ss@mq.internal:5671/vhost", "amqps://svc:pa@ss@mq.internal:5671/vhost"),
    ],
)
def test_what_people_write_around_a_secret_gives_it_away(text: str, value: str) -> None:
    assert value in seen(text).values()


@pytest.mark.parametrize(
    "text",
    [
        "Please reset my password, is that possible?",
        '{"Sid": "AllowS3BucketAccess", "Effect": "Allow"}',
        "![IMG](https://api.placid.app/u/qsraj?title%5Btext%5D=Formatting%20Guide)",
        "password: string",
        "const password = req.body.password;",
        "password = getpass.getpass()",
        'if (user.password === "") return false;',
        "The password is case-sensitive and must have 8 characters.",
        "pass by reference is faster; pass is a keyword",
        "token_count = 128000, max_tokens: 4096, tokenizer: cl100k_base",
        'primary_key=True, foreign_key="users.id", key=lambda item: item[1]',
        "cache key user:1234:profile:v2 and key/value-stores-2024-edition",
        "secret sauce: two-tablespoons-of-vinegar",
        "sha256 = 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "POSTGRES_PASSWORD=postgres DB_PASSWORD=$SECRET OLDPWD=/home/ann",
        "docker run -p 8080:80 -u ann -a stdout image; machine learning of a password policy",
        "ann logged in from there. Session: 9f8e7d6c5b4a3928170615243342516f",
        "this session 9f8e7d6c5b4a3928170615243342516f was closed",
        "bob ALL=(ALL) NOPASSWD:ALL|/usr/bin/tee2",
        "see #api-v1alpha1-awsoidcexchangetoken and #api-v1beta2-backendsecuritypolicy",
        "Version=4.0.0.0, Culture=neutral, PublicKeyToken=b77a5c561934e089",
        "correlation key 7b2f6c9d4e5a4b1c8d3e2f1a0b9c8d7e, object key: uploads/7b2f6c9d4e5a4b1c8d3e2f1a0b9c8d7e.png",
        "redis key session:7b2f6c9d4e5a4b1c8d3e2f1a0b9c8d7e",
        "https://user-name-of-somebody-long@example.com/path",
        '"integrity": "sha512-z4PhNX7vuL3xVChQ1m2AB9Yg5AULVxXcg/SpIdNs6c5H0NE8XYXysP+DGNKHfuwvY7kxvUdBeoGlODJ6+SfaPg=="',
        "request_id=3f2b8c1e-77aa-4b0c-9a11-0f4c2f6f1d2e path=/api/v1/orders/1234567",
        "postgres://user:password@localhost/db and redis://:${REDIS_PASSWORD}@cache:6379",
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJAaNF68eKvi4fFoJm0BmXiTp0pOPF1HoGQAGepVulXb user@host",
        "-----BEGIN PUBLIC KEY-----\nV3RA5t9LH2grWe5CE9fbIN1l2OJbXnP9aA6rZYQ9Rg0UxfqGp9jqhUZpy3Ln9VtB\n-----END PUBLIC KEY-----",
    ],
)
def test_code_and_questions_about_secrets_are_left_alone(text: str) -> None:
    assert seen(text) == {}
