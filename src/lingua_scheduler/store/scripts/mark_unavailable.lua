-- mark_unavailable: passes a node over for one service for 60 s; at most 30 marks per node in 10 s.
-- KEYS: v1 session_area presence_area
-- ARGV: stated node service
-- Reply: OK epoch | NODE_NOT_REGISTERED | TOO_MANY_MARKS epoch
-- Writes nothing unless OK. Repeated: counts as one mark more. A service that the node does not offer needs no mark.
-- uses: clock, write_brief
local v1 = KEYS[1]
local stated, node, service = unpack(ARGV)
local MARK_MS, WINDOW_MS, MARKS_MAX = 60000, 10000, 30

local now, key = clock(stated), v1 .. 'node:' .. node
local epoch, blocked_until, since, marks = unpack(redis.call('HMGET', key, 'epoch', 'service:' .. service,
  'marks_since_ms', 'marks'))
if not epoch then return { 'NODE_NOT_REGISTERED' } end
if not blocked_until then return { 'OK', tonumber(epoch) } end
if now - tonumber(since or 0) >= WINDOW_MS then since, marks = now, 0 end
if tonumber(marks) >= MARKS_MAX then return { 'TOO_MANY_MARKS', tonumber(epoch) } end
redis.call('HSET', key, 'service:' .. service, now + MARK_MS, 'blocked_until', now + MARK_MS, 'marks_since_ms', since,
  'marks', marks + 1)
write_brief(key)
return { 'OK', tonumber(epoch) }
