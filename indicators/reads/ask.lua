-- Ask for one computation: it may be stored by now; else exactly one asker takes the lock and puts the job into the
-- queue in the same step. Asked again, it renews the lock, or takes it over from an asker that died.
-- Answers {"stored", value}, {"mine"}, {"others"}, {"nobody"} (no worker is alive) or {"full"}.
--
-- KEYS[1]  where the result is stored
-- KEYS[2]  the lock: holds the token of the job that computes it
-- KEYS[3]  the queue: sorted set of job ids by their turn
-- KEYS[4]  hash: user to the last turn given to the user; "" to the turn that was taken last
-- KEYS[5]  hash: job id to the job
-- KEYS[6]  list that idle workers wait on
-- KEYS[7]  sorted set of workers by their last heartbeat in ms
-- ARGV[1]  the token, which is the job's id
-- ARGV[2]  how long the lock lasts, in ms
-- ARGV[3]  workers whose heartbeat is older than this, in ms, count as dead
-- ARGV[4]  how many jobs may wait
-- ARGV[5]  the user: users take turns, so that many jobs of one do not hold up the others'
-- ARGV[6]  the job
-- ARGV[7]  a stored value that the asker cannot use; it counts as none
local function text(key)
  local value = redis.pcall('GET', key)
  if type(value) ~= 'table' then return value end
  redis.call('DEL', key) -- of another type: nobody of ours wrote it
  return false
end
local taken = tonumber(redis.call('HGET', KEYS[4], '') or '0')
local turn = math.max(taken, tonumber(redis.call('HGET', KEYS[4], ARGV[5]) or '0')) + 1
local function give_turn(id)
  redis.call('HSET', KEYS[4], ARGV[5], turn)
  redis.call('ZADD', KEYS[3], turn, id)
end

local value = text(KEYS[1])
if value and value ~= ARGV[7] then return {'stored', value} end
local held = text(KEYS[2])
if held == ARGV[1] then
  redis.call('PEXPIRE', KEYS[2], ARGV[2])
  return {'mine'}
end
if held then
  -- A lock of ours never lasts longer; whoever holds it and is alive renews it.
  local left = redis.call('PTTL', KEYS[2])
  if left < 0 or left > tonumber(ARGV[2]) then redis.call('PEXPIRE', KEYS[2], ARGV[2]) end
  -- A job that waits in a later turn than this user would get comes in this one.
  local waits = redis.call('ZSCORE', KEYS[3], held)
  if waits and turn < tonumber(waits) then give_turn(held) end
  return {'others'}
end
if redis.call('ZCOUNT', KEYS[7], ARGV[3], '+inf') == 0 then return {'nobody'} end
if redis.call('ZCARD', KEYS[3]) >= tonumber(ARGV[4]) then return {'full'} end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
redis.call('HSET', KEYS[5], ARGV[1], ARGV[6])
give_turn(ARGV[1])
redis.call('RPUSH', KEYS[6], 1)
redis.call('LTRIM', KEYS[6], -64, -1)
return {'mine'}
