-- Give back the lease of a fetch, share its price, and wake the processes that wait for it.
--
-- KEYS[1]  the price: "ttl_ms JSON", expires by itself
-- KEYS[2]  the lease: the token of whoever fetches
-- KEYS[3]  set of the processes that wait for the fetch
-- ARGV[1]  our token
-- ARGV[2]  the price as JSON; empty when the fetch failed
-- ARGV[3]  how long the price counts, in ms
-- ARGV[4]  how long it counts at most when many wait for it, in ms
-- ARGV[5]  how many callers wait in our process
-- ARGV[6]  so many that wait make the price count twice as long, twice as many three times, and so on
-- ARGV[7]  the channel to announce the fetch on
-- ARGV[8]  the message
--
-- Answers how long the price counts, in ms; -1 when the lease was no longer ours and nothing was written.
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return -1 end
local waiting = redis.call('SCARD', KEYS[3])
local stretch = 1 + math.floor((waiting + ARGV[5]) / ARGV[6])
local ttl = math.min(tonumber(ARGV[4]), math.floor(ARGV[3] * stretch))
if ARGV[2] ~= '' and ttl > 0 then redis.call('SET', KEYS[1], ttl .. ' ' .. ARGV[2], 'PX', ttl) end
redis.call('DEL', KEYS[2], KEYS[3])
if waiting > 0 then redis.call('PUBLISH', ARGV[7], ARGV[8]) end
return ttl
