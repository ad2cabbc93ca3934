"""The Lua scripts of the subscription index: each is atomic, so that it sees one generation throughout.

Key names are built inside from a prefix that holds the tenant's hash tag: all of them live in the slot of KEYS[1].

    <base>at                        marker "<run_id of the server>:<generation>": that generation is complete
    <base>building                  the generation that a rebuild is filling
    <base>generations               set of every generation that may have keys
    <base><generation>:names        set of the (encoded) names of its receivers
    <base><generation>:groups       set of the (encoded) names of its groups
    <base><generation>:a:<receiver> hash: "" -> version (negative once deleted), channel -> [[address, hash, reason]]
    <base><generation>:s:<receiver> set of "<group id>:<channel>"
    <base><generation>:c:<group>    hash: version, id, channels (",sms,email," or "" for all)
    <base><generation>:suppressed   set of the (encoded) "<channel>/<hash>" of its suppressions
    <base><generation>:x:<channel>/<hash>       hash: version, reason
    <base><generation>:g:<group id>:<channel>   sorted set of receiver names, all with score 0
"""

_TARGETS = """
local base, target = ARGV[1], ARGV[2]
local generations = {}
local building = redis.call('GET', KEYS[2])
if target ~= '' then
  if building ~= target then return -1 end
  generations[1] = target
else
  local marker = redis.call('GET', KEYS[1])
  if marker then generations[1] = string.match(marker, ':(%w+)$') end
  if building then generations[#generations + 1] = building end
end
"""

# KEYS: marker, building. ARGV: base, target, encoded name, version, "1" when deleted, name, n, n fields and values,
# memberships. An older version than the stored one changes nothing: the answer is the stored one, else 0.
APPLY_RECEIVER = (
    _TARGETS
    + """
local tail, version, deleted, name, count = ARGV[3], ARGV[4], ARGV[5] == '1', ARGV[6], tonumber(ARGV[7])
local newer = 0
for _, generation in ipairs(generations) do
  local root = base .. generation
  local addresses, memberships = root .. ':a:' .. tail, root .. ':s:' .. tail
  local stored = math.abs(tonumber(redis.call('HGET', addresses, '') or '0'))
  if stored > tonumber(version) then
    newer = math.max(newer, stored)
  else
    local wanted = {}
    for i = 8 + count, #ARGV do wanted[ARGV[i]] = true end
    for _, member in ipairs(redis.call('SMEMBERS', memberships)) do
      if not wanted[member] then
        redis.call('ZREM', root .. ':g:' .. member, name)
        redis.call('SREM', memberships, member)
      end
    end
    for member in pairs(wanted) do
      redis.call('ZADD', root .. ':g:' .. member, 0, name)
      redis.call('SADD', memberships, member)
    end
    redis.call('DEL', addresses)
    if deleted then
      redis.call('HSET', addresses, '', '-' .. version)
      redis.call('EXPIRE', addresses, 3600)
      redis.call('SREM', root .. ':names', tail)
    else
      redis.call('HSET', addresses, '', version)
      for i = 8, 7 + count, 2 do redis.call('HSET', addresses, ARGV[i], ARGV[i + 1]) end
      redis.call('SADD', root .. ':names', tail)
    end
  end
end
return newer
"""
)

# KEYS: marker, building. ARGV: base, target, encoded name, version, "1" when deleted, id, channels.
APPLY_GROUP = (
    _TARGETS
    + """
local tail, version, deleted = ARGV[3], ARGV[4], ARGV[5] == '1'
local newer = 0
for _, generation in ipairs(generations) do
  local group = base .. generation .. ':c:' .. tail
  local stored = tonumber(redis.call('HGET', group, 'version') or '0')
  if stored > tonumber(version) then
    newer = math.max(newer, stored)
  else
    redis.call('DEL', group)
    redis.call('HSET', group, 'version', version)
    if deleted then
      redis.call('EXPIRE', group, 3600)
      redis.call('SREM', base .. generation .. ':groups', tail)
    else
      redis.call('HSET', group, 'id', ARGV[6], 'channels', ARGV[7])
      redis.call('SADD', base .. generation .. ':groups', tail)
    end
  end
end
return newer
"""
)

# KEYS: marker, building. ARGV: base, target, encoded name, version, "1" when lifted, reason.
APPLY_SUPPRESSION = (
    _TARGETS
    + """
local tail, version, lifted = ARGV[3], ARGV[4], ARGV[5] == '1'
local newer = 0
for _, generation in ipairs(generations) do
  local key, names = base .. generation .. ':x:' .. tail, base .. generation .. ':suppressed'
  local stored = tonumber(redis.call('HGET', key, 'version') or '0')
  if stored > tonumber(version) then
    newer = math.max(newer, stored)
  else
    redis.call('DEL', key)
    redis.call('HSET', key, 'version', version)
    if lifted then
      redis.call('EXPIRE', key, 3600)
      redis.call('SREM', names, tail)
    else
      redis.call('HSET', key, 'reason', ARGV[6])
      redis.call('SADD', names, tail)
    end
  end
end
return newer
"""
)

