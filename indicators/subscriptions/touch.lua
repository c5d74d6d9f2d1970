-- Renew all that a session has: its socket is alive. Answers 1, or 0 for a session that has ended or is not there.
--
-- KEYS[1]  the session; the others as in session.lua
-- ARGV[2]  the session as a member of the sorted sets
-- ARGV[3]  the clock in ms
-- ARGV[4]  how long a subscription lasts without a sign of life, in ms
-- ARGV[5]  how much longer the session's version is remembered, in ms
if redis.call('HGET', KEYS[1], 'ended') ~= '0' then return 0 end
for i = 1, count do redis.call('ZADD', KEYS[3 + i], ARGV[3] + ARGV[4], ARGV[2]) end
redis.call('HSET', KEYS[1], 'seen', ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4] + ARGV[5])
return 1
