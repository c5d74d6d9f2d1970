-- Add what one process has counted; answers 1, or 0 for a push that was counted already.
--
-- KEYS[1]  hash of counters: series to value
-- KEYS[2]  hash of sums over all labels: series without labels to value
-- KEYS[3]  sorted set of series of single indicators, scored by their last change (ms)
-- KEYS[4]  the number of the process's last push
-- ARGV[1]  the number of this push: one that is sent again after a lost answer counts once
-- ARGV[2]  the time, in ms
-- then for each series ARGV[i], ARGV[i + 1] and ARGV[i + 2]: the series, its sum's series or '', the difference
if tonumber(redis.call('GET', KEYS[4]) or '0') >= tonumber(ARGV[1]) then return 0 end
redis.call('SET', KEYS[4], ARGV[1], 'EX', 3600)
for i = 3, #ARGV, 3 do
  redis.call('HINCRBYFLOAT', KEYS[1], ARGV[i], ARGV[i + 2])
  if ARGV[i + 1] ~= '' then
    redis.call('HINCRBYFLOAT', KEYS[2], ARGV[i + 1], ARGV[i + 2])
    redis.call('ZADD', KEYS[3], ARGV[2], ARGV[i])
  end
end
return 1
