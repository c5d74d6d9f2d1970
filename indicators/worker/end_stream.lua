-- Remove a stream that has ended: what is left of it would only be old. Answers 0 for a worker whose fence is too low.
--
-- KEYS[1]  the highest fence that has written
-- KEYS[2]  the log of closed frames
-- KEYS[3]  the newest frame
-- KEYS[4]  how far the stream has been published
-- ARGV[1]  the worker's fence
if tonumber(ARGV[1]) < (tonumber(redis.call('GET', KEYS[1]) or '0') or 0) then return 0 end
return redis.call('DEL', KEYS[2], KEYS[3], KEYS[4])
