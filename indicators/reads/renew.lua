-- A worker says that it still holds its jobs, and renews their locks.
--
-- KEYS[1]  jobs that were taken: sorted set by when their worker last said that it holds them, in ms
-- KEYS[2]  and the following: the lock of each job
-- ARGV[1]  the clock in ms
-- ARGV[2]  how long a lock lasts, in ms
-- ARGV[3]  and the following: the token of each job, which is its id
for i = 3, #ARGV do
  redis.call('ZADD', KEYS[1], 'XX', ARGV[1], ARGV[i])
  local lock = KEYS[i - 1]
  if redis.pcall('GET', lock) == ARGV[i] then redis.call('PEXPIRE', lock, ARGV[2]) end
end
return #ARGV - 2
