-- Make a session have exactly these computations at one version of it; a lower version changes nothing.
-- Answers the live subscribers of each counted computation, before and after in turn.
--
-- KEYS[1]  the session; KEYS[2], KEYS[3] and the following as in session.lua
-- ARGV[2]  the session as a member of the sorted sets
-- ARGV[3]  the clock in ms
-- ARGV[4]  the version; below 0: whatever version there is
-- ARGV[5]  how long a subscription lasts without a sign of life, in ms
-- ARGV[6]  how much longer the session's version is remembered, in ms
-- ARGV[7]  1 for a session that has ended, else 0
-- ARGV[8]  the session's socket, or empty
-- ARGV[9]  1: renew what the session has already; 0: leave it its time
-- Marks: 0 the session does not have the computation, 1 it has; 2 and 3 the same, and its subscribers are counted.
local version, stored = tonumber(ARGV[4]), tonumber(redis.call('HGET', KEYS[1], 'v') or '-1')
local now, ttl = tonumber(ARGV[3]), tonumber(ARGV[5])
local counts = {}

local function add_counts(offset)
  local place = offset
  for i = 1, count do
    if mark(i) >= 2 then
      counts[place] = redis.call('ZCOUNT', KEYS[3 + i], '(' .. ARGV[3], '+inf')
      place = place + 2
    end
  end
end

local function join(i)
  if ARGV[9] == '1' then
    redis.call('ZADD', KEYS[3 + i], now + ttl, ARGV[2])
  else
    redis.call('ZADD', KEYS[3 + i], 'NX', now + ttl, ARGV[2])
  end
  redis.call('HSETNX', KEYS[1], 'c:' .. name(i), ARGV[3])
  if redis.call('SADD', KEYS[2], name(i)) == 1 then
    redis.call('HSETNX', KEYS[3], name(i), ARGV[3])
    added[#added + 1] = name(i)
  end
end

add_counts(1)
if version < 0 then version = stored end
if version >= stored then
  for i = 1, count do
    if mark(i) % 2 == 1 then join(i) else leave(i) end
  end
  redis.call('HSET', KEYS[1], 'v', version, 'ended', ARGV[7], 'ws', ARGV[8])
  if ARGV[9] == '1' then redis.call('HSET', KEYS[1], 'seen', ARGV[3]) end
  redis.call('PEXPIRE', KEYS[1], ttl + tonumber(ARGV[6]))
  announce()
end
add_counts(2)
return counts
