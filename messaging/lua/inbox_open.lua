-- What the record knew about these receivers has been put back: their inboxes are whole, those without any begin empty.
-- KEYS: one stream a receiver. ARGV: 1 epoch for new inboxes, 2 keys live until ms, 3 the run_id that was lost.
-- Returns 1, or 0 where this is another server by now.
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
if run ~= ARGV[3] then return 0 end
for _, stream in ipairs(KEYS) do
  local meta = stream .. ':meta'
  if redis.call('HGET', meta, 'run_id') ~= run then
    redis.call('DEL', stream, meta, stream .. ':ids', stream .. ':keys')
    redis.call('HSET', meta, 'run_id', run, 'epoch', ARGV[1], 'floor', 0, 'acked', 0, 'last', 0)
    redis.call('PEXPIREAT', meta, ARGV[2])
  else
    redis.call('HDEL', meta, 'restoring')
  end
end
return 1
