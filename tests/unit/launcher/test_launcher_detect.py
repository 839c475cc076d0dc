"""What becomes of environment variables and of servers nearby."""

import http.server
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from patience import PATIENCE_S

from llmproxy.common import auth
from llmproxy.common.config import ConfigError
from llmproxy.launcher import detect
from llmproxy.launcher.detect import LocalServer

SECRET = "sk-0123456789-not-to-be-seen"


def test_with_nothing_configured_the_demo_answers() -> None:
    found = detect.config({}, [])
    assert list(found.endpoints) == ["demo"]
    assert found.endpoints["demo"].models == ("demo",)


@pytest.mark.parametrize(
    ("variable", "provider"),
    [
        ("OPENAI_API_KEY", "openai"),
        ("ANTHROPIC_API_KEY", "anthropic"),
        ("GEMINI_API_KEY", "google"),
        ("GOOGLE_API_KEY", "google"),
        ("GROQ_API_KEY", "groq"),
        ("MISTRAL_API_KEY", "mistral"),
        ("DEEPSEEK_API_KEY", "deepseek"),
        ("XAI_API_KEY", "xai"),
        ("PERPLEXITY_API_KEY", "perplexity"),
        ("PPLX_API_KEY", "perplexity"),
        ("SAMBANOVA_API_KEY", "sambanova"),
        ("TOGETHER_API_KEY", "together"),
        ("FIREWORKS_API_KEY", "fireworks"),
        ("OPENROUTER_API_KEY", "openrouter"),
    ],
)
def test_a_vendors_key_makes_its_endpoint_by_reference(variable: str, provider: str) -> None:
    found = detect.config({variable: SECRET}, [])
    assert list(found.endpoints) == [provider]
    assert found.endpoints[provider].key == f"env:{variable}"
    assert found.endpoints[provider].models
    assert SECRET not in msgspec.json.encode(found).decode()


AZURE = {"AZURE_OPENAI_API_KEY": SECRET, "AZURE_OPENAI_ENDPOINT": "https://r.openai.azure.com/"}


def test_azure_is_known_by_its_key_and_its_resource() -> None:
    found = detect.config(AZURE, []).endpoints["azure"]
    assert (found.provider, found.url, found.key) == (
        "azure",
        AZURE["AZURE_OPENAI_ENDPOINT"],
        "env:AZURE_OPENAI_API_KEY",
    )
    assert "gpt-4o" in found.models
    dated = {**AZURE, "OPENAI_API_VERSION": "2024-10-21", "AZURE_OPENAI_DEPLOYMENT": "mine, other"}
    found = detect.config(dated, []).endpoints["azure"]
    assert (found.url, found.models) == ("https://r.openai.azure.com?api-version=2024-10-21", ("mine", "other"))


@pytest.mark.parametrize("alone", AZURE)
def test_azure_by_half_is_no_azure(alone: str) -> None:
    assert "azure" not in detect.config({alone: AZURE[alone]}, []).endpoints


def test_azure_named_by_hand_needs_its_address() -> None:
    with pytest.raises(ConfigError, match=r"endpoints\.x\.url: Azure OpenAI is called by resource"):
        detect.config({"LLM_PROXY_ENDPOINT_X_PROVIDER": "azure"}, [])


def test_servers_nearby_that_speak_openais_format_are_taken_as_such() -> None:
    assert {one.name: one.provider for one in detect.candidates({})} == {
        "ollama": "ollama",
        "vllm": "vllm",
        "lmstudio": "vllm",
    }


def test_an_empty_key_variable_is_no_key() -> None:
    assert list(detect.config({"OPENAI_API_KEY": "  "}, []).endpoints) == ["demo"]


def test_a_named_endpoint_is_what_its_variables_say() -> None:
    found = detect.config(
        {
            "LLM_PROXY_ENDPOINT_EU_WEST_URL": "https://llm.example.org/v1",
            "LLM_PROXY_ENDPOINT_EU_WEST_PROVIDER": "openai",
            "LLM_PROXY_ENDPOINT_EU_WEST_MODELS": "one, two,,",
            "LLM_PROXY_ENDPOINT_EU_WEST_KEY": SECRET,
        },
        [],
    )
    endpoint = found.endpoints["eu_west"]
    assert (endpoint.url, endpoint.models) == ("https://llm.example.org/v1", ("one", "two"))
    assert endpoint.key == "env:LLM_PROXY_ENDPOINT_EU_WEST_KEY"


