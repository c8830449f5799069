-- settle_share: adds what a tenant used at one instance, and tells what all of it comes to in the fleet.
-- KEYS: v1 session_area presence_area
-- ARGV: stated tenant instance sessions asks sessions_max round jobs jobs_burst audio audio_burst
-- Reply: OK sessions jobs_late_ms audio_late_ms | RATE_LIMITED sessions
-- Writes also with RATE_LIMITED, all but the session that is asked for. Repeated: nothing of a `round` counts twice.
-- uses: clock
-- Jobs and audio are told as the milliseconds after which that much may be used again; a `burst` of them may be used
-- ahead of time. `sessions` are those of the instance, but for the one that it asks for (`asks` 0 or 1); an instance
-- that says nothing for 15 s has none.
local v1 = KEYS[1]
local stated, tenant, instance, sessions, asks, sessions_max, round, jobs, jobs_burst, audio,
  audio_burst = unpack(ARGV)
local TTL_MS, ALIVE_MS = 172800000, 15000

local now, key, known, all = clock(stated), v1 .. 'share:' .. tenant, {}, tonumber(sessions)
local flat = redis.call('HGETALL', key)
for at = 1, #flat, 2 do known[flat[at]] = flat[at + 1] end
for name, value in pairs(known) do
  local other = string.match(name, '^alive:(.+)$')
  if other and tonumber(value) <= now then
    redis.call('HDEL', key, name, 'sessions:' .. other, 'round:' .. other)
    if other == instance then known['round:' .. other] = nil end
  elseif other and other ~= instance then
    all = all + known['sessions:' .. other]
  end
end

local function late(name, cost, burst)
  local paid_ms = math.max(tonumber(known[name] or 0), now)
  if known['round:' .. instance] ~= round then paid_ms = paid_ms + cost end
  redis.call('HSET', key, name, string.format('%.0f', paid_ms))
  return math.max(0, paid_ms - now - burst)
end

local jobs_late, audio_late = late('jobs_ms', jobs, jobs_burst), late('audio_ms', audio, audio_burst)
local is_full = asks == '1' and tonumber(sessions_max) > 0 and all >= tonumber(sessions_max)
local mine = (asks == '1' and not is_full) and sessions + 1 or sessions
redis.call('HSET', key, 'alive:' .. instance, string.format('%.0f', now + ALIVE_MS), 'sessions:' .. instance, mine,
  'round:' .. instance, round)
redis.call('PEXPIRE', key, TTL_MS)
if is_full then return { 'RATE_LIMITED', all } end
return { 'OK', all + asks, jobs_late, audio_late }
