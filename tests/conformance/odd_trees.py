"""JSON that nobody would send: a sample with parts of it replaced, moved or taken away, and what a translation makes of it."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any

from hypothesis import strategies as st

from llmproxy.common.errors import GatewayError

ODD = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
ITSELF = object()
ODD_OR_ITSELF = ODD | st.just(ITSELF)
"""What a part of a tree is replaced with; made once, for Hypothesis checks each strategy that it has not seen."""


def attempt(step: Callable[[], Any]) -> Any:
    """What it gives, or the error that it refuses with."""
    try:
        return step()
    except GatewayError as error:
        return error


def places(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON tree."""
    steps = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [path, *(place for step, inner in steps for place in places(inner, (*path, step)))]


@st.composite
def mutated(draw: st.DrawFn, trees: Sequence[Any]) -> Any:
    """A sample with a few subtrees replaced, moved or taken away."""
    tree = deepcopy(draw(st.sampled_from(trees)))
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(places(tree)))
        if not path:
            continue
        parent = tree
        for step in path[:-1]:
            parent = parent[step]
        if isinstance(parent, dict) and draw(st.booleans()):
            del parent[path[-1]]
        else:
            new = draw(ODD_OR_ITSELF)
            parent[path[-1]] = deepcopy(tree) if new is ITSELF else new
    return tree