@pytest.mark.parametrize(
    ("url", "provider"),
    [
        ("https://api.openai.com/v1", "openai"),
        ("https://api.anthropic.com", "anthropic"),
        ("https://generativelanguage.googleapis.com/v1beta", "google"),
        ("https://api.groq.com/openai/v1", "groq"),
        ("https://openrouter.ai/api/v1", "openrouter"),
        ("https://r.openai.azure.com", "azure"),
        ("https://r.services.ai.azure.com/openai/v1", "azure"),
        ("http://127.0.0.1:11434", "ollama"),
        ("http://ollama.local:80", "ollama"),
        ("http://127.0.0.1:11434/v1", "openai"),
        ("https://llm.example.org", "openai"),
    ],
)
def test_the_provider_follows_from_the_host(url: str, provider: str) -> None:
    assert detect.config({"LLM_PROXY_ENDPOINT_X_URL": url}, []).endpoints["x"].provider == provider


def test_without_models_a_vendor_serves_its_own_and_a_stranger_any() -> None:
    environment = {
        "LLM_PROXY_ENDPOINT_A_URL": "https://api.openai.com",
        "LLM_PROXY_ENDPOINT_B_URL": "https://llm.example.org",
    }
    found = detect.config(environment, []).endpoints
    assert "gpt-4o" in found["a"].models
    assert found["b"].models == ("*",)


def test_a_vendors_key_never_goes_to_another_host() -> None:
    environment = {
        "OPENAI_API_KEY": SECRET,
        "LLM_PROXY_ENDPOINT_MINE_URL": "https://llm.example.org",
        "LLM_PROXY_ENDPOINT_MINE_PROVIDER": "openai",
        "LLM_PROXY_ENDPOINT_REAL_URL": "https://api.openai.com/v1",
    }
    found = detect.config(environment, []).endpoints
    assert found["mine"].key == ""
    assert found["real"].key == "env:OPENAI_API_KEY"


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"LLM_PROXY_ENDPOINT_X_URL": "example.org"}, "LLM_PROXY_ENDPOINT_X_URL: must start with http"),
        (
            {"LLM_PROXY_ENDPOINT_X_MODEL": "gpt-4o"},
            "LLM_PROXY_ENDPOINT_X_MODEL: there is no such setting of an endpoint",
        ),
        ({"LLM_PROXY_ENDPOINT_X_KEY": "sk"}, "LLM_PROXY_ENDPOINT_X_URL: say where the endpoint is"),
        ({"LLM_PROXY_ENDPOINT_X_PROVIDER": "acme"}, "LLM_PROXY_ENDPOINT_X_PROVIDER: 'acme' is unknown; one of openai"),
    ],
)
def test_a_wrong_variable_is_named_with_the_fix(environment: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        detect.config(environment, [])


def test_an_endpoint_named_by_hand_wins_over_one_that_was_found() -> None:
    environment = {
        "LLM_PROXY_ENDPOINT_OLLAMA_URL": "http://10.0.0.1:11434",
        "LLM_PROXY_ENDPOINT_OLLAMA_MODELS": "mine",
        "LLM_PROXY_ENDPOINT_OPENAI_MODELS": "only-this",
        "OPENAI_API_KEY": SECRET,
    }
    nearby = LocalServer(name="ollama", provider="ollama", url="http://127.0.0.1:11434", models=("other",))
    found = detect.config(environment, [nearby]).endpoints
    assert found["ollama"].models == ("mine",)
    assert found["openai"].models == ("only-this",)
    assert found["openai"].key == "env:OPENAI_API_KEY"


@given(
    st.dictionaries(
        st.from_regex(r"LLM_PROXY_ENDPOINT_[A-Z0-9_]{1,8}_(URL|KEY|MODELS|PROVIDER)", fullmatch=True),
        st.text(max_size=20),
    )
)
def test_any_environment_gives_a_configuration_or_says_what_is_wrong(environment: dict[str, str]) -> None:
    try:
        found = detect.config(environment, [])
    except ConfigError:
        return
    assert found.endpoints


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("", "http://127.0.0.1:11434"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("0.0.0.0:8080", "http://127.0.0.1:8080"),
        ("gpu.local", "http://gpu.local:11434"),
        ("http://gpu.local:1234/", "http://gpu.local:1234"),
        ("https://gpu.local", "https://gpu.local:443"),
        ("[::1]:11434", "http://[::1]:11434"),
    ],
)
def test_ollama_host_is_read_as_ollama_reads_it(host: str, url: str) -> None:
    assert detect.ollama_url(host) == url


