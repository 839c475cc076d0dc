-- Rate (GCRA) and leased concurrency for many requests and all their dimensions in one call.
--
-- ARGV is a run of operations, KEYS the keys they name, in order:
--   "A", lease_ttl_us, n, m, k, then n times (emission_us, tolerance_us, concurrency), then m leases, then k leases
--        KEYS: for each dimension a rate key when emission_us > 0, then a lease key when concurrency > 0   acquire m, and k beforehand
--   "U", n, k, then n times (emission_us, tolerance_us, concurrency), then k leases                  give back k taken beforehand
--        KEYS: as above
--   "N", lease, lease_ttl_us, n                                                                      renew n lease keys
--   "R", n, m, then m leases                                                                         release in n lease keys
--   "S", half_life_us, throttle, lock, share, emission_us, burst, shrink, gate, mode, n              who stands behind the next acquire
--        KEYS: n standings, the most specific first; mode 1: they are told of, 2: slowed, 3: refused while locked
--   "W", half_life_us, throttle, lock, share, forgotten, weight, name                                weigh a request that was bad
--        KEYS: the standing, and the index of those that are remembered, by when they will be forgotten
--
-- Each lease of an acquire answers seven integers: allowed, dimension (from 1), kind (1 rate, 2 concurrency, 3 throttled, 4 locked,
-- 0 none), retry_after_us, remaining, reset_us, of what refused, or else of the tightest rate; and 0, or (whose standing, from 1) * 2
-- + (0 throttled, 1 locked), also where nobody is refused for it. A refused request consumes nothing. Time is the server's.
-- After those of an acquire with k > 0: k or 0, for all of them or none are taken, and none where less than ROOM times as many would be
-- left under any limit; then the tightest dimension, remaining and reset_us as above, as they are once the k are used.
--
-- A standing is "score requests at_us locked arrival_us". The laws are those of common/threats.py (docs/adr/0023).
--
-- A command costs more than a decision, so each key is read once, when it is first asked for, and written once, at the end.

local ROOM = 8

local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local reply = {}
local key, arg = 1, 1
local rates, holders = {}, {}
local ledger, is_judged = nil, false

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

local function go(h, first, last)
  local gone, count = h.gone, #h.gone
  for i = first, last do
    count = count + 1
    gone[count] = ARGV[i]
  end
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

