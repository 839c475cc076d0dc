-- The ledger. `record` holds the bytes exactly as they were hashed; the six columns from `id` to `verdict` are there to search
-- by, and `audit verify` compares each with what the bytes say.
CREATE TABLE ledger (
    seq        bigint PRIMARY KEY CHECK (seq > 0),
    id         text   NOT NULL,
    at_ms      bigint NOT NULL,
    tenant     text   NOT NULL,
    key        text   NOT NULL,
    model      text   NOT NULL,
    verdict    text   NOT NULL,
    record     bytea  NOT NULL,
    prev_hash  bytea  NOT NULL CHECK (length(prev_hash) = 32),
    entry_hash bytea  NOT NULL CHECK (length(entry_hash) = 32),
    CONSTRAINT ledger_id_once UNIQUE (id)
);

CREATE INDEX ledger_by_tenant ON ledger (tenant, seq);
CREATE INDEX ledger_by_key ON ledger (key, seq);
CREATE INDEX ledger_by_time ON ledger USING brin (at_ms);

-- For people with psql: every field, derived from the hashed bytes, so there is no second copy to keep honest.
CREATE VIEW ledger_entry AS
SELECT
    ledger.seq,
    ledger.id,
    to_timestamp(ledger.at_ms / 1000.0) AS at,
    ledger.verdict,
    ledger.tenant,
    ledger.key,
    ledger.model,
    said ->> 'principal' AS principal,
    said ->> 'api' AS api,
    said ->> 'endpoint' AS endpoint,
    said ->> 'provider' AS provider,
    said ->> 'provider_model' AS provider_model,
    coalesce((said ->> 'status')::integer, 0) AS status,
    said ->> 'code' AS code,
    coalesce((said ->> 'masked')::boolean, false) AS masked,
    said -> 'findings' AS findings,
    coalesce((said ->> 'input_tokens')::bigint, 0) AS input_tokens,
    coalesce((said ->> 'output_tokens')::bigint, 0) AS output_tokens,
    coalesce((said ->> 'cost')::bigint, 0) AS cost_nano_dollars,
    coalesce((said ->> 'latency_ms')::bigint, 0) AS latency_ms,
    said ->> 'action' AS action,
    said ->> 'subject' AS subject,
    said AS record,
    encode(ledger.entry_hash, 'hex') AS entry_hash
FROM ledger, LATERAL (SELECT convert_from(ledger.record, 'UTF8')::json AS said) AS parsed;
