-- Appends one message to the inboxes of many receivers of one tenant and wakes the processes that hold them.
-- KEYS: payload, ended, one stream a receiver. An inbox's other keys are <stream>:meta, :ids, :keys and :holders; they
-- are in the same slot by their hash tag. ended is a hash of what left inboxes unacknowledged and is not reported yet.
-- ARGV: 1 restoring (0/1), 2 now ms, 3 epoch for new inboxes, 4 longest inbox, 5 entry's expiry ms, 6 keys live until ms,
-- 7 message, 8 mode, 9 frame, 10 metadata, 11 payload lives until ms, 12 wake channel's prefix, 13 tenant,
-- 14 collapse key or empty, 15 its version, 16 connection that does not get it or empty, 17 longest frame in a wake-up;
-- then for each receiver: name, delivery, round, group.
-- A wake-up is JSON: {tenant, grown: [receiver, epoch, offset, group, ...], id, frame, expires, excluded}, the last four
-- only where the frame is not too long and nothing is put back.
-- Returns {run_id, {}, {offset, epoch, ...}, entries of ended}, offset 0 where a newer message of the collapse key was
-- there before; or {run_id, {receiver, ...}}, nothing appended, where inboxes are lost.
local FIXED, EACH, STREAMS = 17, 4, 3
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
local restoring, now, longest = ARGV[1] == '1', tonumber(ARGV[2]), tonumber(ARGV[4])
local ended, collapse_key, version = KEYS[2], ARGV[14], tonumber(ARGV[15])

local function receiver_at(i) return FIXED + (i - STREAMS) * EACH + 1 end

if not restoring then
  local lost = {}
  for i = STREAMS, #KEYS do
    local known = redis.call('HMGET', KEYS[i] .. ':meta', 'run_id', 'restoring')
    if known[1] ~= run or known[2] then table.insert(lost, ARGV[receiver_at(i)]) end
  end
  if #lost > 0 then return {run, lost} end
end

if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('HSET', KEYS[1], 'frame', ARGV[9], 'metadata', ARGV[10])
  redis.call('PEXPIREAT', KEYS[1], ARGV[11])
else
  redis.call('PEXPIREAT', KEYS[1], ARGV[11], 'GT')
end

local function offset_of(id) return string.match(id, '-(%d+)$') end

local function fields_of(entry)
  local fields = {}
  for i = 1, #entry[2], 2 do fields[entry[2][i]] = entry[2][i + 1] end
  return fields
end

local function report(receiver, fields, reason)
  local fact = {receiver, reason, fields.m, fields.d, fields.r, fields.t, fields.g, fields.x}
  redis.call('HSET', ended, fields.d .. ':' .. fields.r, cjson.encode(fact))
end

-- An entry leaves; what nobody has acknowledged and what has not expired leaves with a reason.
local function drop(stream, receiver, entry, reason)
  local fields, offset = fields_of(entry), offset_of(entry[1])
  redis.call('XDEL', stream, entry[1])
  redis.call('HDEL', stream .. ':ids', fields.d .. ':' .. fields.r)
  if fields.k and string.match(redis.call('HGET', stream .. ':keys', fields.k) or '', '^%d+') == offset then
    redis.call('HDEL', stream .. ':keys', fields.k)
  end
  local acked = tonumber(redis.call('HGET', stream .. ':meta', 'acked'))
  if tonumber(offset) > acked and tonumber(fields.x) > now then report(receiver, fields, reason) end
  return offset
end

local function trim(stream, receiver)
  local function oldest(count) return redis.call('XRANGE', stream, '-', '+', 'COUNT', count) end
  local function cut(entry, reason)
    redis.call('HSET', stream .. ':meta', 'floor', drop(stream, receiver, entry, reason))
  end
  local surplus = redis.call('XLEN', stream) - longest
  if surplus > 0 then
    for _, entry in ipairs(oldest(surplus)) do cut(entry, 'inbox_overflow') end
  end
  for _, entry in ipairs(oldest(10)) do
    if tonumber(entry[2][2]) > now then break end
    cut(entry, '')
  end
