-- Acknowledgements of receivers of one tenant. ARGV[1] = peek: which entries they would newly acknowledge; at: the entry
-- at just that offset; move: move the default starts, never backwards. Expired entries are nobody's evidence any more.
-- KEYS: one stream a receiver. ARGV: 1 peek, at or move, 2 now ms; then for each stream epoch and offset.
-- Returns for each stream its entries (peek, at), its acknowledged offset (move), or false where the epoch is not, or no
-- longer, the inbox's. As in inbox_append, the append-only file hears nothing.
redis.set_repl(redis.REPL_REPLICA)
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
local action, now, answers = ARGV[1], tonumber(ARGV[2]), {}

local function entries(stream, first, last)
  local found = {}
  for _, entry in ipairs(redis.call('XRANGE', stream, first, last)) do
    if tonumber(entry[2][2]) > now then table.insert(found, {string.match(entry[1], '-(%d+)$'), entry[2]}) end
  end
  return found
end

for i, stream in ipairs(KEYS) do
  local meta, epoch, asked = stream .. ':meta', ARGV[i * 2 + 1], tonumber(ARGV[i * 2 + 2])
  local known = redis.call('HMGET', meta, 'run_id', 'epoch', 'acked', 'last')
  if known[1] ~= run or known[2] ~= epoch then
    table.insert(answers, false)
  else
    local acked, last = tonumber(known[3]), tonumber(known[4])
    local offset = math.min(asked, last)
    if action == 'at' then
      local id = string.format('0-%d', offset)
      table.insert(answers, asked >= 1 and asked <= last and entries(stream, id, id) or {})
    elseif action == 'peek' then
      local from, to = string.format('(0-%d', acked), string.format('0-%d', offset)
      table.insert(answers, offset > acked and entries(stream, from, to) or {})
    else
      if offset > acked then redis.call('HSET', meta, 'acked', string.format('%d', offset)) end
      table.insert(answers, math.max(offset, acked))
    end
  end
end
return answers
