-- Rate (GCRA) and leased concurrency for many requests and all their dimensions in one call.
--
-- ARGV is a run of operations, KEYS the keys they name, in order:
--   "A", lease_ttl_us, n, m, then n times (emission_us, tolerance_us, concurrency), then m leases    acquire
--        KEYS: for each dimension a rate key when emission_us > 0, then a lease key when concurrency > 0
--   "N", lease, lease_ttl_us, n                                                                      renew n lease keys
--   "R", n, m, then m leases                                                                         release in n lease keys
--
-- Each lease of an acquire answers six integers: allowed, dimension (from 1), kind (1 rate, 2 concurrency, 0 none),
-- retry_after_us, remaining, reset_us, of the dimension that refused, or else of the tightest rate.
-- A refused request consumes nothing in any dimension. Time is the server's.
--
-- A command costs more than a decision, so each key is read once, when it is first asked for, and written once, at the end.

local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local reply = {}
local key, arg = 1, 1
local rates, holders = {}, {}

local function rate(name)
  local found = rates[name]
  if not found then
    found = {arrival = tonumber(redis.call('GET', name) or now), changed = false}
    rates[name] = found
  end
  return found
end

local function holder(name)
  local found = holders[name]
  if not found then
    found = {gone = {}, come = {}, lasting = 0}
    holders[name] = found
  end
  return found
end

local function leave(name, h)
  if #h.gone > 0 then
    redis.call('ZREM', name, unpack(h.gone))
    h.gone = {}
  end
end

local function held(name, h)
  if not h.count then
    leave(name, h)
    redis.call('ZREMRANGEBYSCORE', name, '-inf', now)
    h.count = redis.call('ZCARD', name)
  end
  return h.count
end

local function decide(dimensions, n, lease, ttl)
  local refused, kind, retry = 0, 0, 0
  local tightest, remaining, reset = 0, -1, 0
  for i = 1, n do
    local d = dimensions[i]
    if d.rate then
      local arrival = math.max(d.rate.arrival, now)
      d.next = arrival + d.emission
      local early = arrival - d.tolerance - now
      if early > 0 then
        if refused == 0 or early > retry then refused, kind, retry = i, 1, early end
        if refused == i then remaining, reset = 0, arrival - now end
      elseif refused == 0 then
        local left = math.floor(-early / d.emission)
        if tightest == 0 or left < remaining then tightest, remaining, reset = i, left, d.next - now end
      end
    end
    if d.holder and refused == 0 and held(d.lease_key, d.holder) >= d.concurrency then
      refused, kind, retry = i, 2, 0
      remaining, reset = 0, 0
    end
  end
  if refused == 0 then
    for i = 1, n do
      local d = dimensions[i]
      if d.rate then d.rate.arrival, d.rate.changed = d.next, true end
      if d.holder then
        local h = d.holder
        h.count = h.count + 1
        h.lasting = math.max(h.lasting, ttl)
        h.come[#h.come + 1] = string.format('%.0f', now + ttl)
        h.come[#h.come + 1] = lease
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

local function acquire()
  local ttl, n, m = tonumber(ARGV[arg + 1]), tonumber(ARGV[arg + 2]), tonumber(ARGV[arg + 3])
  arg = arg + 4
  local dimensions = {}
  for i = 1, n do
    local d = {emission = tonumber(ARGV[arg]), tolerance = tonumber(ARGV[arg + 1]), concurrency = tonumber(ARGV[arg + 2])}
    arg = arg + 3
    if d.emission > 0 then
      d.rate = rate(KEYS[key])
      key = key + 1
    end
    if d.concurrency > 0 then
      d.lease_key = KEYS[key]
      d.holder = holder(d.lease_key)
      key = key + 1
    end
    dimensions[i] = d
  end
  for i = arg, arg + m - 1 do decide(dimensions, n, ARGV[i], ttl) end
  arg = arg + m
end

local function renew()
  local lease, ttl, n = ARGV[arg + 1], tonumber(ARGV[arg + 2]), tonumber(ARGV[arg + 3])
  arg = arg + 4
  for _ = 1, n do
    redis.call('ZADD', KEYS[key], 'XX', string.format('%.0f', now + ttl), lease)
    redis.call('PEXPIRE', KEYS[key], math.ceil(ttl / 1000) + 1000)
    key = key + 1
  end
end

local function release()
  local n, m = tonumber(ARGV[arg + 1]), tonumber(ARGV[arg + 2])
  arg = arg + 3
  for _ = 1, n do
    local gone = holder(KEYS[key]).gone
    key = key + 1
    for i = arg, arg + m - 1 do gone[#gone + 1] = ARGV[i] end
  end
  arg = arg + m
end

while arg <= #ARGV do
  local operation = ARGV[arg]
  if operation == 'A' then acquire() elseif operation == 'N' then renew() else release() end
end
for name, r in pairs(rates) do
  if r.changed then
    redis.call('SET', name, string.format('%.0f', r.arrival), 'PX', math.ceil((r.arrival - now) / 1000) + 1000)
  end
end
for name, h in pairs(holders) do
  leave(name, h)
  if #h.come > 0 then
    redis.call('ZADD', name, unpack(h.come))
    redis.call('PEXPIRE', name, math.ceil(h.lasting / 1000) + 1000)
  end
end
return reply
