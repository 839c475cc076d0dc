-- The circuits that all routers share, of endpoints and of models. One hash each: generation (counts closings),
-- open_until (0: closed), probe_until and probe (the lease, and whose it is). Times are this server's own, in milliseconds.
--
-- KEYS[1] is the set of the names of all circuits that have a hash, the others are circuits. ARGV[1] says what to do with
-- them, their names are the last arguments; every change is a compare-and-set, so routers that ask for the same one agree:
--   list                       nothing; replies with the names, no key but the first
--   read                       nothing; never takes a lease
--   open     generation ms     closed -> open
--   lease    probe ms          half-open and free -> one probe, of all that are open or of none
--   close    generation        open -> closed
--   reopen   probe ms          the leased probe failed
--   release  probe             the leased probe said nothing
--
-- Replies with five integers per circuit: changed, generation, is open, ms until half-open, ms left of the lease.

local KEEP_MS = 86400000 -- A circuit nobody has touched for a day is closed.
local NAMES_MAX = 1024 -- Models at an endpoint for all of them are called what callers like. Others are shared by outcomes alone.

local what = ARGV[1]
if what == 'list' then
  return redis.call('SMEMBERS', KEYS[1])
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local reply = {}

local function state(key)
  local stored = redis.call('HMGET', key, 'generation', 'open_until', 'probe_until', 'probe')
  return tonumber(stored[1] or 0), tonumber(stored[2] or 0), tonumber(stored[3] or 0), stored[4] or '', stored[1]
end

local is_free = true
if what == 'lease' then
  for at = 2, #KEYS do
    local _, open_until, probe_until = state(KEYS[at])
    is_free = is_free and (open_until == 0 or (open_until <= now and probe_until <= now))
  end
end

for at = 2, #KEYS do
  local key, name = KEYS[at], ARGV[#ARGV - #KEYS + at]
  local generation, open_until, probe_until, probe, is_known = state(key)
  local is_open = open_until > 0
  local changed = 0

  if what == 'open' then
    if not is_open and generation == tonumber(ARGV[2]) then
      open_until, probe_until, probe, changed = now + tonumber(ARGV[3]), 0, '', 1
    end
  elseif what == 'lease' then
    if is_open and is_free then
      probe, probe_until, changed = ARGV[2], now + tonumber(ARGV[3]), 1
    end
  elseif what == 'close' then
    if is_open and generation == tonumber(ARGV[2]) then
      generation, open_until, probe_until, probe, changed = generation + 1, 0, 0, '', 1
    end
  elseif what == 'reopen' then
    if is_open and probe == ARGV[2] then
      open_until, probe_until, probe, changed = now + tonumber(ARGV[3]), 0, '', 1
    end
  elseif what == 'release' then
    if is_open and probe == ARGV[2] then
      probe_until, probe, changed = 0, '', 1
    end
  end

  if changed == 1 then
    redis.call('HSET', key, 'generation', generation, 'open_until', open_until, 'probe_until', probe_until, 'probe', probe)
    redis.call('PEXPIRE', key, KEEP_MS)
    local is_of_model = string.find(name, '/', 1, true)
    if not is_of_model or redis.call('SCARD', KEYS[1]) < NAMES_MAX then
      redis.call('SADD', KEYS[1], name)
    end
  elseif what == 'read' and not is_known then
    redis.call('SREM', KEYS[1], name)
  end
  reply[#reply + 1] = changed
  reply[#reply + 1] = generation
  reply[#reply + 1] = open_until > 0 and 1 or 0
  reply[#reply + 1] = math.max(open_until - now, 0)
  reply[#reply + 1] = math.max(probe_until - now, 0)
end

return reply
