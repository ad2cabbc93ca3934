-- Reads the inboxes of receivers of one tenant, each after a position of its own.
-- KEYS: one stream a receiver. ARGV: 1 now ms, 2 entries at most a stream (0: none), 3 bytes of frames after which a
-- stream's reading ends; then for each stream its receiver and the offset after which to read.
-- Returns {run_id, {receiver, ...}, {{epoch, floor, acked, last, upto, entries} or {}, ...}}: the lost ones, and for
-- each stream what it holds, upto being the last offset looked at.
local FIXED, EACH = 3, 2
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
local now, count, budget = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])

local function read(stream, after, last)
  local entries, upto, size = {}, after, 0
  local found = redis.call('XRANGE', stream, '(0-' .. after, '+', 'COUNT', count)
  for _, entry in ipairs(found) do
    if size >= budget then return entries, upto end
    upto = string.match(entry[1], '-(%d+)$')
    if tonumber(entry[2][2]) > now then
      table.insert(entries, {upto, entry[2]})
      size = size + tonumber(entry[2][4])
    end
  end
  if #found < count then upto = last end
  return entries, upto
end

local lost, views = {}, {}
for i, stream in ipairs(KEYS) do
  local at = FIXED + (i - 1) * EACH + 1
  local receiver, after = ARGV[at], ARGV[at + 1]
  local known = redis.call('HMGET', stream .. ':meta', 'epoch', 'floor', 'acked', 'last', 'run_id')
  if known[5] ~= run then
    table.insert(lost, receiver)
    table.insert(views, {})
  else
    local entries, upto = {}, after
    if count > 0 then entries, upto = read(stream, after, known[4]) end
    table.insert(views, {known[1], known[2], known[3], known[4], upto, entries})
  end
end
return {run, lost, views}
