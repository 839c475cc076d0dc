"""The served OpenAPI document is well-formed, and says what the routes do."""

import asyncio
import re
from typing import Any

METHODS = {"get", "put", "post", "delete"}


async def served(start_admin: Any) -> dict[str, Any]:
    async with start_admin() as admin:
        status, document = await admin.call("GET", "/openapi.json")
        assert status == 200
        found: dict[str, Any] = document
        return found


def references(tree: Any) -> set[str]:
    if isinstance(tree, dict):
        own = {tree["$ref"]} if isinstance(tree.get("$ref"), str) else set()
        return own.union(*map(references, tree.values())) if tree else own
    if isinstance(tree, list):
        return set().union(*map(references, tree)) if tree else set()
    return set()


def test_the_document_has_the_structure_of_openapi_3_1(start_admin: Any) -> None:
    document = asyncio.run(served(start_admin))
    assert document["openapi"] == "3.1.0"
    assert set(document["info"]) >= {"title", "version"}
    names = []
    for path, entry in document["paths"].items():
        assert path.startswith("/")
        assert set(entry) <= METHODS
        for operation in entry.values():
            names.append(operation["operationId"])
            assert operation["summary"]
            assert operation["responses"]
            for status, response in operation["responses"].items():
                assert re.fullmatch(r"[1-5]\d\d", status)
                assert response["description"]
                assert all("/" in media for media in response.get("content", {}))
            places = [one["name"] for one in operation.get("parameters", ()) if one["in"] == "path"]
            assert places == re.findall(r"\{(\w+)\}", path)
            for one in operation.get("parameters", ()):
                assert one["required"] is True or one["in"] == "query"
                assert one["schema"]
    assert len(names) == len(set(names))


def test_every_reference_leads_somewhere(start_admin: Any) -> None:
    document = asyncio.run(served(start_admin))
    found = references(document)
    assert found
    for reference in found:
        prefix, _, name = reference.rpartition("/")
        assert prefix == "#/components/schemas"
        assert name in document["components"]["schemas"], reference


def test_every_operation_asks_for_the_token_unless_it_says_otherwise(start_admin: Any) -> None:
    document = asyncio.run(served(start_admin))
    assert document["security"] == [{"adminToken": []}]
    assert document["components"]["securitySchemes"]["adminToken"] == {"type": "http", "scheme": "bearer"}
    public = {path for path, entry in document["paths"].items() for one in entry.values() if one.get("security") == []}
    assert public == {"/livez", "/readyz"}


def test_inputs_and_answers_are_described(start_admin: Any) -> None:
    document = asyncio.run(served(start_admin))
    schemas, paths = document["components"]["schemas"], document["paths"]
    assert schemas["NewKey"]["additionalProperties"] is False
    assert "hash" not in schemas["Key"]["properties"]
    assert set(paths["/api/v1/config"]["put"]["requestBody"]["content"]) == {"application/yaml", "application/json"}
    assert {one["name"] for one in paths["/api/v1/audit"]["get"]["parameters"]} == {
        "from_ms", "to_ms", "tenant", "key", "model", "verdict", "before_seq", "limit", "request",
    }  # fmt: skip
    assert paths["/api/v1/keys"]["post"]["responses"]["201"]
