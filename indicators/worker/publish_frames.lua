-- Publish the frames of one step of a stream; answers 1, or 0 for a worker whose fence is lower than one already seen.
--
-- KEYS[1]  the highest fence that has written
-- KEYS[2]  the log of closed frames, a list
-- KEYS[3]  the newest frame
-- KEYS[4]  how far the stream has been published
-- ARGV[1]  the worker's fence
-- ARGV[2]  how far the stream has been published
-- ARGV[3]  how many frames the log keeps
-- ARGV[4]  time to live of all keys in ms; 0: none
-- ARGV[5]  the channel of the stream
-- ARGV[6]  how many of the frames go into the log: the first ones
-- ARGV[7]  and the following: the frames, in order
local mine, held = tonumber(ARGV[1]), tonumber(redis.call('GET', KEYS[1]) or '0') or 0
if mine < held then return 0 end
if mine > held then redis.call('SET', KEYS[1], ARGV[1]) end
local logged = tonumber(ARGV[6])
for i = 7, #ARGV do
  if i < 7 + logged then redis.call('RPUSH', KEYS[2], ARGV[i]) end
  redis.call('PUBLISH', ARGV[5], ARGV[i])
end
if logged > 0 then redis.call('LTRIM', KEYS[2], -tonumber(ARGV[3]), -1) end
redis.call('SET', KEYS[3], ARGV[#ARGV])
redis.call('SET', KEYS[4], ARGV[2])
if ARGV[4] ~= '0' then
  for i = 1, 4 do redis.call('PEXPIRE', KEYS[i], ARGV[4]) end
end
return 1
