-- renew_owner: keeps an ownership for another while.
-- KEYS: owner
-- ARGV: stated instance epoch ttl_ms
-- Reply: OK instance:epoch | LOST instance:epoch
-- Writes nothing unless OK. Repeated: the same, from then on.
local key = KEYS[1]
local _, instance, epoch, ttl_ms = unpack(ARGV)

local value = redis.call('GET', key)
if value ~= instance .. ':' .. epoch then return { 'LOST', value or '' } end
redis.call('PEXPIRE', key, ttl_ms)
return { 'OK', value }
