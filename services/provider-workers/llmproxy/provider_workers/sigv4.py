"""AWS Signature Version 4: what a request must say so that AWS knows who sent exactly it. Pure: the time is an argument.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

import hashlib
import hmac
import re
import time
from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import quote

from msgspec import Struct

ALGORITHM = "AWS4-HMAC-SHA256"
SPACES = re.compile(r" +")
UNRESERVED = "-_.~"


class AwsKeys(Struct, frozen=True, kw_only=True):
    access_key_id: str
    secret_access_key: str
    session_token: str = ""


class Scope(Struct, frozen=True, kw_only=True):
    """Where a signature is good for."""

    region: str
    service: str


def sign(
    method: str,
    path: str,
    query: str,
    headers: Iterable[tuple[str, str]],
    body: bytes,
    *,
    keys: AwsKeys,
    scope: Scope,
    now: float,
) -> list[tuple[str, str]]:
    """The headers to add. `path` and `query` as they will stand in the request line; `headers` those to sign, host among them.

    `now` is Unix time; AWS takes what is at most five minutes off.
    """
    at = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    added = [("x-amz-date", at)]
    if keys.session_token:
        added.append(("x-amz-security-token", keys.session_token))
    lines = sorted((name.lower(), trimmed(value)) for name, value in (*headers, *added))
    signed = ";".join(name for name, _ in lines)
    digest = hashlib.sha256(body).hexdigest()
    canonical = canonical_request(method, path, query, lines, signed, digest)
    credential = f"{at[:8]}/{scope.region}/{scope.service}/aws4_request"
    text = f"{ALGORITHM}\n{at}\n{credential}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = signing_key(keys.secret_access_key, at[:8], scope.region, scope.service)
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    added.append(
        (
            "authorization",
            f"{ALGORITHM} Credential={keys.access_key_id}/{credential}, SignedHeaders={signed}, Signature={signature}",
        )
    )
    return added


def canonical_request(
    method: str, path: str, query: str, lines: list[tuple[str, str]], signed: str, digest: str
) -> str:
    written = "".join(f"{name}:{value}\n" for name, value in lines)
    return f"{method}\n{canonical_path(path)}\n{canonical_query(query)}\n{written}\n{signed}\n{digest}"


def canonical_path(path: str) -> str:
    """Every service but S3 wants what stands in the request line quoted once more."""
    return quote(path or "/", safe=f"/{UNRESERVED}")


def canonical_query(query: str) -> str:
    """Sorted by name, then value; the escapes are those of the request line."""
    pairs = (part.partition("=") for part in query.split("&") if part)
    return "&".join(f"{name}={value}" for name, value in sorted((name, value) for name, _, value in pairs))


def trimmed(value: str) -> str:
    return SPACES.sub(" ", value.strip())


@lru_cache(maxsize=64)
def signing_key(secret: str, day: str, region: str, service: str) -> bytes:
    """Good for one day, region and service."""
    key = f"AWS4{secret}".encode()
    for part in (day, region, service, "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key
