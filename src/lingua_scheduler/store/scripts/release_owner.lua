-- release_owner: gives an ownership up.
-- KEYS: owner
-- ARGV: stated instance epoch
-- Reply: OK instance:epoch | LOST instance:epoch
-- Writes nothing unless OK. Repeated: LOST, which is as good.
local key = KEYS[1]
local _, instance, epoch = unpack(ARGV)

local value = redis.call('GET', key)
if value ~= instance .. ':' .. epoch then return { 'LOST', value or '' } end
redis.call('DEL', key)
return { 'OK', value }
