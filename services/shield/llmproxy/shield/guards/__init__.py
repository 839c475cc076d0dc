"""The guards that come with the shield, in the order in which they run."""

from time import perf_counter

from llmproxy.shield.guards.base import Guard
from llmproxy.shield.guards.injection import Injection
from llmproxy.shield.guards.language import Language
from llmproxy.shield.guards.links import Links
from llmproxy.shield.guards.pii import Pii
from llmproxy.shield.guards.presidio import Presidio
from llmproxy.shield.guards.rules import Rules
from llmproxy.shield.guards.secrets import Secrets
from llmproxy.shield.guards.topics import Topics

GUARDS: tuple[Guard, ...] = (
    Secrets(),
    Pii(),
    Presidio(),
    Rules(),
    Topics(),
    Links(),
    Language(),
    Injection(perf_counter),
)
