-- Write the snapshots of a batch of accounts, never an older one over a newer one; answers the positions of the refused.
--
-- Epoch (the fence of the shard's lease) and version stand first in a snapshot. An epoch below the highest fence that was
-- given out for the shard is that of an engine which was paused or lost its lease. Whatever else stands in a key, of
-- whatever type, is replaced: anybody may write there.
--
-- KEYS[1]  the first snapshot; as many as there are sizes in ARGV[3], one per account
-- KEYS[2]  the rest of the snapshots, then the fences of their shards
-- ARGV[1]  seconds after which a snapshot expires; 0: never
-- ARGV[2]  the new snapshots as one text: an argument for each costs the client more than cutting costs Redis
-- ARGV[3]  the length of each snapshot in ARGV[2], with commas
-- ARGV[4]  for each snapshot the place of its fence among KEYS, with commas
-- ARGV[5]  a version so much larger than ours, in ms, is nobody's
local refused, at = {}, 1
local pattern = '^{"epoch":(%d+),"version":(%d+)'
local ttl, text, most_ahead = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[5])
local places, fences = string.gmatch(ARGV[4], '%d+'), {}
local i = 0
for size in string.gmatch(ARGV[3], '%d+') do
  i = i + 1
  local new = string.sub(text, at, at + size - 1)
  at = at + size
  local epoch, version = string.match(new, pattern)
  epoch, version = tonumber(epoch), tonumber(version)
  local head = redis.pcall('GETRANGE', KEYS[i], 0, 63)
  local old_epoch, old_version
  if type(head) == 'string' then old_epoch, old_version = string.match(head, pattern) end
  old_epoch, old_version = tonumber(old_epoch) or 0, tonumber(old_version) or 0
  local place = tonumber(places())
  if fences[place] == nil then fences[place] = tonumber(redis.call('GET', KEYS[place])) or false end
  local fence = fences[place] or old_epoch
  local older = old_epoch == epoch and old_version >= version and old_version - version < most_ahead
  if epoch < fence or older then
    refused[#refused + 1] = i
  elseif ttl > 0 then
    redis.call('SET', KEYS[i], new, 'EX', ttl)
  else
    redis.call('SET', KEYS[i], new)
  end
end
return refused