@pytest.mark.parametrize("host", ["gpu.local:eleven", "gpu.local:99999", "http://[::1"])
def test_an_ollama_host_that_is_none_is_named(host: str) -> None:
    with pytest.raises(ConfigError, match=r"^OLLAMA_HOST: .*; write host, host:port or a URL$"):
        detect.probe({"OLLAMA_HOST": host})


@pytest.mark.parametrize(
    ("answer", "models"),
    [
        (b'{"models": [{"name": "llama3.2:latest"}, {"name": "qwen3"}]}', ("llama3.2:latest", "qwen3")),
        (b'{"object": "list", "data": [{"id": "meta/llama"}]}', ("meta/llama",)),
        (b"<html>", ()),
        (b"[]", ()),
        (b'{"models": {"a": 1}}', ()),
        (b'{"data": [1, {"id": 5}, {}]}', ()),
        (b'{"data": [{"id": "\xff"}]}', ()),
        (b"[" * 100_000, ()),
    ],
)
def test_only_names_are_taken_from_what_a_local_server_answers(answer: bytes, models: tuple[str, ...]) -> None:
    assert detect.models_in(answer) == models


@contextmanager
def ollama(answer: bytes) -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/api/tags" else 404)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_running_ollama_is_found_with_its_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detect, "PROBE_TIMEOUT_S", PATIENCE_S)
    with ollama(b'{"models": [{"name": "llama3.2"}]}') as host:
        found = [server for server in detect.probe({"OLLAMA_HOST": host}) if server.name == "ollama"]
    assert found == [LocalServer(name="ollama", provider="ollama", url=f"http://{host}", models=("llama3.2",))]


@pytest.mark.parametrize("said", [b"220 mail.example.com ESMTP\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}"])
def test_what_runs_nearby_and_is_no_model_server_is_not_taken_for_one(said: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def speak() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(said)

        speaking = threading.Thread(target=speak)
        speaking.start()
        found = detect.probe({"OLLAMA_HOST": f"127.0.0.1:{server.getsockname()[1]}"})
        speaking.join()
    assert "ollama" not in [one.name for one in found]


def test_nobody_is_asked_when_discovery_is_off() -> None:
    assert detect.candidates({"LLM_PROXY_LOCAL_DISCOVERY": "0"}) == []


def test_clouds_are_recognised_by_what_is_theirs_alone() -> None:
    bedrock = detect.config({"AWS_BEARER_TOKEN_BEDROCK": "k", "AWS_DEFAULT_REGION": "eu-west-1"}, []).endpoints[
        "bedrock"
    ]
    assert (bedrock.key, bedrock.region) == ("env:AWS_BEARER_TOKEN_BEDROCK", "eu-west-1")
    google = {
        "GOOGLE_APPLICATION_CREDENTIALS": "/sa.json",
        "GOOGLE_CLOUD_PROJECT": "p",
        "GOOGLE_CLOUD_LOCATION": "global",
    }
    vertex = detect.config(google, []).endpoints["vertex"]
    assert (vertex.project, vertex.region, vertex.auth) == ("p", "global", auth.Google())
    assert detect.config({"COHERE_API_KEY": "k"}, []).endpoints["cohere"].key == "env:COHERE_API_KEY"


@pytest.mark.parametrize(
    "environment",
    [
        {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s", "AWS_REGION": "us-east-1"},
        {"AWS_BEARER_TOKEN_BEDROCK": "k"},
        {"GOOGLE_APPLICATION_CREDENTIALS": "/sa.json", "GOOGLE_CLOUD_PROJECT": "p"},
    ],
)
def test_half_of_what_a_cloud_needs_is_no_endpoint(environment: dict[str, str]) -> None:
    assert list(detect.config(environment, []).endpoints) == ["demo"]


def test_a_named_endpoint_may_be_a_clouds() -> None:
    made = detect.config(
        {
            "LLM_PROXY_ENDPOINT_CLOUD_PROVIDER": "bedrock",
            "LLM_PROXY_ENDPOINT_CLOUD_REGION": "eu-west-1",
            "LLM_PROXY_ENDPOINT_GCP_PROVIDER": "vertex",
            "LLM_PROXY_ENDPOINT_GCP_REGION": "eu",
            "LLM_PROXY_ENDPOINT_GCP_PROJECT": "p",
        },
        [],
    )
    assert (made.endpoints["cloud"].provider, made.endpoints["cloud"].region) == ("bedrock", "eu-west-1")
    assert made.endpoints["gcp"].auth == auth.Google()
    with pytest.raises(ConfigError, match="region"):
        detect.config({"LLM_PROXY_ENDPOINT_CLOUD_PROVIDER": "bedrock"}, [])
