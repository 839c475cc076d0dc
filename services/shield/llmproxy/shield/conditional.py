"""What a step of ring 2 is that not every policy wants."""

from llmproxy.common.policy import Policy


class Conditional:
    """A step that has nothing to do under some policies."""

    def is_wanted(self, policy: Policy) -> bool:
        raise NotImplementedError
