"""Every metric of the shield. Kinds are names of rules, never what they matched."""

from prometheus_client import Counter, Gauge

FINDINGS = Counter(
    "llmproxy_shield_findings", "What guards found in requests and, as answer.<kind>, in answers", ["kind"]
)
WEIGHED = Counter("llmproxy_shield_weighed", "Texts in doubt that the embedding model was asked about", ["opinion"])
JUDGED = Counter("llmproxy_shield_judged", "Texts in doubt that a judge was asked about", ["opinion"])
CONVERSATIONS = Counter(
    "llmproxy_shield_conversations", "Conversations of which something was, or could not be, remembered", ["outcome"]
)
MASKED = Counter("llmproxy_shield_masked", "Requests that went on masked")
REFUSED = Counter("llmproxy_shield_refused", "Requests that did not go on, by error code", ["code"])
OFFLOADED = Counter("llmproxy_shield_offloaded", "Bodies examined in another process because of their size")
SESSIONS = Gauge("llmproxy_shield_sessions", "Answers on their way back that are unmasked or read")
STOPPED = Counter("llmproxy_shield_answers_stopped", "Answers that could not go on, by error code", ["code"])
EXPIRED = Counter("llmproxy_shield_sessions_expired", "Answers given up at the deadline of their request")
