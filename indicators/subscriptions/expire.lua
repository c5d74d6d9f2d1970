-- Remove the expired subscriptions of a session. Answers its version and the computations that it lost.
--
-- KEYS[1]  the session; the others as in session.lua
-- ARGV[2]  the session as a member of the sorted sets
-- ARGV[3]  the clock in ms
local lost = {redis.call('HGET', KEYS[1], 'v') or '-1'}
for i = 1, count do
  local expires = redis.call('ZSCORE', KEYS[3 + i], ARGV[2])
  if not expires or tonumber(expires) <= tonumber(ARGV[3]) then
    leave(i)
    lost[#lost + 1] = name(i)
  end
end
announce()
return lost
