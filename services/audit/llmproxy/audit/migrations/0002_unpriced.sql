-- A sum over cost_nano_dollars leaves out what nobody has priced: this says where.
CREATE OR REPLACE VIEW ledger_entry AS
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
    encode(ledger.entry_hash, 'hex') AS entry_hash,
    coalesce((said ->> 'unpriced')::boolean, false) AS unpriced
FROM ledger, LATERAL (SELECT convert_from(ledger.record, 'UTF8')::json AS said) AS parsed;
