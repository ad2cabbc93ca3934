-- Appends one message to the inboxes of receivers of one tenant and wakes the processes that hold them.
-- KEYS: payload, ended, one stream a receiver. An inbox's other keys are <stream>:meta and <stream>:holders; they are in
-- the same slot by their hash tag. ended is a hash of what left inboxes unacknowledged and is not reported yet.
-- meta is a hash of run_id ('restoring <run_id>' until all is put back), epoch, last, floor, acked, due (when the oldest
-- entry expires; 0: look), until (when both keys expire), held (until when processes may hold the receiver; missing: look),
-- for each entry <delivery>:<round> with its offset, and for each collapse key k:<key> with '<offset> <version>' of its
-- newest message.
-- Replicas hear of everything, the append-only file of payload and ended alone: whoever reads it has another run_id, to
-- which an inbox of ours is lost.
-- ARGV: 1 restoring (0/1), 2 now ms, 3 epoch for new inboxes, 4 longest inbox, 5 entry's expiry ms, 6 keys live until ms,
-- 7 message, 8 mode, 9 frame, 10 metadata, 11 payload lives until ms, 12 wake channel's prefix, 13 tenant,
-- 14 collapse key or empty, 15 its version, 16 connection that does not get it or empty, 17 round, 18 group or empty,
-- 19 longest frame in a wake-up; then for each receiver: name, delivery.
-- A wake-up is JSON: {tenant, grown: [receiver, epoch, offset, group, ...], id, frame, expires, excluded}, the last four
-- only where the frame is not too long and nothing is put back.
-- Returns {run_id, {receiver, ...}, {offset, epoch, ...}, entries of ended}: the receivers are those whose inboxes are
-- lost; nothing was appended there. An offset is 0 there, and where a newer message of the collapse key was before.
local FIXED, EACH, STREAMS, HOUR, MOST = 19, 2, 3, 3600000, 100
local call = redis.call
local run = string.match(call('INFO', 'server'), 'run_id:(%x+)')
local half = 'restoring ' .. run
local restoring, now, longest, wanted = ARGV[1] == '1', tonumber(ARGV[2]), tonumber(ARGV[4]), tonumber(ARGV[6])
local ended, collapse_key, version, group = KEYS[2], ARGV[14], tonumber(ARGV[15]), ARGV[18]

if call('EXISTS', KEYS[1]) == 0 then
  call('HSET', KEYS[1], 'frame', ARGV[9], 'metadata', ARGV[10])
  call('PEXPIREAT', KEYS[1], ARGV[11])
else
  call('PEXPIREAT', KEYS[1], ARGV[11], 'GT')
end
redis.set_repl(redis.REPL_REPLICA)

