-- Renew the lease of a fetch that still runs; answers 1, or 0 when the lease is no longer ours.
--
-- KEYS[1]  the lease: the token of whoever fetches
-- KEYS[2]  set of the processes that wait for the fetch
-- ARGV[1]  our token
-- ARGV[2]  how long the lease lasts, in ms
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('PEXPIRE', KEYS[2], ARGV[2])
return 1
