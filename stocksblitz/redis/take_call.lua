-- Take one call of a rate limit; answers the µs after which it may be made (generic cell rate algorithm).
-- A negative answer refuses the call, which then counts nothing: so many µs until one would be accepted.
--
-- KEYS[1]  the moment, in µs of Redis's own clock, at which the next call is due if calls come evenly; expires by itself
-- ARGV[1]  µs between two calls
-- ARGV[2]  calls that may come at once
-- ARGV[3]  the longest wait that is accepted, in µs
local interval, burst, longest = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local due = math.max(tonumber(redis.call('GET', KEYS[1])) or 0, now)
local wait = math.max(0, due - now - (burst - 1) * interval)
if wait > longest then return longest - wait end
local after = due + interval
redis.call('SET', KEYS[1], string.format('%.0f', after), 'PX', math.ceil((after - now) / 1000) + 1)
return wait
