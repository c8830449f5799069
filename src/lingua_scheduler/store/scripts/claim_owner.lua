-- claim_owner: makes an instance the owner of a node or session, under a higher epoch than any before.
-- KEYS: owner
-- ARGV: stated instance take_over ttl_ms
-- Reply: OK instance:epoch | HELD instance:epoch
-- Writes nothing unless OK. Repeated: the same epoch again.
-- uses: clock
-- An epoch starts at the clock, so that it grows even where the key expired or Redis came back empty.
local key = KEYS[1]
local stated, instance, take_over, ttl_ms = unpack(ARGV)

local value = redis.call('GET', key)
local holder, epoch = string.match(value or '', '^(.*):(%d+)$')
if holder == instance then
  redis.call('PEXPIRE', key, ttl_ms)
  return { 'OK', value }
end
if holder and take_over ~= '1' then return { 'HELD', value } end
value = string.format('%s:%.0f', instance, math.max(clock(stated), tonumber(epoch or 0) + 1))
redis.call('SET', key, value, 'PX', ttl_ms)
return { 'OK', value }
