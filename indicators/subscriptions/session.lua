-- The beginning of each script that changes what one session subscribes to.
--
-- KEYS[1]  the session, a hash: "v" its version, "ended", "ws" its socket, "seen" and "c:COMPUTATION" when it was last alive
-- KEYS[2]  set of the computations that have a subscriber
-- KEYS[3]  hash: computation to when its first subscriber came, in ms
-- KEYS[4]  and the following: the subscribers of each computation, sorted sets of sessions by when they expire, in ms
-- ARGV[1]  the channel of changes of KEYS[2]
-- ARGV[2]  the session as a member of the sorted sets
-- ARGV[3]  the clock in ms
-- The last ARGV are a text with one mark per computation, and the computations of KEYS[4] and the following. The session
-- may have no others: where it has, the answer is "changed", and the caller tries again with those that it has now.
local count = #KEYS - 3
local marks = ARGV[#ARGV - count]
local added, dropped, known = {}, {}, {}

local function name(i) return ARGV[#ARGV - count + i] end
local function mark(i) return tonumber(string.sub(marks, i, i)) end

local function leave(i)
  redis.call('HDEL', KEYS[1], 'c:' .. name(i))
  redis.call('ZREM', KEYS[3 + i], ARGV[2])
  if redis.call('EXISTS', KEYS[3 + i]) == 0 then
    redis.call('HDEL', KEYS[3], name(i))
    if redis.call('SREM', KEYS[2], name(i)) == 1 then dropped[#dropped + 1] = name(i) end
  end
end

local function announce()
  local function list(names) return #names == 0 and '[]' or cjson.encode(names) end
  if #added + #dropped == 0 then return end
  redis.call('PUBLISH', ARGV[1], '{"add":' .. list(added) .. ',"drop":' .. list(dropped) .. '}')
end

for i = 1, count do
  known['c:' .. name(i)] = true
  local kind = redis.call('TYPE', KEYS[3 + i])['ok']
  if kind ~= 'zset' and kind ~= 'none' then redis.call('DEL', KEYS[3 + i]) end -- nobody of ours wrote it
end
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  if string.sub(field, 1, 2) == 'c:' and not known[field] then return 'changed' end
end