-- The threat ledger's part. Made when somebody is asked about, or weighed: nearly never, and nobody else pays for it.
local function open_ledger()
  local standings, suspects, terms = {}, {}, nil

  local function standing(name, half_life)
    local found = standings[name]
    if not found then
      found = {score = 0, requests = 0, locked = false, arrival = now, half_life = half_life, changed = false}
      local kept = redis.call('GET', name)
      if kept then
        local score, requests, at, locked, arrival = string.match(kept, '^(%S+) (%S+) (%S+) (%S+) (%S+)$')
        local left = 0.5 ^ (math.max(0, now - tonumber(at)) / half_life)
        found.score, found.requests = tonumber(score) * left, tonumber(requests) * left
        found.locked, found.arrival = locked == '1', tonumber(arrival)
      end
      standings[name] = found
    end
    return found
  end

  -- How the next request of this caller is met: 0 as any other, 1 slowed, 2 refused; and for how long.
  local function met(s)
    if s.locked and s.score > terms.throttle and terms.mode ~= 2 then
      return 2, s.half_life * math.log(s.score / terms.throttle) / math.log(2)
    end
    if s.score < terms.throttle or s.score < terms.share * s.requests then return 0, 0 end
    local depth = math.min(1, (s.score - terms.throttle) / (terms.lock - terms.throttle))
    local arrival = math.max(s.arrival, now)
    local early = arrival - terms.emission * (terms.burst - 1) - now  -- The burst shrinks with the rate.
    if early > 0 then return 1, early end
    s.next = arrival + terms.emission * terms.shrink ^ depth
    return 0, 0
  end

  local function judge()
    local met_as, wait, who = 0, 0, 0
    for i, s in ipairs(suspects) do
      s.next = nil
      -- A key answers for the other keys of its principal only when it stands out itself.
      if i == 1 or suspects[1].score >= terms.gate * terms.throttle then
        local as, so_long = met(s)
        if as > met_as or (as == met_as and so_long > wait) then met_as, wait, who = as, so_long, i end
      end
    end
    return met_as, wait, who
  end

  local function pass()
    for _, s in ipairs(suspects) do
      if s.score > 0 then
        s.requests, s.arrival, s.changed = s.requests + 1, s.next or s.arrival, true
      end
    end
  end

  local function suspect()
    local half_life, n = tonumber(ARGV[arg + 1]), tonumber(ARGV[arg + 10])
    terms = {
      throttle = tonumber(ARGV[arg + 2]),
      lock = tonumber(ARGV[arg + 3]),
      share = tonumber(ARGV[arg + 4]),
      emission = tonumber(ARGV[arg + 5]),
      burst = tonumber(ARGV[arg + 6]),
      shrink = tonumber(ARGV[arg + 7]),
      gate = tonumber(ARGV[arg + 8]),
      mode = tonumber(ARGV[arg + 9]),
    }
    arg = arg + 11
    suspects, is_judged = {}, true
    for i = 1, n do
      suspects[i] = standing(KEYS[key], half_life)
      key = key + 1
    end
  end

  local function weigh()
    local s = standing(KEYS[key], tonumber(ARGV[arg + 1]))
    local throttle, lock, share = tonumber(ARGV[arg + 2]), tonumber(ARGV[arg + 3]), tonumber(ARGV[arg + 4])
    s.forgotten, s.index, s.name, s.changed = tonumber(ARGV[arg + 5]), KEYS[key + 1], ARGV[arg + 7], true
    local is_locked = s.locked and s.score > throttle
    local score = s.score + tonumber(ARGV[arg + 6])
    -- Never above `lock`, so that being refused ends after a time that is known beforehand; the share stays what it is.
    s.score = math.min(lock, score)
    s.requests = math.max(s.score, s.requests * s.score / score)
    s.locked = is_locked or (s.score >= lock and s.score >= share * s.requests)
    key, arg = key + 2, arg + 8
  end

  local function write()
    for name, s in pairs(standings) do
      if s.changed then
        local kept = string.format('%.9f %.9f %.0f %d %.0f', s.score, s.requests, now, s.locked and 1 or 0, s.arrival)
        if s.index then
          local ttl = s.half_life * math.log(s.score / s.forgotten) / math.log(2)
          if ttl > 0 then
            redis.call('SET', name, kept, 'PX', math.ceil(ttl / 1000))
            redis.call('ZADD', s.index, string.format('%.0f', now + ttl), s.name)
          end
        else
          redis.call('SET', name, kept, 'KEEPTTL')
        end
      end
    end
  end

  return {
    judge = judge,
    pass = pass,
    refuses = function() return terms.mode > 1 end,
    suspect = suspect,
    weigh = weigh,
    write = write,
  }
end

