-- The circuits that all routers share. One hash per endpoint: generation (counts closings), open_until (0: closed),
-- probe_until and probe (the lease, and whose it is). Times are this server's own, in milliseconds.
--
-- ARGV[1] says what to do with KEYS; every change is a compare-and-set, so routers that ask for the same one agree:
--   read                       nothing; never takes a lease
--   open     generation ms     closed -> open
--   lease    probe ms          half-open and free -> one probe
--   close    generation        open -> closed
--   reopen   probe ms          the leased probe failed
--   release  probe             the leased probe said nothing
--
-- Replies with five integers per key: changed, generation, is open, ms until half-open, ms left of the lease.

local KEEP_MS = 86400000 -- A circuit nobody has touched for a day is closed.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local what = ARGV[1]
local reply = {}

for _, key in ipairs(KEYS) do
  local stored = redis.call('HMGET', key, 'generation', 'open_until', 'probe_until', 'probe')
  local generation = tonumber(stored[1] or 0)
  local open_until = tonumber(stored[2] or 0)
  local probe_until = tonumber(stored[3] or 0)
  local probe = stored[4] or ''
  local is_open = open_until > 0
  local changed = 0

  if what == 'open' then
    if not is_open and generation == tonumber(ARGV[2]) then
      open_until, probe_until, probe, changed = now + tonumber(ARGV[3]), 0, '', 1
    end
  elseif what == 'lease' then
    if is_open and open_until <= now and probe_until <= now then
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
  end
  reply[#reply + 1] = changed
  reply[#reply + 1] = generation
  reply[#reply + 1] = open_until > 0 and 1 or 0
  reply[#reply + 1] = math.max(open_until - now, 0)
  reply[#reply + 1] = math.max(probe_until - now, 0)
end

return reply
