-- A socket dropped: its session expires sooner. Answers 1, or 0 when another socket is the session's current one by now.
--
-- KEYS[1]  the session; the others as in session.lua
-- ARGV[2]  the session as a member of the sorted sets
-- ARGV[4]  when the session expires, in ms
-- ARGV[5]  the socket that dropped
if redis.call('HGET', KEYS[1], 'ws') ~= ARGV[5] then return 0 end
redis.call('HSET', KEYS[1], 'ws', '')
for i = 1, count do redis.call('ZADD', KEYS[3 + i], 'XX', 'LT', ARGV[4], ARGV[2]) end
return 1