local function decide(dimensions, n, lease, ttl, lasts_until)
  local refused, kind, retry = 0, 0, 0
  local met_as, wait, who = 0, 0, 0
  if is_judged then
    met_as, wait, who = ledger.judge()
    if met_as > 0 and ledger.refuses() then refused, kind, retry = n + who, 2 + met_as, wait end
  end
  local tightest, remaining, reset = 0, -1, 0
  for i = 1, n do
    local d = dimensions[i]
    if d.rate then
      local arrival = math.max(d.rate.arrival, now)
      d.next = arrival + d.emission
      local early = arrival - d.tolerance - now
      if early > 0 then
        if refused == 0 or (kind < 3 and early > retry) then refused, kind, retry = i, 1, early end
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
    if is_judged then ledger.pass() end
    for i = 1, n do
      local d = dimensions[i]
      if d.rate then d.rate.arrival, d.rate.changed = d.next, true end
      if d.holder then
        local h = d.holder
        h.count = h.count + 1
        h.lasting = math.max(h.lasting, ttl)
        h.come[#h.come + 1] = lasts_until
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
  reply[base + 7] = met_as > 0 and who * 2 + met_as - 1 or 0
end

local function read_dimensions(n)
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
  return dimensions
end

-- What is left when `k` more have passed, and of which dimension; nil where that is too little.
local function room(dimensions, n, k)
  local tightest, remaining, reset = 0, 0, 0
  for i = 1, n do
    local d = dimensions[i]
    if d.rate then
      local arrival = math.max(d.rate.arrival, now) + k * d.emission
      local left = math.floor((now + d.tolerance + d.emission - arrival) / d.emission)
      if left < ROOM * k then return nil end
      if tightest == 0 or left < remaining then tightest, remaining, reset = i, left, arrival - now end
    end
    if d.holder and d.concurrency - held(d.lease_key, d.holder) - k < ROOM * k then return nil end
  end
  return tightest, remaining, reset
end

local function take_beforehand(dimensions, n, k, ttl, lasts_until)
  local tightest, remaining, reset = room(dimensions, n, k)
  if tightest then
    for _, d in ipairs(dimensions) do
      if d.rate then
        d.rate.arrival, d.rate.changed = math.max(d.rate.arrival, now) + k * d.emission, true
      end
      if d.holder then
        local h = d.holder
        h.count, h.lasting = h.count + k, math.max(h.lasting, ttl)
        local come, last = h.come, #h.come
        for i = arg, arg + k - 1 do
          come[last + 1], come[last + 2] = lasts_until, ARGV[i]
          last = last + 2
        end
      end
    end
  end
  local base = #reply
  reply[base + 1] = tightest and k or 0
  reply[base + 2] = tightest or 0
  reply[base + 3] = remaining or 0
  reply[base + 4] = math.ceil(reset or 0)
end

local function acquire()
  local ttl, n = tonumber(ARGV[arg + 1]), tonumber(ARGV[arg + 2])
  local m, k = tonumber(ARGV[arg + 3]), tonumber(ARGV[arg + 4])
  arg = arg + 5
  local dimensions = read_dimensions(n)
  local lasts_until = string.format('%.0f', now + ttl)
  for i = arg, arg + m - 1 do decide(dimensions, n, ARGV[i], ttl, lasts_until) end
  is_judged = false
  arg = arg + m
  if k > 0 then
    take_beforehand(dimensions, n, k, ttl, lasts_until)
    arg = arg + k
  end
end

local function give_back()
  local n, k = tonumber(ARGV[arg + 1]), tonumber(ARGV[arg + 2])
  arg = arg + 3
  for _, d in ipairs(read_dimensions(n)) do
    if d.rate then
      d.rate.arrival, d.rate.changed = math.max(now, d.rate.arrival - k * d.emission), true
    end
    if d.holder then go(d.holder, arg, arg + k - 1) end
  end
  arg = arg + k
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
    go(holder(KEYS[key]), arg, arg + m - 1)
    key = key + 1
  end
  arg = arg + m
end

while arg <= #ARGV do
  local operation = ARGV[arg]
  if operation == 'A' then
    acquire()
  elseif operation == 'U' then
    give_back()
  elseif operation == 'R' then
    release()
  elseif operation == 'N' then
    renew()
  else
    ledger = ledger or open_ledger()
    if operation == 'S' then ledger.suspect() else ledger.weigh() end
  end
end
for name, r in pairs(rates) do
  if r.changed then
    redis.call('SET', name, string.format('%.0f', r.arrival), 'PX', math.ceil((r.arrival - now) / 1000) + 1000)
  end
end
if ledger then ledger.write() end
for name, h in pairs(holders) do
  leave(name, h)
  if #h.come > 0 then
    redis.call('ZADD', name, unpack(h.come))
    redis.call('PEXPIRE', name, math.ceil(h.lasting / 1000) + 1000)
  end
end
return reply
