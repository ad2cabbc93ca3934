-- Reads the inboxes of receivers of one tenant, each after a position of its own.
-- KEYS: one stream a receiver. ARGV: 1 now ms, 2 entries at most a stream (0: none); then for each stream its receiver
-- and the offset after which to read.
-- Returns {run_id, {receiver, ...}, {{epoch, floor, acked, last, upto, entries} or {}, ...}}: the lost ones, and for
-- each stream what it holds, upto being the last offset looked at.
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
local now, count = tonumber(ARGV[1]), tonumber(ARGV[2])
local lost, views = {}, {}
for i, stream in ipairs(KEYS) do
  local receiver, after = ARGV[i * 2 + 1], ARGV[i * 2 + 2]
  local known = redis.call('HMGET', stream .. ':meta', 'epoch', 'floor', 'acked', 'last', 'run_id', 'restoring')
  if known[5] ~= run or known[6] then
    table.insert(lost, receiver)
    table.insert(views, {})
  else
    local entries, upto = {}, after
    if count > 0 then
      local found = redis.call('XRANGE', stream, '(0-' .. after, '+', 'COUNT', count)
      for _, entry in ipairs(found) do
        upto = string.match(entry[1], '-(%d+)$')
        if tonumber(entry[2][2]) > now then table.insert(entries, {upto, entry[2]}) end
      end
      if #found < count then upto = known[4] end
    end
    table.insert(views, {known[1], known[2], known[3], known[4], upto, entries})
  end
end
return {run, lost, views}
