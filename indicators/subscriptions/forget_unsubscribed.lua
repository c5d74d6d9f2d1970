-- Forget computations that have no subscribers although they count as subscribed to, and keys of another type.
--
-- KEYS[1]  set of the computations that have a subscriber
-- KEYS[2]  hash: computation to when its first subscriber came, in ms
-- KEYS[3]  and the following: the subscribers of each computation, sorted sets of sessions by when they expire
-- ARGV[1]  the channel of changes of KEYS[1]
-- ARGV[2]  and the following: the computations
local dropped = {}
for i = 3, #KEYS do
  local kind = redis.call('TYPE', KEYS[i])['ok']
  if kind ~= 'zset' then
    if kind ~= 'none' then redis.call('DEL', KEYS[i]) end
    redis.call('HDEL', KEYS[2], ARGV[i - 1])
    if redis.call('SREM', KEYS[1], ARGV[i - 1]) == 1 then dropped[#dropped + 1] = ARGV[i - 1] end
  end
end
if #dropped > 0 then redis.call('PUBLISH', ARGV[1], '{"add":[],"drop":' .. cjson.encode(dropped) .. '}') end
return #dropped
