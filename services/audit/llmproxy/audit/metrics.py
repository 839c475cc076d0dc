"""The names of what the audit service measures."""

from prometheus_client import Counter, Gauge

RECORDS = Counter("llmproxy_ledger_records", "Records written to the ledger by this instance")
DUPLICATES = Counter("llmproxy_ledger_duplicates", "Records that were there already and were not written again")
SEQUENCE = Gauge("llmproxy_ledger_sequence", "Sequence of the newest entry this instance has written or found")
PRUNED = Counter("llmproxy_ledger_pruned", "Entries that this instance took out of the ledger for their age")
SIGNED = Gauge("llmproxy_ledger_signed_sequence", "Sequence of the newest checkpoint this instance has signed")
WAITING = Gauge(
    "llmproxy_ledger_waiting", "Messages with records that JetStream holds and the ledger does not have yet"
)
BEHIND = Gauge("llmproxy_ledger_behind_seconds", "How long the oldest of them has waited")
WRITING = Gauge("llmproxy_ledger_writing", "1 on the instance that holds the writer's lock")
