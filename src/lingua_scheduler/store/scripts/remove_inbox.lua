-- remove_inbox: removes an inbox that nothing is left in; its dead letters stay for a while, to be looked at.
-- KEYS: inbox dlq
-- ARGV: stated dlq_ttl_ms
-- Reply: OK | NOT_EMPTY
-- Writes nothing unless OK. Repeated: OK.
local inbox, dlq = KEYS[1], KEYS[2]
local _, dlq_ttl_ms = unpack(ARGV)

if redis.call('EXISTS', inbox) == 1 and redis.call('XLEN', inbox) > 0 then return { 'NOT_EMPTY' } end
redis.call('DEL', inbox)
redis.call('PEXPIRE', dlq, dlq_ttl_ms)
return { 'OK' }
