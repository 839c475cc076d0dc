"""The ways to ask a provider in the form of an API: its adapter, an API of its own, or the caller's API told as a chat."""

from collections.abc import Callable, Mapping

from llmproxy.common.envelope import Api
from llmproxy.common.errors import GatewayError
from llmproxy.provider_workers.adapters import DEMO
from llmproxy.provider_workers.adapters.base import Adapter
from llmproxy.provider_workers.callers import CALLERS
from llmproxy.provider_workers.callers.composed import Composed, ComposedLocal, Local
from llmproxy.provider_workers.lenient import Lenient
from llmproxy.provider_workers.natives import count_tokens
from llmproxy.provider_workers.wire import Answer, Origin, Wire

LOCAL: Mapping[Api, Callable[[bytes, Origin], Answer]] = {"count_tokens": count_tokens.estimated}
"""APIs that are answered here where the provider has none of the kind."""


def wire(adapter: Adapter, api: Api, *, lenient: bool = False) -> Wire | None:
    """How this adapter is asked in the form of `api`; None when it cannot be. `lenient`: parameters may be left out."""
    if api == "chat":
        return Lenient(adapter) if lenient else adapter
    native = adapter.natives.get(api)
    if native is not None:
        return Lenient(native) if lenient else native
    caller = CALLERS.get(api)
    if caller is None:
        return None
    return Lenient(Composed(caller, Lenient(adapter))) if lenient else Composed(caller, adapter)


def demo(api: Api) -> Local:
    """The same for the demo provider, which is not called."""
    if api == "chat":
        return DEMO
    caller = CALLERS.get(api)
    if caller is None:
        raise unserved(api, DEMO.name)
    return ComposedLocal(caller, DEMO)


def unserved(api: Api, endpoint: str) -> GatewayError:
    return GatewayError("unsupported_endpoint", f"endpoint '{endpoint}' does not serve {api}; use another model")
