-- What became of admitted deliveries. KEYS: one hash a breaker, and last the sorted set of those that opened, by when.
-- ARGV: 1 failures that open one, 2 first and 3 longest wait in ms, 4 s after which a breaker is forgotten; then for each
-- whether any succeeded (1 or 0), failures since, and the token of its probe or nothing.
-- Returns for each open or closed where it became that now, is_open where it was open already, else nothing.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local most, first, longest, forget = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local answers = {}
local listed = KEYS[#KEYS]
local function open(key, level)
  redis.call('ZREMRANGEBYSCORE', listed, '-inf', now - forget * 1000)
  redis.call('ZADD', listed, now, key)
  redis.call('EXPIRE', listed, forget)
  local wait = math.min(first * 2 ^ (level - 1), longest)
  redis.call('HSET', key, 'level', level, 'until', now + wait, 'probe', '', 'failures', 0)
  redis.call('EXPIRE', key, forget)
end
for index = 1, #KEYS - 1 do
  local key = KEYS[index]
  local good, bad, token = ARGV[index * 3 + 2] == '1', tonumber(ARGV[index * 3 + 3]), ARGV[index * 3 + 4]
  local state = redis.call('HMGET', key, 'failures', 'level', 'probe')
  answers[index] = ''
  if state[2] then
    if token ~= '' and state[3] == token then
      if good then
        redis.call('DEL', key)
        redis.call('ZREM', listed, key)
        answers[index] = 'closed'
      elseif bad > 0 then
        open(key, math.min(tonumber(state[2]) + 1, 30))
        answers[index] = 'open'
      else
        redis.call('HSET', key, 'until', now, 'probe', '')
      end
    elseif token == '' then
      answers[index] = 'is_open'
    end
  elseif token == '' then
    local failures = good and bad or tonumber(state[1] or '0') + bad
    if failures >= most then
      open(key, 1)
      answers[index] = 'open'
    elseif failures > 0 then
      redis.call('HSET', key, 'failures', failures)
      redis.call('EXPIRE', key, forget)
    else
      redis.call('DEL', key)
    end
  end
end
return answers
