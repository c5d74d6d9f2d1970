-- End a job: store its value (a failure is not stored), release the lock and announce the result, unless another asker
-- has taken the job's place.
--
-- KEYS[1]  where the result is stored
-- KEYS[2]  the lock: holds the token of the job that computes it
-- KEYS[3]  hash: job id to the job
-- KEYS[4]  jobs that were taken: sorted set by when their worker last said that it holds them, in ms
-- KEYS[5]  hash: job id to how often it was taken
-- ARGV[1]  the job's token, which is its id
-- ARGV[2]  how long the value may be read, in ms
-- ARGV[3]  the value to store; empty for a failure, and for a value that is stored already
-- ARGV[4]  the channel of results
-- ARGV[5]  the announcement; empty where there is nobody to tell
local held = redis.pcall('GET', KEYS[2])
if type(held) == 'table' or not held or held == ARGV[1] then
  if ARGV[3] ~= '' then redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[2]) end
  redis.call('DEL', KEYS[2])
  if ARGV[5] ~= '' then redis.call('PUBLISH', ARGV[4], ARGV[5]) end
end
redis.call('HDEL', KEYS[3], ARGV[1])
redis.call('HDEL', KEYS[5], ARGV[1])
return redis.call('ZREM', KEYS[4], ARGV[1])