end

local function keep(stream)
  local last = string.format('%.0f', math.max(redis.call('PEXPIRETIME', stream .. ':meta'), tonumber(ARGV[6])))
  for _, name in ipairs({stream, stream .. ':meta', stream .. ':ids', stream .. ':keys'}) do
    redis.call('PEXPIREAT', name, last)
  end
end

-- Whether a newer message of the collapse key is there; an older one leaves.
local function outdated(stream, receiver)
  local known = redis.call('HGET', stream .. ':keys', collapse_key)
  if not known then return false end
  local offset, newest = string.match(known, '^(%d+) (%d+)$')
  if version < tonumber(newest) then return true end
  for _, entry in ipairs(redis.call('XRANGE', stream, '0-' .. offset, '0-' .. offset)) do
    drop(stream, receiver, entry, 'replaced')
  end
  return false
end

local answers, woken = {}, {}
for i = STREAMS, #KEYS do
  local stream, at = KEYS[i], receiver_at(i)
  local meta, ids = stream .. ':meta', stream .. ':ids'
  local receiver, delivery, round, group = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  local field = delivery .. ':' .. round
  if redis.call('HGET', meta, 'run_id') ~= run then
    redis.call('DEL', stream, meta, ids, stream .. ':keys')
    redis.call('HSET', meta, 'run_id', run, 'epoch', ARGV[3], 'floor', 0, 'acked', 0, 'last', 0, 'restoring', 1)
  end
  local offset, epoch = redis.call('HGET', ids, field), redis.call('HGET', meta, 'epoch')
  if not offset and collapse_key ~= '' and outdated(stream, receiver) then
    offset = '0'
    if restoring then
      report(receiver, {m = ARGV[7], d = delivery, r = round, t = ARGV[8], g = group, x = ARGV[5]}, 'replaced')
    end
  elseif not offset then
    -- x and s come first: they are read by their places.
    local fields = {'x', ARGV[5], 's', #ARGV[9], 'm', ARGV[7], 'd', delivery, 'r', round, 't', ARGV[8], 'g', group}
    for name, value in pairs({k = collapse_key, e = ARGV[16]}) do
      if value ~= '' then
        table.insert(fields, name)
        table.insert(fields, value)
      end
    end
    offset = offset_of(redis.call('XADD', stream, '0-*', unpack(fields)))
    redis.call('HSET', ids, field, offset)
    redis.call('HSET', meta, 'last', offset)
    if collapse_key ~= '' then redis.call('HSET', stream .. ':keys', collapse_key, offset .. ' ' .. ARGV[15]) end
    trim(stream, receiver)
    keep(stream)
    for _, process in ipairs(redis.call('ZRANGEBYSCORE', stream .. ':holders', '(' .. ARGV[2], '+inf')) do
      local grown = woken[process] or {}
      local size = #grown
      grown[size + 1], grown[size + 2], grown[size + 3], grown[size + 4] = receiver, epoch, offset, group
      woken[process] = grown
    end
  end
  table.insert(answers, offset)
  table.insert(answers, epoch)
end
for process, grown in pairs(woken) do
  local wake = {tenant = ARGV[13], grown = grown}
  if not restoring and #ARGV[9] <= tonumber(ARGV[17]) then
    wake.id, wake.frame, wake.expires, wake.excluded = ARGV[7], ARGV[9], ARGV[5], ARGV[16]
  end
  redis.call('PUBLISH', ARGV[12] .. process, cjson.encode(wake))
end
local unreported = redis.call('HLEN', ended)
if unreported > 0 then redis.call('PEXPIREAT', ended, ARGV[6], 'GT') redis.call('PEXPIREAT', ended, ARGV[6], 'NX') end
return {run, {}, answers, unreported}
