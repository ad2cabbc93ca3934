-- A process says that it holds connections of these receivers, until its lease ends.
-- KEYS: one stream a receiver. ARGV: 1 process, 2 now ms, 3 lease until ms, 4 inbox keys live until ms.
-- Returns for each stream {epoch, last}; an empty epoch where the inbox is lost.
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
local answers = {}
for _, stream in ipairs(KEYS) do
  local holders = stream .. ':holders'
  redis.call('ZREMRANGEBYSCORE', holders, '-inf', ARGV[2])
  redis.call('ZADD', holders, ARGV[3], ARGV[1])
  redis.call('PEXPIREAT', holders, ARGV[3])
  local known = redis.call('HMGET', stream .. ':meta', 'run_id', 'epoch', 'last')
  if known[1] == run then
    local last = math.max(redis.call('PEXPIRETIME', stream .. ':meta'), tonumber(ARGV[4]))
    for _, name in ipairs({stream, stream .. ':meta', stream .. ':ids', stream .. ':keys'}) do
      redis.call('PEXPIREAT', name, string.format('%.0f', last))
    end
    table.insert(answers, {known[2], known[3]})
  else
    table.insert(answers, {'', '0'})
  end
end
return answers
