"""Requests are signed as AWS's published vectors say, and as botocore signs them."""

from urllib.parse import quote

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from llmproxy.provider_workers.sigv4 import AwsKeys, Scope, sign

KEYS = AwsKeys(access_key_id="AKIDEXAMPLE", secret_access_key="wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
SCOPE = Scope(region="us-east-1", service="service")
NOW = 1440938160.0  # 2015-08-30T12:36:00Z
HOST = ("host", "example.amazonaws.com")
LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

VECTORS = {  # AWS's test suite for Signature Version 4, by the names that it gives them.
    "get-vanilla": (
        ("GET", "/", "", [HOST], b""),
        "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
    ),
    "post-vanilla": (
        ("POST", "/", "", [HOST], b""),
        "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
    ),
    "get-vanilla-query-order-key-case": (
        ("GET", "/", "Param2=value2&Param1=value1", [HOST], b""),
        "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
    ),
    "post-vanilla-query": (
        ("POST", "/", "Param1=value1", [HOST], b""),
        "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11",
    ),
    "get-unreserved": (
        ("GET", f"/-._~{LETTERS}", "", [HOST], b""),
        "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f",
    ),
    "post-x-www-form-urlencoded": (
        ("POST", "/", "", [HOST, ("Content-Type", "application/x-www-form-urlencoded")], b"Param1=value1"),
        "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
    ),
    "get-header-value-trim": (
        ("GET", "/", "", [HOST, ("My-Header1", " value1"), ("My-Header2", ' "a   b   c"')], b""),
        "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
    ),
    "get-header-key-duplicate": (
        ("GET", "/", "", [HOST, ("My-Header1", "value2,value2,value1")], b""),
        "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea",
    ),
    "get-header-value-multiline": (
        ("GET", "/", "", [HOST, ("My-Header1", "value1,value2,value3")], b""),
        "ba17b383a53190154eb5fa66a1b836cc297cc0a3d70a5d00705980573d8ff790",
    ),
}


@pytest.mark.parametrize("name", VECTORS)
def test_a_published_vector_is_signed_as_published(name: str) -> None:
    (method, path, query, headers, body), expected = VECTORS[name]
    added = dict(sign(method, path, query, headers, body, keys=KEYS, scope=SCOPE, now=NOW))
    assert added["x-amz-date"] == "20150830T123600Z"
    assert added["authorization"].startswith(
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders="
    )
    assert added["authorization"].endswith(f"Signature={expected}")


class At(SigV4Auth):  # type: ignore[misc]
    """botocore at a time of ours."""

    def _modify_request_before_signing(self, request: AWSRequest) -> None:
        request.context["timestamp"] = "20150830T123600Z"
        super()._modify_request_before_signing(request)


# No model is called `.` or `..`: botocore would take that for a step of the path.
models = st.text(st.sampled_from("abz019.-_~:/@+ %ü"), min_size=1, max_size=24).filter(lambda name: name.strip("."))
printable = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=12)


@given(model=models, body=st.binary(max_size=40), session=st.just("") | printable, value=printable)
def test_botocore_signs_the_same(model: str, body: bytes, session: str, value: str) -> None:
    path = f"/model/{quote(model, safe='')}/converse"
    headers = {"Content-Type": "application/json", "X-Extra": value}
    request = AWSRequest("POST", f"https://bedrock-runtime.eu-west-1.amazonaws.com{path}", headers, body)
    theirs = At(Credentials("AKID", "secret", session or None), "bedrock", "eu-west-1")
    theirs.add_auth(request)
    ours = dict(
        sign(
            "POST",
            path,
            "",
            [("host", "bedrock-runtime.eu-west-1.amazonaws.com"), *headers.items()],
            body,
            keys=AwsKeys(access_key_id="AKID", secret_access_key="secret", session_token=session),
            scope=Scope(region="eu-west-1", service="bedrock"),
            now=NOW,
        )
    )
    assert ours["authorization"] == request.headers["Authorization"]
    assert ours.get("x-amz-security-token", "") == session
