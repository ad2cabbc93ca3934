-- A process holds no connection of these receivers any more.
-- KEYS: the set of the tenant's receivers that the process holds, one stream a receiver. ARGV: 1 process, 2 now ms; then
-- the receivers. Returns for each 1 where this process was the last to hold it.
local FIXED, STREAMS = 2, 2
local answers = {}
for i = STREAMS, #KEYS do
  local holders = KEYS[i] .. ':holders'
  redis.call('SREM', KEYS[1], ARGV[FIXED + i - STREAMS + 1])
  local held = redis.call('ZREM', holders, ARGV[1])
  redis.call('ZREMRANGEBYSCORE', holders, '-inf', ARGV[2])
  table.insert(answers, held == 1 and redis.call('EXISTS', holders) == 0 and 1 or 0)
end
return answers
