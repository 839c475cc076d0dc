"""Where a cloud's endpoint is, when the configuration says region and project instead of an address. Pure."""

from urllib.parse import urlsplit

from msgspec.structs import replace

from llmproxy.common.config import Endpoint

VERTEX_MULTI_REGIONS = frozenset({"us", "eu"})


def located(endpoint: Endpoint) -> Endpoint:
    """The endpoint with its base URL; one that needs no help is given back as it is."""
    match endpoint.provider:
        case "bedrock" if not endpoint.url:
            return replace(endpoint, url=bedrock(endpoint.region))
        case "vertex" if not urlsplit(endpoint.url).path.strip("/"):
            return replace(endpoint, url=vertex(endpoint.url.rstrip("/"), endpoint.project, endpoint.region))
    return endpoint


def bedrock(region: str) -> str:
    """https://docs.aws.amazon.com/general/latest/gr/bedrock.html"""
    suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    return f"https://bedrock-runtime.{region}.{suffix}"


def vertex(host: str, project: str, region: str) -> str:
    """Without a project, the address for API keys (express mode)."""
    if not host:
        if not region or region == "global":
            host = "https://aiplatform.googleapis.com"
        elif region in VERTEX_MULTI_REGIONS:
            host = f"https://aiplatform.{region}.rep.googleapis.com"
        else:
            host = f"https://{region}-aiplatform.googleapis.com"
    return f"{host}/v1/projects/{project}/locations/{region}" if project else f"{host}/v1"
