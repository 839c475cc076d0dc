-- name: try_lock
SELECT pg_try_advisory_lock($1)

-- name: head
SELECT seq, entry_hash FROM ledger ORDER BY seq DESC LIMIT 1

-- name: entry_hash_at
SELECT entry_hash FROM ledger WHERE seq = $1

-- name: known_ids
SELECT id FROM ledger WHERE id = ANY($1::text[])

-- name: walk
SELECT seq, id, at_ms, tenant, key, model, verdict, record, prev_hash, entry_hash FROM ledger ORDER BY seq

-- name: page
SELECT seq, record, entry_hash
FROM ledger
WHERE ($1::bigint IS NULL OR seq < $1)
    AND ($2::bigint IS NULL OR at_ms >= $2)
    AND ($3::bigint IS NULL OR at_ms < $3)
    AND ($4::text IS NULL OR tenant = $4)
    AND ($5::text IS NULL OR key = $5)
    AND ($6::text IS NULL OR model = $6)
    AND ($7::text IS NULL OR verdict = $7)
    AND ($9::text IS NULL OR id = $9)
ORDER BY seq DESC
LIMIT $8

-- name: oldest
SELECT seq, id, at_ms, tenant, key, model, verdict, record, prev_hash, entry_hash FROM ledger ORDER BY seq LIMIT $1

-- name: forget
DELETE FROM ledger WHERE seq <= $1
