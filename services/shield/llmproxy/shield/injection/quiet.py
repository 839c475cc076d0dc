"""At a glance: which texts are so harmless that nobody needs their probability."""

from msgspec import Struct

from llmproxy.shield.injection.windows import Worst


class Quiet(Struct, frozen=True):
    """`Quiet` of native/sweep.c. A text without signatures is less likely than anybody wants to know if its worst window and `weight` of
    all of it, or of `least`, are below; in steps of a window's weight."""

    below: float
    weight: float
    least: float

    def holds(self, worst: Worst) -> bool:
        return worst[0] + self.weight * max(self.least, worst[5]) < self.below


NOTHING_IS_QUIET = Quiet(float("-inf"), 0.0, 0.0)
