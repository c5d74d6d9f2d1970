-- Give back one lease; answers 1, or 0 when the worker did not hold it.
--
-- KEYS[1]  the lease: "worker|fence"
-- ARGV[1]  the worker
local held = redis.call('GET', KEYS[1])
if held and string.match(held, '^[^|]+') == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
