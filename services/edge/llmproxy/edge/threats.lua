-- Who is remembered in the threat ledger, for edges that learn it from each other and for operators.
--
--   "K", max                KEYS: indexes                          the names in each: an array for each index, those that stay longest
--   "G"                     KEYS: standings                        the server's time in microseconds, then each standing, or ""
--   "F", name               KEYS: a standing, its index            forgets it
--
-- Time is the server's.

local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local reply = {}
if ARGV[1] == 'K' then
  for i, index in ipairs(KEYS) do
    redis.call('ZREMRANGEBYSCORE', index, '-inf', string.format('%.0f', now))
    redis.call('ZREMRANGEBYRANK', index, 0, -1 - tonumber(ARGV[2]))
    reply[i] = redis.call('ZRANGE', index, 0, -1)
  end
elseif ARGV[1] == 'G' then
  reply[1] = string.format('%.0f', now)
  for i, name in ipairs(KEYS) do reply[i + 1] = redis.call('GET', name) or '' end
else
  reply[1] = redis.call('DEL', KEYS[1])
  redis.call('ZREM', KEYS[2], ARGV[2])
end
return reply
