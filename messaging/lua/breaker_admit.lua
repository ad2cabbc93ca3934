-- What the breakers of one tenant let through now. KEYS: one hash a breaker (level and until only while it is open).
-- ARGV: 1 token for probes to be taken, empty: take none, 2 ms that a probe is leased for, 3 ms after which others look
-- again whether it has shown something, 4 s after which a breaker is forgotten.
-- Returns for each {closed, failures so far}, {half_open, 0} or {open, ms to wait}.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local answers = {}
for index, key in ipairs(KEYS) do
  local state = redis.call('HMGET', key, 'failures', 'level', 'until', 'probe')
  if not state[2] then
    answers[index] = {'closed', tonumber(state[1] or '0')}
  elseif now >= tonumber(state[3]) then
    if ARGV[1] ~= '' then
      redis.call('HSET', key, 'probe', ARGV[1], 'until', now + ARGV[2])
      redis.call('EXPIRE', key, ARGV[4])
    end
    answers[index] = {'half_open', 0}
  elseif (state[4] or '') ~= '' then
    answers[index] = {'open', math.min(tonumber(state[3]) - now, tonumber(ARGV[3]))}
  else
    answers[index] = {'open', tonumber(state[3]) - now}
  end
end
return answers
