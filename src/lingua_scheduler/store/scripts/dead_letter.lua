-- dead_letter: moves an entry that could not be processed from an inbox to its dead-letter stream, with the reason.
-- With maxlen 0 nothing is kept of it.
-- KEYS: inbox dlq
-- ARGV: stated group entry reason maxlen
-- Reply: OK | UNKNOWN_ENTRY
-- Writes nothing unless OK. Repeated: UNKNOWN_ENTRY, which is as good.
local inbox, dlq = KEYS[1], KEYS[2]
local _, group, entry, reason, maxlen = unpack(ARGV)

local found = redis.call('XRANGE', inbox, entry, entry)[1]
if not found then
  redis.call('XACK', inbox, group, entry)
  return { 'UNKNOWN_ENTRY' }
end
if maxlen ~= '0' then
  redis.call('XADD', dlq, 'MAXLEN', '~', maxlen, '*', 'entry', entry, 'reason', reason, unpack(found[2]))
end
redis.call('XACK', inbox, group, entry)
redis.call('XDEL', inbox, entry)
return { 'OK' }
