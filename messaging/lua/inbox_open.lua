-- What the record knew about these receivers has been put back: their inboxes are whole, those without any begin empty.
-- KEYS: one stream a receiver. ARGV: 1 epoch for new inboxes, 2 keys live until ms, 3 the run_id that was lost.
-- Returns 1, or 0 where this is another server by now. As in inbox_append, the append-only file hears nothing.
redis.set_repl(redis.REPL_REPLICA)
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
if run ~= ARGV[3] then return 0 end
local fields = {'epoch', ARGV[1], 'last', 0, 'floor', 0, 'acked', 0, 'due', 0, 'until', ARGV[2]}
for _, stream in ipairs(KEYS) do
  local meta = stream .. ':meta'
  local known = redis.call('HGET', meta, 'run_id')
  if known == 'restoring ' .. run then
    redis.call('HSET', meta, 'run_id', run)
  elseif known ~= run then
    redis.call('DEL', stream, meta)
    local held = redis.call('PEXPIRETIME', stream .. ':holders')
    redis.call('HSET', meta, 'run_id', run, 'held', held, unpack(fields))
    redis.call('PEXPIREAT', meta, ARGV[2])
  end
end
return 1
