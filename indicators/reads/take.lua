-- Take jobs for one worker: first those whose worker died, then waiting ones in their turn.
-- Answers a list of {id, how often it was taken, job}.
--
-- KEYS[1]  the queue: sorted set of job ids by their turn
-- KEYS[2]  hash: user to the last turn given to the user; "" to the turn that was taken last
-- KEYS[3]  hash: job id to the job
-- KEYS[4]  jobs that were taken: sorted set by when their worker last said that it holds them, in ms
-- KEYS[5]  hash: job id to how often it was taken
-- KEYS[6]  list that idle workers wait on
-- ARGV[1]  the clock in ms
-- ARGV[2]  jobs that were last held before this, in ms, lost their worker
-- ARGV[3]  how many jobs the worker has places for
-- Each key is looked at: one of another type is an error, upon which the caller removes them all.
redis.call('HLEN', KEYS[2])
redis.call('HLEN', KEYS[3])
redis.call('HLEN', KEYS[5])
redis.call('LLEN', KEYS[6])
local ids = redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', ARGV[2], 'LIMIT', 0, ARGV[3])
if #ids < tonumber(ARGV[3]) then
  local popped = redis.call('ZPOPMIN', KEYS[1], tonumber(ARGV[3]) - #ids)
  for i = 1, #popped, 2 do
    ids[#ids + 1] = popped[i]
    redis.call('HSET', KEYS[2], '', popped[i + 1])
  end
end
if redis.call('EXISTS', KEYS[1]) == 0 then redis.call('DEL', KEYS[2]) end -- nobody waits: turns begin again
local taken = {}
for _, id in ipairs(ids) do
  local job = redis.call('HGET', KEYS[3], id)
  if job then
    redis.call('ZADD', KEYS[4], ARGV[1], id)
    taken[#taken + 1] = {id, redis.call('HINCRBY', KEYS[5], id, 1), job}
  else
    redis.call('ZREM', KEYS[4], id)
    redis.call('HDEL', KEYS[5], id)
  end
end
return taken
