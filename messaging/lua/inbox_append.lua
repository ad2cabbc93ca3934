-- Appends one message to the inboxes of many receivers of one tenant and wakes the processes that hold them.
-- KEYS: payload, one stream a receiver. An inbox's other keys are <stream>:meta, :ids and :holders; they are
-- in the same slot by their hash tag.
-- ARGV: 1 restoring (0/1), 2 now ms, 3 epoch for new inboxes, 4 longest inbox, 5 entry's expiry ms, 6 keys live until ms,
-- 7 message, 8 mode, 9 frame, 10 metadata, 11 payload lives until ms, 12 wake channel's prefix, 13 tenant;
-- then for each receiver: name, delivery, round, group.
-- Returns {run_id, {}, {offset, epoch, ...}}, or {run_id, {receiver, ...}}, nothing appended, where inboxes are lost.
local FIXED, EACH = 13, 4
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
local restoring, now, longest = ARGV[1] == '1', tonumber(ARGV[2]), tonumber(ARGV[4])

if not restoring then
  local lost = {}
  for i = 2, #KEYS do
    local known = redis.call('HMGET', KEYS[i] .. ':meta', 'run_id', 'restoring')
    if known[1] ~= run or known[2] then table.insert(lost, ARGV[FIXED + (i - 2) * EACH + 1]) end
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

local function drop(stream, entry)
  local fields = {}
  for i = 1, #entry[2], 2 do fields[entry[2][i]] = entry[2][i + 1] end
  redis.call('XDEL', stream, entry[1])
  redis.call('HDEL', stream .. ':ids', fields.d .. ':' .. fields.r)
  redis.call('HSET', stream .. ':meta', 'floor', offset_of(entry[1]))
end

local function trim(stream)
  local surplus = redis.call('XLEN', stream) - longest
  if surplus > 0 then
    for _, entry in ipairs(redis.call('XRANGE', stream, '-', '+', 'COUNT', surplus)) do drop(stream, entry) end
  end
  for _, entry in ipairs(redis.call('XRANGE', stream, '-', '+', 'COUNT', 10)) do
    if tonumber(entry[2][2]) > now then break end
    drop(stream, entry)
  end
end

local function keep(stream)
  local last = math.max(redis.call('PEXPIRETIME', stream .. ':meta'), tonumber(ARGV[6]))
  for _, name in ipairs({stream, stream .. ':meta', stream .. ':ids'}) do
    redis.call('PEXPIREAT', name, string.format('%.0f', last))
  end
end

local answers, woken = {}, {}
for i = 2, #KEYS do
  local stream, at = KEYS[i], FIXED + (i - 2) * EACH
  local meta, ids = stream .. ':meta', stream .. ':ids'
  local receiver, field = ARGV[at + 1], ARGV[at + 2] .. ':' .. ARGV[at + 3]
  if redis.call('HGET', meta, 'run_id') ~= run then
    redis.call('DEL', stream, meta, ids)
    redis.call('HSET', meta, 'run_id', run, 'epoch', ARGV[3], 'floor', 0, 'acked', 0, 'last', 0, 'restoring', 1)
  end
  local offset = redis.call('HGET', ids, field)
  if not offset then
    -- x comes first: trim reads it by its place.
    offset = offset_of(redis.call('XADD', stream, '0-*', 'x', ARGV[5], 'm', ARGV[7], 'd', ARGV[at + 2],
      'r', ARGV[at + 3], 't', ARGV[8], 'g', ARGV[at + 4]))
    redis.call('HSET', ids, field, offset)
    redis.call('HSET', meta, 'last', offset)
    trim(stream)
    keep(stream)
    for _, process in ipairs(redis.call('ZRANGEBYSCORE', stream .. ':holders', '(' .. ARGV[2], '+inf')) do
      woken[process] = woken[process] or {}
      table.insert(woken[process], receiver)
    end
  end
  table.insert(answers, offset)
  table.insert(answers, redis.call('HGET', meta, 'epoch'))
end
for process, receivers in pairs(woken) do
  redis.call('PUBLISH', ARGV[12] .. process, cjson.encode({tenant = ARGV[13], receivers = receivers}))
end
return {run, {}, answers}
