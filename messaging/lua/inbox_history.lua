-- The newest entries of one inbox before an offset, newest first; expired ones are left out.
-- KEYS: the stream. ARGV: 1 now ms, 2 receiver, 3 the offset before which to read, or empty, 4 entries at most.
-- Returns {run_id, {receiver} or {}, {epoch, upto, entries}}: upto is the last offset looked at, 0 where nothing is left.
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
local known = redis.call('HMGET', KEYS[1] .. ':meta', 'epoch', 'run_id')
if known[2] ~= run then return {run, {ARGV[2]}, {}} end
local before = '+'
if ARGV[3] ~= '' then before = '(0-' .. ARGV[3] end
local now, count, entries, upto = tonumber(ARGV[1]), tonumber(ARGV[4]), {}, '0'
local found = ARGV[3] == '0' and {} or redis.call('XREVRANGE', KEYS[1], before, '-', 'COUNT', count)
for _, entry in ipairs(found) do
  local offset = string.match(entry[1], '-(%d+)$')
  if #found == count then upto = offset end
  if tonumber(entry[2][2]) > now then table.insert(entries, {offset, entry[2]}) end
end
return {run, {}, {known[1], upto, entries}}
