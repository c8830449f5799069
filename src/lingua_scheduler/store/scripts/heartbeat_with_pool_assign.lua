-- heartbeat_with_pool_assign: renews a node, its load and status, and keeps it in one shard of each pair it serves.
-- KEYS: v1 session_area presence_area
-- ARGV: stated node epoch status load usage services asr semantic tts pairs_served active
-- Reply: OK epoch {} {job owner …} | NODE_NOT_REGISTERED | STALE_EPOCH epoch | NO_LANGUAGES | TOO_MANY_PAIRS
--   | POOL_FULL epoch
-- Writes nothing unless OK; POOL_FULL leaves the node in the pools that had room. Repeated: the same.
-- uses: clock, class_of, leave_pair, join_pair, write_brief, offer_slots, restore_slot
-- Where `asr` is empty, languages are as they were. The pairs are asr × tts, or those of `pairs_served` (a JSON array)
-- among them. Pools are compared only where languages differ from those of the last time.
-- Jobs in `active` (`,a=1,b=2,`, with attempts) are known to be with the node: they have their slots, even those that
-- Redis lost.
local v1 = KEYS[1]
local stated, node, epoch, status, load, usage, services, asr, semantic, tts, pairs_served,
  active = unpack(ARGV)
local TTL_MS, PAIRS_MAX = 45000, 4096

local now, key = clock(stated), v1 .. 'node:' .. node
local was = redis.call('HMGET', key, 'epoch', 'status', 'services', 'pooled', 'capacity', 'instance', 'asr_langs',
  'semantic_langs', 'tts_langs', 'pairs')
if not was[1] then return { 'NODE_NOT_REGISTERED' } end
if was[1] ~= epoch then return { 'STALE_EPOCH', tonumber(was[1]) } end
if asr == '' then asr, semantic, tts, pairs_served = was[7], was[8], was[9], was[10] end
if asr == '[]' or semantic == '[]' or tts == '[]' then return { 'NO_LANGUAGES' } end

local pooled = redis.sha1hex(asr .. tts .. pairs_served)
local room_for_all = true
if pooled ~= was[4] then
  local wanted, count = {}, 0
  local named = pairs_served ~= '' and {} or nil
  for _, pair in ipairs(named and cjson.decode(pairs_served) or {}) do named[pair] = true end
  local speaks = cjson.decode(tts)
  for _, src in ipairs(cjson.decode(asr)) do
    for _, tgt in ipairs(speaks) do
      local pair = src .. ':' .. tgt
      if (not named or named[pair]) and not wanted[pair] then wanted[pair], count = true, count + 1 end
    end
  end
  if count > PAIRS_MAX then return { 'TOO_MANY_PAIRS' } end
  local is_full = redis.call('ZCARD', key .. ':jobs') >= tonumber(was[5])
  local class = class_of(status, is_full)
  for _, pair in ipairs(redis.call('HKEYS', key .. ':pools')) do
    if wanted[pair] then wanted[pair] = nil else leave_pair(v1, node, pair) end
  end
  for pair in pairs(wanted) do room_for_all = join_pair(v1, node, pair, class, was[6]) and room_for_all end
end

redis.call('HSET', key, 'status', status, 'load', load, 'usage', usage, 'last_heartbeat_ts', now, 'asr_langs', asr,
  'semantic_langs', semantic, 'tts_langs', tts, 'pairs', pairs_served, 'pooled', room_for_all and pooled or '')
if services ~= was[3] then
  for service in string.gmatch(was[3], '[^,]+') do
    if not string.find(',' .. services .. ',', ',' .. service .. ',', 1, true) then
      redis.call('HDEL', key, 'service:' .. service)
    end
  end
  for service in string.gmatch(services, '[^,]+') do redis.call('HSETNX', key, 'service:' .. service, 0) end
  redis.call('HSET', key, 'services', services)
end
write_brief(key)
redis.call('PEXPIRE', key, TTL_MS)
redis.call('ZADD', v1 .. 'deadlines', now + TTL_MS, 'node:' .. node)
for job, attempt in string.gmatch(active, '([^,=]+)=(%d+)') do restore_slot(v1, node, job, attempt, now) end
if not room_for_all then return { 'POOL_FULL', tonumber(epoch) } end
local is_news = pooled ~= was[4] or status ~= was[2] or services ~= was[3]
return { 'OK', tonumber(epoch), {}, is_news and offer_slots(v1, node, now) or {} }
