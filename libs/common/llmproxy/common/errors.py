"""The one catalogue of what can go wrong: code, HTTP status, the error type of each dialect, and whether to try again."""

from msgspec import Struct

from llmproxy.common.frames import Failure


class Kind(Struct, frozen=True):
    status: int
    type: str  # OpenAI's `error.type`.
    anthropic: str  # Anthropic's `error.type`.
    retryable: bool = False  # By the client; sent as `x-should-retry`.
    blame: str = "caller"  # caller | guard | provider | gateway: decides the audit verdict.


CATALOGUE: dict[str, Kind] = {
    # The caller's request.
    "invalid_json": Kind(400, "invalid_request_error", "invalid_request_error"),
    "invalid_encoding": Kind(400, "invalid_request_error", "invalid_request_error"),
    "duplicate_key": Kind(400, "invalid_request_error", "invalid_request_error"),
    "too_deep": Kind(400, "invalid_request_error", "invalid_request_error"),
    "missing_required_parameter": Kind(400, "invalid_request_error", "invalid_request_error"),
    "invalid_type": Kind(400, "invalid_request_error", "invalid_request_error"),
    "invalid_value": Kind(400, "invalid_request_error", "invalid_request_error"),
    "unsupported_parameter": Kind(400, "invalid_request_error", "invalid_request_error"),
    "unsupported_endpoint": Kind(400, "invalid_request_error", "invalid_request_error"),
    "context_length_exceeded": Kind(400, "invalid_request_error", "invalid_request_error"),
    "invalid_api_key": Kind(401, "invalid_request_error", "authentication_error"),
    "expired_api_key": Kind(401, "invalid_request_error", "authentication_error"),
    "model_not_allowed": Kind(403, "permission_error", "permission_error"),
    "model_not_priced": Kind(403, "permission_error", "permission_error"),
    # For steps of plugins; no step of ours says it.
    "permission_denied": Kind(403, "permission_error", "permission_error"),
    "model_not_found": Kind(404, "invalid_request_error", "not_found_error"),
    "unknown_url": Kind(404, "invalid_request_error", "not_found_error"),
    "endpoint_not_served": Kind(404, "invalid_request_error", "not_found_error"),
    "method_not_allowed": Kind(405, "invalid_request_error", "invalid_request_error"),
    "request_timeout": Kind(408, "invalid_request_error", "invalid_request_error", True),
    "conflict": Kind(409, "invalid_request_error", "invalid_request_error"),
    "request_too_large": Kind(413, "invalid_request_error", "request_too_large"),
    "unsupported_media_type": Kind(415, "invalid_request_error", "invalid_request_error"),
    "client_closed_request": Kind(499, "invalid_request_error", "invalid_request_error"),
    # Limits.
    "rate_limit_exceeded": Kind(429, "rate_limit_error", "rate_limit_error", True),
    "concurrency_limit_exceeded": Kind(429, "rate_limit_error", "rate_limit_error", True),
    "caller_throttled": Kind(429, "rate_limit_error", "rate_limit_error", True),
    "caller_locked": Kind(403, "permission_error", "permission_error"),  # Clients retry a 429 by themselves.
    # Guards.
    "content_blocked": Kind(400, "invalid_request_error", "invalid_request_error", False, "guard"),
    "guard_unavailable": Kind(503, "service_unavailable_error", "api_error", True, "guard"),
    # Providers.
    "provider_rejected": Kind(400, "invalid_request_error", "invalid_request_error", False, "provider"),
    "provider_unauthorized": Kind(502, "server_error", "api_error", False, "provider"),
    "provider_quota_exceeded": Kind(429, "insufficient_quota", "rate_limit_error", False, "provider"),
    "provider_rate_limited": Kind(429, "rate_limit_error", "rate_limit_error", True, "provider"),
    "provider_overloaded": Kind(503, "service_unavailable_error", "overloaded_error", True, "provider"),
    "provider_error": Kind(502, "server_error", "api_error", True, "provider"),
    "provider_timeout": Kind(504, "server_error", "api_error", True, "provider"),
    "provider_unreachable": Kind(502, "server_error", "api_error", True, "provider"),
    "provider_bad_answer": Kind(502, "server_error", "api_error", True, "provider"),
    "provider_stream_broken": Kind(502, "server_error", "api_error", True, "provider"),
    # The gateway.
    "no_endpoint_available": Kind(503, "service_unavailable_error", "overloaded_error", True, "gateway"),
    "stage_unavailable": Kind(503, "service_unavailable_error", "overloaded_error", True, "gateway"),
    "stage_lost": Kind(502, "server_error", "api_error", True, "gateway"),
    "server_is_overloaded": Kind(503, "service_unavailable_error", "overloaded_error", True, "gateway"),
    "slow_consumer": Kind(503, "server_error", "api_error", True, "gateway"),
    "limits_unavailable": Kind(503, "service_unavailable_error", "api_error", True, "gateway"),
    "audit_unavailable": Kind(503, "service_unavailable_error", "api_error", True, "gateway"),
    "deadline_exceeded": Kind(504, "server_error", "api_error", True, "gateway"),
    "server_error": Kind(500, "server_error", "api_error", True, "gateway"),
}


UNKNOWN_KIND = CATALOGUE["server_error"]  # A code from a newer release than ours.


def kind_of(failure: Failure) -> Kind:
    return CATALOGUE.get(failure.code, UNKNOWN_KIND)


def status_of(failure: Failure) -> int:
    """The HTTP status; a frame cannot make an error look like a success."""
    return failure.status if 400 <= failure.status <= 599 else kind_of(failure).status


class GatewayError(Exception):
    """An operating error that somebody handles. Its message is safe to show: it names the thing and the fix, no payload."""

    def __init__(self, code: str, message: str, *, param: str = "", retry_after_ms: int = 0, status: int = 0) -> None:
        assert code in CATALOGUE, code
        super().__init__(message)
        self.code = code
        self.message = message
        self.param = param
        self.retry_after_ms = retry_after_ms
        self.status = status or CATALOGUE[code].status

    @property
    def retryable(self) -> bool:
        return CATALOGUE[self.code].retryable

    def failure(self, stage: str, *, again: bool = False) -> Failure:
        """The same as a frame; a status that is the catalogue's own is left out."""
        return Failure(
            code=self.code,
            message=self.message,
            param=self.param,
            status=0 if self.status == CATALOGUE[self.code].status else self.status,
            retry_after_ms=self.retry_after_ms,
            stage=stage,
            again=again,
        )


class Unavailable(GatewayError):
    """Something this service depends on does not answer: NATS, JetStream, Redis, Postgres."""


def place(error: BaseException | None) -> str:
    """Where it was raised, for a log line: its words may quote a prompt or a key."""
    trace, where = error.__traceback__ if error is not None else None, "?"
    while trace is not None:
        where = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
        trace = trace.tb_next
    return where
