-- Acknowledgements of receivers of one tenant. ARGV[1] = peek: which entries they would newly acknowledge;
-- move: move the default starts, never backwards.
-- KEYS: one stream a receiver. ARGV: 1 peek or move; then for each stream epoch and offset.
-- Returns for each stream its newly acknowledged entries (peek), its acknowledged offset (move), or false where the
-- epoch is not, or no longer, the inbox's.
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
local answers = {}
for i, stream in ipairs(KEYS) do
  local meta, epoch, offset = stream .. ':meta', ARGV[i * 2], tonumber(ARGV[i * 2 + 1])
  local known = redis.call('HMGET', meta, 'run_id', 'epoch', 'acked', 'last')
  if known[1] ~= run or known[2] ~= epoch then
    table.insert(answers, false)
  else
    local acked = tonumber(known[3])
    offset = math.min(offset, tonumber(known[4]))
    if ARGV[1] == 'peek' then
      local entries = {}
      if offset > acked then
        for _, entry in ipairs(redis.call('XRANGE', stream, string.format('(0-%d', acked), string.format('0-%d', offset))) do
          table.insert(entries, {string.match(entry[1], '-(%d+)$'), entry[2]})
        end
      end
      table.insert(answers, entries)
    else
      if offset > acked then redis.call('HSET', meta, 'acked', string.format('%d', offset)) end
      table.insert(answers, math.max(offset, acked))
    end
  end
end
return answers
