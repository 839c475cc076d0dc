"""Clouds are found by region and project, at the addresses that their own packages use."""

import anthropic
import pytest
from botocore.session import get_session

from llmproxy.common.config import Endpoint, Provider
from llmproxy.provider_workers.places import located


def url(provider: Provider, **fields: str) -> str:
    return located(Endpoint(provider=provider, models=("*",), **fields)).url  # type: ignore[arg-type]


@pytest.mark.parametrize("region", ["us-east-1", "eu-central-1", "us-gov-west-1", "cn-north-1"])
def test_bedrock_is_where_botocore_finds_it(region: str) -> None:
    session = get_session()
    client = session.create_client(
        "bedrock-runtime", region_name=region, aws_access_key_id="a", aws_secret_access_key="b"
    )
    assert url("bedrock", region=region) == client.meta.endpoint_url


@pytest.mark.parametrize("region", ["us-central1", "europe-west1", "global", "us", "eu"])
def test_vertex_is_where_the_anthropic_package_finds_it(region: str) -> None:
    with anthropic.AnthropicVertex(region=region, project_id="p", access_token="t") as client:
        assert url("vertex", region=region, project="p") == f"{client.base_url}projects/p/locations/{region}"


def test_without_a_project_vertex_is_where_api_keys_are_taken() -> None:
    assert url("vertex") == "https://aiplatform.googleapis.com/v1"


def test_an_address_that_is_given_is_kept() -> None:
    assert url("bedrock", region="r", url="https://vpce.example.com") == "https://vpce.example.com"
    assert url("vertex", region="r", project="p", url="https://h") == "https://h/v1/projects/p/locations/r"
    assert url("vertex", region="r", project="p", url="https://h/x") == "https://h/x"
    assert url("openai") == ""
