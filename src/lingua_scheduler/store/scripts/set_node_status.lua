-- set_node_status: writes a node's status between heartbeats.
-- KEYS: v1 session_area presence_area
-- ARGV: stated node epoch status
-- Reply: OK epoch {} {job owner …} | NODE_NOT_REGISTERED | STALE_EPOCH epoch
-- Writes nothing unless OK. Repeated: the same.
-- uses: clock, write_brief, offer_slots
local v1 = KEYS[1]
local stated, node, epoch, status = unpack(ARGV)

local key = v1 .. 'node:' .. node
local current = redis.call('HGET', key, 'epoch')
if not current then return { 'NODE_NOT_REGISTERED' } end
if current ~= epoch then return { 'STALE_EPOCH', tonumber(current) } end
redis.call('HSET', key, 'status', status)
write_brief(key)
return { 'OK', tonumber(epoch), {}, offer_slots(v1, node, clock(stated)) }