# The first lines of every read: false (nothing) when the marker is not of this server's run.
_VALID = """
local marker = redis.call('GET', KEYS[1])
if not marker then return false end
local run, generation = string.match(marker, '^(%w+):(%w+)$')
if run ~= string.match(redis.call('INFO', 'server'), 'run_id:(%w+)') then return false end
local root = ARGV[1] .. generation
local function group_key(tail, channel)
  local found = redis.call('HMGET', root .. ':c:' .. tail, 'id', 'channels')
  if not found[1] then return nil end
  if found[2] ~= '' and not string.find(found[2], ',' .. channel .. ',', 1, true) then return nil end
  return root .. ':g:' .. found[1] .. ':' .. channel
end
"""

VALID = _VALID + "return generation"

# ARGV: base, encoded group, channel, smallest name, count
EXPAND = (
    _VALID
    + """
local key = group_key(ARGV[2], ARGV[3])
if not key then return {} end
return redis.call('ZRANGEBYLEX', key, ARGV[4], '+', 'LIMIT', 0, ARGV[5])
"""
)

# ARGV: base, channel, encoded group or "", n, n encoded suppressions, then encoded name and name of each receiver.
# The reasons of the suppressions; then three values a receiver: known, its addresses on the channel or nothing,
# subscribed.
RESOLVE = (
    _VALID
    + """
local key = ARGV[3] ~= '' and group_key(ARGV[3], ARGV[2]) or nil
local count, reasons = tonumber(ARGV[4]), {}
for i = 5, 4 + count do reasons[#reasons + 1] = redis.call('HGET', root .. ':x:' .. ARGV[i], 'reason') end
local found = {reasons}
for i = 5 + count, #ARGV, 2 do
  local values = redis.call('HMGET', root .. ':a:' .. ARGV[i], '', ARGV[2])
  local known = values[1] and string.sub(values[1], 1, 1) ~= '-'
  found[#found + 1] = known and 1 or 0
  found[#found + 1] = values[2]
  found[#found + 1] = key and redis.call('ZSCORE', key, ARGV[i + 1]) and 1 or 0
end
return found
"""
)

# ARGV: base, channel, n, n encoded groups, then receivers' names. For each whether one of the groups has it.
MEMBERS = (
    _VALID
    + """
local found, groups, count = {}, {}, tonumber(ARGV[3])
for i = 4, 3 + count do groups[#groups + 1] = group_key(ARGV[i], ARGV[2]) end
for i = 4 + count, #ARGV do
  local member = 0
  for _, key in ipairs(groups) do
    if member == 0 and redis.call('ZSCORE', key, ARGV[i]) then member = 1 end
  end
  found[#found + 1] = member
end
return found
"""
)

# ARGV: base, encoded names. For each receiver its channels, or nothing when it is not known.
CHANNELS_OF_RECEIVERS = (
    _VALID
    + """
local found = {}
for i = 2, #ARGV do
  local fields, known = redis.call('HGETALL', root .. ':a:' .. ARGV[i]), false
  local channels = {}
  for j = 1, #fields, 2 do
    if fields[j] ~= '' then channels[#channels + 1] = fields[j]
    else known = string.sub(fields[j + 1], 1, 1) ~= '-' end
  end
  found[#found + 1] = known and channels
end
return found
"""
)

# ARGV: base, n, n channels, encoded names. For each group its channels with subscribers, or nothing when not known.
CHANNELS_OF_GROUPS = (
    _VALID
    + """
local found, count = {}, tonumber(ARGV[2])
for i = 3 + count, #ARGV do
  local channels = redis.call('HEXISTS', root .. ':c:' .. ARGV[i], 'id') == 1 and {}
  for j = 3, 2 + count do
    local key = channels and group_key(ARGV[i], ARGV[j])
    if key and redis.call('EXISTS', key) == 1 then channels[#channels + 1] = ARGV[j] end
  end
  found[#found + 1] = channels
end
return found
"""
)

# ARGV: base, n, n channels, most, encoded names. For each group and channel: how many, and the first.
SUBSCRIBERS_OF_GROUPS = (
    _VALID
    + """
local found, count = {}, tonumber(ARGV[2])
for i = 4 + count, #ARGV do
  for j = 3, 2 + count do
    local key = group_key(ARGV[i], ARGV[j])
    found[#found + 1] = key and redis.call('ZCARD', key) or 0
    found[#found + 1] = key and redis.call('ZRANGEBYLEX', key, '-', '+', 'LIMIT', 0, ARGV[3 + count]) or {}
  end
end
return found
"""
)

# KEYS: marker, building. ARGV: the generation just filled, the marker that makes it the valid one.
FLIP = """
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
redis.call('DEL', KEYS[2])
return 1
"""

# KEYS: lock. ARGV: token, milliseconds (0 gives it back). Only the holder's token does anything.
LEASE = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[2] == '0' then return redis.call('DEL', KEYS[1]) end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""
