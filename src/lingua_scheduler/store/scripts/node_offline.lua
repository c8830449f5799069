-- node_offline: takes a node out of everything, if the caller's registration is the present one.
-- KEYS: v1 session_area presence_area
-- ARGV: stated node epoch
-- Reply: OK epoch {job attempt session owner node …} | NODE_NOT_REGISTERED 0 {…} | STALE_EPOCH epoch
-- Writes nothing with STALE_EPOCH. Repeated: NODE_NOT_REGISTERED, no jobs.
-- uses: remove_node
-- A node whose key has expired has no registration that could be harmed: what is left of it is removed.
local v1 = KEYS[1]
local _, node, epoch = unpack(ARGV)

local current = redis.call('HGET', v1 .. 'node:' .. node, 'epoch')
if current and current ~= epoch then return { 'STALE_EPOCH', tonumber(current) } end
return { current and 'OK' or 'NODE_NOT_REGISTERED', tonumber(current or 0), remove_node(v1, node) }
