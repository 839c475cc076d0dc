"""The OpenAPI 3.1 document, made from the route table and the types, so that it cannot say anything else than the code."""

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from llmproxy.admin.problems import ErrorBody
from llmproxy.admin.routes import Route

PLACE = re.compile(r"\{(\w+)\}")
SCHEMAS = "#/components/schemas/{name}"
PROBLEMS = {
    400: "What was sent cannot be used; `param` names the field",
    401: "The admin token is missing or wrong",
    404: "There is no such thing",
    409: "It was changed by somebody else, or may not be changed here",
    503: "Something that is needed does not answer",
}


def document(routes: Sequence[Route], version: str) -> dict[str, Any]:
    types = _types(routes)
    schemas, components = msgspec.json.schema_components(types, ref_template=SCHEMAS)
    schema_of = dict(zip(map(id, types), schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schema_of)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "LLMProxy admin",
            "version": version,
            "description": "The control plane: keys, configuration, status, and the audit ledger.",
        },
        "security": [{"adminToken": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"adminToken": {"type": "http", "scheme": "bearer"}},
        },
    }


def _types(routes: Sequence[Route]) -> list[Any]:
    """Each once."""
    found: dict[int, Any] = {id(ErrorBody): ErrorBody}
    for route in routes:
        for kind in (route.request, route.response):
            if kind is not None:
                found[id(kind)] = kind
    return list(found.values())


def _operation(route: Route, schema_of: dict[int, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": _name(route),
        "summary": route.summary,
        "responses": _responses(route, schema_of),
    }
    parameters = _parameters(route)
    if parameters:
        operation["parameters"] = parameters
    if route.request is not None:
        schema = schema_of[id(route.request)]
        operation["requestBody"] = {
            "required": True,
            "content": {media: {"schema": schema} for media in route.accepts},
        }
    if route.is_public:
        operation["security"] = []
    return operation


def _responses(route: Route, schema_of: dict[int, Any]) -> dict[str, Any]:
    schema = {} if route.response is None else {"schema": schema_of[id(route.response)]}
    responses: dict[str, Any] = {str(route.status): {"description": route.summary, "content": {route.media: schema}}}
    usual = () if route.is_public else (400, 401)
    for status in sorted({*usual, *route.problems}):
        problem = {"application/json": {"schema": schema_of[id(ErrorBody)]}}
        responses[str(status)] = {"description": PROBLEMS[status], "content": problem}
    return responses


def _parameters(route: Route) -> list[dict[str, Any]]:
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in PLACE.findall(route.path)
    ]
    if route.query is None:
        return parameters
    (reference,), components = msgspec.json.schema_components([route.query], ref_template="{name}")
    shape = components[reference["$ref"]]
    required = set(shape.get("required", ()))
    for name, schema in shape["properties"].items():
        parameters.append({"name": name, "in": "query", "required": name in required, "schema": schema})
    return parameters


def _name(route: Route) -> str:
    words = [word for word in re.split(r"[/{}._]+", route.path) if word and word not in ("api", "v1")]
    return "_".join([route.method.lower(), *words])
