-- Rate (GCRA) and leased concurrency for many requests and all their dimensions in one call.
--
-- ARGV is a run of operations, KEYS the keys they name, in order:
--   "A", lease, lease_ttl_us, n, then n times (emission_us, tolerance_us, concurrency)   acquire
--        KEYS: for each dimension a rate key when emission_us > 0, then a lease key when concurrency > 0
--   "N", lease, lease_ttl_us, n                                                          renew n lease keys
--   "R", lease, n                                                                        release n lease keys
--
-- Each acquire answers six integers: allowed, dimension (from 1), kind (1 rate, 2 concurrency, 0 none),
-- retry_after_us, remaining, reset_us, of the dimension that refused, or else of the tightest rate.
-- A refused request consumes nothing in any dimension. Time is the server's.

local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local reply = {}
local key, arg = 1, 1

local function acquire(lease, ttl, n)
  local dimensions = {}
  local refused, kind, retry = 0, 0, 0
  local tightest, remaining, reset = 0, -1, 0
  for i = 1, n do
    local emission, tolerance, concurrency = tonumber(ARGV[arg]), tonumber(ARGV[arg + 1]), tonumber(ARGV[arg + 2])
    arg = arg + 3
    local d = {emission = emission, concurrency = concurrency}
    if emission > 0 then
      d.rate_key = KEYS[key]
      key = key + 1
      local arrival = math.max(tonumber(redis.call('GET', d.rate_key) or now), now)
      d.next = arrival + emission
      local early = d.next - tolerance - emission - now
      if early > 0 then
        if refused == 0 or early > retry then refused, kind, retry = i, 1, early end
        if refused == i then remaining, reset = 0, arrival - now end
      elseif refused == 0 then
        local left = math.floor(-early / emission)
        if tightest == 0 or left < remaining then tightest, remaining, reset = i, left, d.next - now end
      end
    end
    if concurrency > 0 then
      d.lease_key = KEYS[key]
      key = key + 1
      redis.call('ZREMRANGEBYSCORE', d.lease_key, '-inf', now)
      if refused == 0 and redis.call('ZCARD', d.lease_key) >= concurrency then
        refused, kind, retry = i, 2, 0
        remaining, reset = 0, 0
      end
    end
    dimensions[i] = d
  end
  if refused == 0 then
    for i = 1, n do
      local d = dimensions[i]
      if d.rate_key then
        redis.call('SET', d.rate_key, string.format('%.0f', d.next), 'PX', math.ceil((d.next - now) / 1000) + 1000)
      end
      if d.lease_key then
        redis.call('ZADD', d.lease_key, string.format('%.0f', now + ttl), lease)
        redis.call('PEXPIRE', d.lease_key, math.ceil(ttl / 1000) + 1000)
      end
    end
  end
  local base = #reply
  reply[base + 1] = refused == 0 and 1 or 0
  reply[base + 2] = refused == 0 and tightest or refused
  reply[base + 3] = refused == 0 and (tightest > 0 and 1 or 0) or kind
  reply[base + 4] = math.ceil(retry)
  reply[base + 5] = math.max(remaining, 0)
  reply[base + 6] = math.ceil(reset)
end

while arg <= #ARGV do
  local operation, lease = ARGV[arg], ARGV[arg + 1]
  if operation == 'A' then
    local ttl, n = tonumber(ARGV[arg + 2]), tonumber(ARGV[arg + 3])
    arg = arg + 4
    acquire(lease, ttl, n)
  elseif operation == 'N' then
    local ttl, n = tonumber(ARGV[arg + 2]), tonumber(ARGV[arg + 3])
    arg = arg + 4
    for _ = 1, n do
      redis.call('ZADD', KEYS[key], 'XX', string.format('%.0f', now + ttl), lease)
      redis.call('PEXPIRE', KEYS[key], math.ceil(ttl / 1000) + 1000)
      key = key + 1
    end
  else
    local n = tonumber(ARGV[arg + 2])
    arg = arg + 3
    for _ = 1, n do
      redis.call('ZREM', KEYS[key], lease)
      key = key + 1
    end
  end
end
return reply
