-- Reserve the time of one call to a provider (generic cell rate algorithm); nobody has to poll, and nobody races.
--
-- KEYS[1]  when the next call would be due if calls came evenly, in µs of Redis's clock; expires by itself
-- ARGV[1]  the time between two calls, in µs
-- ARGV[2]  how many calls may come at once
-- ARGV[3]  the longest wait, in µs
--
-- Answers how long to wait before the call, in µs; -1 when that is too long, and then nothing was reserved.
local interval, burst, most = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local due = math.max(tonumber(redis.call('GET', KEYS[1])) or 0, now)
local wait = math.max(0, due - now - (burst - 1) * interval)
if wait > most then return -1 end
local after = due + interval
redis.call('SET', KEYS[1], string.format('%.0f', after), 'PX', math.ceil((after - now) / 1000) + 1000)
return wait
