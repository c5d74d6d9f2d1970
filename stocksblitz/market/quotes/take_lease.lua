-- Take the lease for fetching one price, unless the price is there or another process fetches it.
--
-- KEYS[1]  the price: "ttl_ms JSON", expires by itself
-- KEYS[2]  the lease: the token of whoever fetches, expires by itself
-- KEYS[3]  set of the processes that wait for the fetch
-- ARGV[1]  our token
-- ARGV[2]  how long the lease lasts, in ms
-- ARGV[3]  our process
--
-- Answers {0}: the lease is ours; {1, price, ms left}: here is a price; {2, '', ms left}: another process fetches.
-- A script that a lost connection made run twice finds its own token and answers that the lease is ours.
local price = redis.call('GET', KEYS[1])
if price then return {1, price, redis.call('PTTL', KEYS[1])} end
if redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2]) then return {0} end
if redis.call('GET', KEYS[2]) == ARGV[1] then return {0} end
redis.call('SADD', KEYS[3], ARGV[3])
redis.call('PEXPIRE', KEYS[3], ARGV[2])
return {2, '', redis.call('PTTL', KEYS[2])}
