"""The scripts around one-shot computations: a lock names who asked for it, and nothing is computed without it.

A cached value may be too old for the market it is of (a replay is faster than any time to live): ``low`` and ``high``
bound the bar that it must belong to, empty where any will do.
"""

_FITS = """
local function fits(value, low, high)
  if not value then return false end
  if low == '' then return true end
  local ok, entry = pcall(cjson.decode, value)
  if not ok or type(entry) ~= 'table' or not tonumber(entry.ts) then return false end
  return entry.ts >= tonumber(low) and entry.ts <= tonumber(high)
end
local function done(jobs, group, id)
  redis.call('XACK', jobs, group, id)
  redis.call('XDEL', jobs, id)
end
"""

# Ask for a value: it may be there by now; else exactly one asker, who takes the lock, puts the job into the queue in the
# same step. Said again it renews the lock, or takes it over from an asker who died.
# KEYS cache lock jobs workers; ARGV token lock_ms alive_since most low high field value...
ASK = (
    _FITS
    + """
local value = redis.call('GET', KEYS[1])
if fits(value, ARGV[5], ARGV[6]) then return {'cached', value} end
local held = redis.call('GET', KEYS[2])
if held == ARGV[1] then
  redis.call('PEXPIRE', KEYS[2], ARGV[2])
  return {'mine'}
end
if held then return {'others'} end
if redis.call('ZCOUNT', KEYS[4], ARGV[3], '+inf') == 0 then return {'nobody'} end
if redis.call('XLEN', KEYS[3]) >= tonumber(ARGV[4]) then return {'full'} end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
redis.call('XADD', KEYS[3], '*', unpack(ARGV, 7))
return {'mine'}
"""
)

# A worker is about to compute: not if it is there by now, nor if somebody else has taken the job's place.
# KEYS cache lock jobs; ARGV token lock_ms low high channel key group id
CLAIM = (
    _FITS
    + """
local value = redis.call('GET', KEYS[1])
local held = redis.call('GET', KEYS[2])
if fits(value, ARGV[3], ARGV[4]) then
  if held == ARGV[1] then redis.call('DEL', KEYS[2]) end
  redis.call('PUBLISH', ARGV[5], '{"key":' .. cjson.encode(ARGV[6]) .. ',"value":' .. value .. '}')
  done(KEYS[3], ARGV[7], ARGV[8])
  return 0
end
if held and held ~= ARGV[1] then
  done(KEYS[3], ARGV[7], ARGV[8])
  return 0
end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
return 1
"""
)

# The outcome: a value is stored, a failure is not; both are told to all who wait.
# KEYS cache lock jobs; ARGV token ttl value channel message group id
FINISH = (
    _FITS
    + """
local held = redis.call('GET', KEYS[2])
if not held or held == ARGV[1] then
  if ARGV[3] ~= '' then redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[2]) end
  redis.call('DEL', KEYS[2])
  redis.call('PUBLISH', ARGV[4], ARGV[5])
end
done(KEYS[3], ARGV[6], ARGV[7])
return 1
"""
)

# A worker that is still computing says so. KEYS lock jobs; ARGV token lock_ms group consumer id
RENEW = """
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
redis.call('XCLAIM', KEYS[2], ARGV[3], ARGV[4], 0, ARGV[5], 'JUSTID')
return 1
"""
