"""How a group orders its targets: one strategy a file, all of one signature."""

from collections.abc import Callable, Sequence

from llmproxy.common.config import Strategy
from llmproxy.common.envelope import Attempt
from llmproxy.router.choose.failover import failover
from llmproxy.router.choose.round_robin import round_robin

Choose = Callable[[Sequence[Attempt], int], list[Attempt]]
"""Those that can be called now, and how many requests the route has had before this one -> the order to try them in."""

STRATEGIES: dict[Strategy, Choose] = {"failover": failover, "round_robin": round_robin}
