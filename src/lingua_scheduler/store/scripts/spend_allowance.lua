-- spend_allowance: adds what was said under a token at one instance, and tells what all of it comes to in the fleet.
-- KEYS: v1 session_area presence_area
-- ARGV: stated token instance round audio_ms ttl_ms
-- Reply: OK used_ms
-- Writes always: what was said, that `round` was told, how long that is kept.
-- Repeated: nothing of a `round` counts twice.
local v1 = KEYS[1]
local _, token, instance, round, audio_ms, ttl_ms = unpack(ARGV)

local key, mine = v1 .. 'allowance:' .. token, 'round:' .. instance
if redis.call('HGET', key, mine) ~= round then
  redis.call('HINCRBY', key, 'used_ms', audio_ms)
  redis.call('HSET', key, mine, round)
end
if redis.call('PTTL', key) < tonumber(ttl_ms) then redis.call('PEXPIRE', key, ttl_ms) end
return { 'OK', tonumber(redis.call('HGET', key, 'used_ms')) }