-- x and s come first: they are read by their places.
local write = {'XADD', '', '0-*', 'x', ARGV[5], 's', #ARGV[9], 'd', '', 'm', ARGV[7], 'r', ARGV[17], 't', ARGV[8], 'g', group}
for name, value in pairs({k = collapse_key, e = ARGV[16]}) do
  if value ~= '' then
    table.insert(write, name)
    table.insert(write, value)
  end
end
local look = {'HMGET', '', 'run_id', '', 'epoch', 'last', 'floor', 'due', 'until', 'held'}
-- The places of what it answers.
local RUN, OFFSET, EPOCH, LAST, FLOOR, DUE, UNTIL, HELD, NEWEST = 1, 2, 3, 4, 5, 6, 7, 8, 9
if collapse_key ~= '' then table.insert(look, 'k:' .. collapse_key) end

-- Of the inbox in hand.
local stream, meta, receiver
-- process -> what it hears has grown.
local woken = {}

local function report(fields, reason)
  local fact = {receiver, reason, fields.m, fields.d, fields.r, fields.t, fields.g, fields.x}
  redis.set_repl(redis.REPL_ALL)
  call('HSET', ended, fields.d .. ':' .. fields.r, cjson.encode(fact))
  redis.set_repl(redis.REPL_REPLICA)
end

-- An entry leaves; what nobody has acknowledged and what has not expired leaves with a reason.
local function drop(entry, reason)
  local fields, offset = {}, string.sub(entry[1], 3)
  for i = 1, #entry[2], 2 do fields[entry[2][i]] = entry[2][i + 1] end
  call('XDEL', stream, entry[1])
  call('HDEL', meta, fields.d .. ':' .. fields.r)
  if fields.k and string.match(call('HGET', meta, 'k:' .. fields.k) or '', '^%d+') == offset then
    call('HDEL', meta, 'k:' .. fields.k)
  end
  if tonumber(fields.x) > now and tonumber(offset) > tonumber(call('HGET', meta, 'acked')) then report(fields, reason) end
  return offset
end

-- Whether a newer message of the collapse key is there; an older one leaves.
local function outdated(inbox)
  if not inbox[NEWEST] then return false end
  local offset, newest = string.match(inbox[NEWEST], '^(%d+) (%d+)$')
  if version < tonumber(newest) then return true end
  for _, entry in ipairs(call('XRANGE', stream, '0-' .. offset, '0-' .. offset)) do
    drop(entry, 'replaced')
    inbox[DUE] = '0'
  end
  return false
end

-- What is too much and what has expired leaves, the oldest first, a few at a time.
local function trim(floor)
  local surplus, due = call('XLEN', stream) - longest, '0'
  for number = 1, MOST do
    local oldest = call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
    if not oldest then break end
    if number > surplus and tonumber(oldest[2][2]) > now then
      due = oldest[2][2]
      break
    end
    floor = drop(oldest, 'inbox_overflow')
  end
  call('HSET', meta, 'floor', floor, 'due', due)
end

local function append(inbox, delivery, id)
  write[2], write[9] = stream, delivery
  local offset, till = string.sub(call(unpack(write)), 3), tonumber(inbox[UNTIL])
  call('HSET', meta, 'last', offset, id, offset)
  if collapse_key ~= '' then call('HSET', meta, 'k:' .. collapse_key, offset .. ' ' .. ARGV[15]) end
  -- The keys of an inbox expire together, and not before what is in it.
  if till < wanted then
    till = wanted + HOUR
    call('HSET', meta, 'until', till)
    call('PEXPIREAT', meta, till)
    call('PEXPIREAT', stream, till)
  elseif inbox[LAST] == '0' then
    call('PEXPIREAT', stream, till)
  end
  if inbox[LAST] == inbox[FLOOR] then
    inbox[DUE] = ARGV[5]
    call('HSET', meta, 'due', ARGV[5])
  end
  if tonumber(inbox[DUE]) <= now or tonumber(offset) - tonumber(inbox[FLOOR]) > longest then trim(inbox[FLOOR]) end
  return offset
end

-- Who holds the receiver will hear of it.
local function wake(epoch, offset)
  for _, process in ipairs(call('ZRANGEBYSCORE', stream .. ':holders', '(' .. ARGV[2], '+inf')) do
    local grown = woken[process] or {}
    local size = #grown
    grown[size + 1], grown[size + 2], grown[size + 3], grown[size + 4] = receiver, epoch, offset, group
    woken[process] = grown
  end
end

local answers, lost = {}, {}
for i = STREAMS, #KEYS do
  local at = FIXED + (i - STREAMS) * EACH
  local delivery, offset = ARGV[at + 2], '0'
  local id = delivery .. ':' .. ARGV[17]
  receiver, stream, meta = ARGV[at + 1], KEYS[i], KEYS[i] .. ':meta'
  look[2], look[4] = meta, id
  local inbox = call(unpack(look))
  if restoring and inbox[RUN] ~= run and inbox[RUN] ~= half then
    local held = call('PEXPIRETIME', stream .. ':holders')
    inbox = {half, false, ARGV[3], '0', '0', '0', '0', held, false}
    call('DEL', stream, meta)
    call('HSET', meta, 'run_id', half, 'epoch', ARGV[3], 'last', 0, 'floor', 0, 'acked', 0, 'due', 0, 'until', 0)
    call('HSET', meta, 'held', held)
  end
  if inbox[RUN] ~= run and not restoring then
    table.insert(lost, receiver)
  elseif inbox[OFFSET] then
    offset = inbox[OFFSET]
  elseif not outdated(inbox) then
    offset = append(inbox, delivery, id)
    if not inbox[HELD] or tonumber(inbox[HELD]) > now then wake(inbox[EPOCH], offset) end
  elseif restoring then
    report({m = ARGV[7], d = delivery, r = ARGV[17], t = ARGV[8], g = group, x = ARGV[5]}, 'replaced')
  end
  local size = #answers
  answers[size + 1], answers[size + 2] = offset, inbox[EPOCH] or ''
end
for process, grown in pairs(woken) do
  local said = {tenant = ARGV[13], grown = grown}
  if not restoring and #ARGV[9] <= tonumber(ARGV[19]) then
    said.id, said.frame, said.expires, said.excluded = ARGV[7], ARGV[9], ARGV[5], ARGV[16]
  end
  call('PUBLISH', ARGV[12] .. process, cjson.encode(said))
end
redis.set_repl(redis.REPL_ALL)
local unreported = call('HLEN', ended)
if unreported > 0 then call('PEXPIREAT', ended, ARGV[6], 'GT') call('PEXPIREAT', ended, ARGV[6], 'NX') end
return {run, lost, answers, unreported}
