-- register_node_v2: writes a node under a new epoch. It gets no jobs before its first heartbeat.
-- KEYS: v1 session_area presence_area
-- ARGV: stated node instance asr semantic tts pairs_served services capacity zone protocol details
-- ARGV: active is_again private
-- Reply: OK epoch {job attempt session owner node …} | NO_LANGUAGES
-- Writes nothing unless OK. Repeated: a further epoch, no jobs.
-- uses: clock, job_facts, move_home, restore_slot, write_brief, settle
-- The jobs are those that the node had and does not name in `active` (`,a=1,b=2,`, with attempts): they have lost their
-- slot, unless `is_again`, where the connection never broke. Those that it names have theirs, also after Redis lost it.
-- `private` is empty, or names the tenants that alone are served: `!acme,!other,`, or `!!,` for none.
-- An epoch starts at the clock, so that it grows even where the key expired or Redis came back empty.
local v1 = KEYS[1]
local stated, node, instance, asr, semantic, tts, pairs_served, services, capacity, zone, protocol, details,
  active, is_again, private = unpack(ARGV)
local TTL_MS = 45000

for _, list in ipairs({ asr, semantic, tts }) do
  if list == '' or list == '[]' then return { 'NO_LANGUAGES' } end
end
local now = clock(stated)
local key = v1 .. 'node:' .. node
local epoch = math.max(tonumber(redis.call('HGET', key, 'epoch') or 0) + 1, now)

local lost = {}
for _, job in ipairs(redis.call('ZRANGE', key .. ':jobs', 0, -1)) do
  if is_again ~= '1' and not string.find(active, ',' .. job .. '=', 1, true) then
    redis.call('ZREM', key .. ':jobs', job)
    job_facts(v1, job, node, lost)
  end
end
for job, attempt in string.gmatch(active, '([^,=]+)=(%d+)') do restore_slot(v1, node, job, attempt, now) end

move_home(v1, node, instance)
redis.call('DEL', key, key .. ':guests')
redis.call('HSET', key, 'epoch', epoch, 'status', 'registering', 'instance', instance,
  'asr_langs', asr, 'semantic_langs', semantic, 'tts_langs', tts, 'pairs', pairs_served, 'services', services,
  'capacity', capacity, 'zone', zone, 'protocol', protocol, 'details', details, 'load', 0, 'usage', '{}',
  'private', private, 'registered_ts', now, 'last_heartbeat_ts', now)
for service in string.gmatch(services, '[^,]+') do redis.call('HSET', key, 'service:' .. service, 0) end
write_brief(key)
redis.call('PEXPIRE', key, TTL_MS)
settle(v1, node)
redis.call('SADD', v1 .. 'nodes:all', node)
redis.call('ZADD', v1 .. 'deadlines', now + TTL_MS, 'node:' .. node)
return { 'OK', epoch, lost }
