-- Take or renew one lease; answers its fencing number, or 0 while another worker holds it.
--
-- KEYS[1]  the lease: "worker|fence", expires by itself
-- KEYS[2]  the highest fencing number that was ever given out; it never expires
-- ARGV[1]  the worker
-- ARGV[2]  the clock in ms: a new fence is at least this, so that it grows even after a flush of Redis
-- ARGV[3]  how long the lease lasts, in ms
local held = redis.call('GET', KEYS[1])
if held and string.match(held, '^[^|]+') ~= ARGV[1] then return 0 end
if held then
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
  return tonumber(string.match(held, '[^|]+$'))
end
local fence = math.max((tonumber(redis.call('GET', KEYS[2])) or 0) + 1, tonumber(ARGV[2]))
redis.call('SET', KEYS[2], string.format('%.0f', fence))
redis.call('SET', KEYS[1], ARGV[1] .. '|' .. string.format('%.0f', fence), 'PX', ARGV[3])
return fence
