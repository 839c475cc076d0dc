"""What admin says when it cannot do what was asked: one shape, with the field that is wrong and the fix."""

import re

import msgspec
from msgspec import Struct

from llmproxy.common.errors import GatewayError

VALIDATION_PLACE = re.compile(r" - at `\$\.?(.*)`$")
MATCHING = re.compile(r"Expected `str` matching regex")
NOT_ONE_LINE = "it must be one line, without control characters and invisible signs"  # The only expression that admin's types have.
UNKNOWN_FIELD = re.compile(r"Object contains unknown field `([^`]*)`")


class ErrorDetail(Struct, frozen=True, kw_only=True):
    code: str
    message: str
    param: str | None = None  # The field or parameter that is wrong.


class ErrorBody(Struct, frozen=True):
    error: ErrorDetail


class Problem(Exception):
    """An answer that is not the one hoped for. The message names the thing and the fix."""

    def __init__(self, status: int, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.param = status, code, message, param

    @property
    def body(self) -> ErrorBody:
        return ErrorBody(ErrorDetail(code=self.code, message=self.message, param=self.param))


def unauthorized() -> Problem:
    return Problem(401, "unauthorized", "send the admin token: Authorization: Bearer <LLM_PROXY_ADMIN_TOKEN>")


def not_found(what: str) -> Problem:
    return Problem(404, "not_found", what)


def conflict(why: str) -> Problem:
    return Problem(409, "conflict", why)


def from_gateway(error: GatewayError) -> Problem:
    return Problem(error.status, error.code, error.message, error.param or None)


def from_validation(error: msgspec.DecodeError) -> Problem:
    """msgspec's words, with the field taken out of them. They go to whoever sent it, and nowhere else."""
    text = str(error)
    if not isinstance(error, msgspec.ValidationError):
        return Problem(400, "invalid_json", f"the body is not JSON: {text}")
    place = VALIDATION_PLACE.search(text)
    field = place[1] if place else ""
    unknown = UNKNOWN_FIELD.search(text)
    if unknown:
        field = f"{field}.{unknown[1]}" if field else unknown[1]
        return Problem(400, "unknown_parameter", f"there is no {field!r}; see /openapi.json", field)
    said = NOT_ONE_LINE if MATCHING.match(text) else VALIDATION_PLACE.sub("", text)
    return Problem(400, "invalid_parameter", said + (f" ({field})" if field else ""), field or None)
