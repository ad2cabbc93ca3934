-- A process says that it holds connections of these receivers, until its lease ends.
-- KEYS: the set of the tenant's receivers that the process holds, one stream a receiver. ARGV: 1 process, 2 now ms,
-- 3 lease until ms, 4 inbox keys live until ms; then the receivers.
-- Returns for each stream {epoch, last, 1 where no process held its receiver before}; an empty epoch where the inbox is
-- lost.
local FIXED, STREAMS, HOUR = 4, 2, 3600000
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
local answers = {}
for i = STREAMS, #KEYS do
  local stream = KEYS[i]
  local holders, meta = stream .. ':holders', stream .. ':meta'
  redis.call('ZREMRANGEBYSCORE', holders, '-inf', ARGV[2])
  local first = redis.call('EXISTS', holders) == 0 and 1 or 0
  redis.call('ZADD', holders, ARGV[3], ARGV[1])
  redis.call('PEXPIREAT', holders, ARGV[3])
  redis.call('SADD', KEYS[1], ARGV[FIXED + i - STREAMS + 1])
  local known = redis.call('HMGET', meta, 'run_id', 'epoch', 'last', 'until')
  -- As in inbox_append, the append-only file does not hear of inboxes.
  redis.set_repl(redis.REPL_REPLICA)
  if known[1] then redis.call('HSET', meta, 'held', ARGV[3]) end
  if known[1] == run then
    if tonumber(known[4]) < tonumber(ARGV[4]) - HOUR then
      redis.call('HSET', meta, 'until', ARGV[4])
      redis.call('PEXPIREAT', meta, ARGV[4])
      redis.call('PEXPIREAT', stream, ARGV[4])
    end
    table.insert(answers, {known[2], known[3], first})
  else
    table.insert(answers, {'', '0', first})
  end
  redis.set_repl(redis.REPL_ALL)
end
redis.call('PEXPIREAT', KEYS[1], ARGV[3])
return answers
