-- A worker is about to compute a job. Answers {"mine", the stored result or ""}, or {"lost"} when another asker has
-- taken the job's place.
--
-- KEYS[1]  where the result is stored
-- KEYS[2]  the lock: holds the token of the job that computes it
-- ARGV[1]  the job's token
-- ARGV[2]  how long the lock lasts, in ms
local function text(key)
  local value = redis.pcall('GET', key)
  if type(value) ~= 'table' then return value end
  redis.call('DEL', key) -- of another type: nobody of ours wrote it
  return false
end
local held = text(KEYS[2])
if held and held ~= ARGV[1] then return {'lost'} end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
return {'mine', text(KEYS[1]) or ''}
