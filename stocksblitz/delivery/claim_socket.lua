-- Count one more socket of a user, or renew one; answers 1, or 0 when the user has all the sockets allowed.
--
-- KEYS[1]  hash of the user's sockets: connection id to the web process that holds it
-- KEYS[2]  sorted set of the web processes, scored by the time (ms) of their last heartbeat
-- ARGV[1]  a process whose last heartbeat is older than this (ms) is dead, and its sockets count no more
-- ARGV[2]  how many sockets a user may have
-- ARGV[3]  the connection id
-- ARGV[4]  the process that holds it
-- ARGV[5]  how long the hash is kept, in ms
-- ARGV[6]  the connection whose place it takes, or ''
local held = redis.call('HGETALL', KEYS[1])
local count = 0
for i = 1, #held, 2 do
  local connection, process = held[i], held[i + 1]
  local beat = process == ARGV[4] and ARGV[1] or redis.call('ZSCORE', KEYS[2], process)
  if not beat or tonumber(beat) < tonumber(ARGV[1]) then
    redis.call('HDEL', KEYS[1], connection)
  elseif connection ~= ARGV[3] and connection ~= ARGV[6] then
    count = count + 1
  end
end
if count >= tonumber(ARGV[2]) then return 0 end
redis.call('HDEL', KEYS[1], ARGV[6])
redis.call('HSET', KEYS[1], ARGV[3], ARGV[4])
redis.call('PEXPIRE', KEYS[1], ARGV[5])
return 1
