-- Renew the computations that a client names (mark 1), each if it has not expired; answers 1 or 0 for each of them.
--
-- KEYS[1]  the session; the others as in session.lua
-- ARGV[2]  the session as a member of the sorted sets
-- ARGV[3]  the clock in ms
-- ARGV[4]  how long a subscription lasts without a sign of life, in ms
-- ARGV[5]  how much longer the session's version is remembered, in ms
local alive = {}
for i = 1, count do
  if mark(i) == 1 then
    local expires = tonumber(redis.call('ZSCORE', KEYS[3 + i], ARGV[2]) or '0')
    if expires > tonumber(ARGV[3]) then
      redis.call('ZADD', KEYS[3 + i], ARGV[3] + ARGV[4], ARGV[2])
      redis.call('HSET', KEYS[1], 'c:' .. name(i), ARGV[3], 'seen', ARGV[3])
      alive[#alive + 1] = 1
    else
      alive[#alive + 1] = 0
    end
  end
end
redis.call('PEXPIRE', KEYS[1], ARGV[4] + ARGV[5])
return alive
