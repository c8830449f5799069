-- requeue_job: takes an attempt back, so that the next one may be placed.
-- KEYS: v1 session_area presence_area
-- ARGV: stated job attempt cause speaker epoch
-- Reply: OK attempt pending {job owner …} | REPEAT attempt pending | STALE_ATTEMPT attempt status
--   | ALREADY_FINAL attempt status | UNKNOWN_JOB | STALE_EPOCH epoch
-- Writes nothing unless OK. Repeated: REPEAT.
-- uses: clock, is_final, revoke, stop_waiting, offer_slots, newer_owner
local v1, session_area = KEYS[1], KEYS[2]
local stated, job, attempt, cause, speaker, epoch = unpack(ARGV)

local newer = newer_owner(session_area, speaker, epoch)
if newer then return { 'STALE_EPOCH', newer } end
local state, current, revoked, holder, line, guest_of = unpack(redis.call('HMGET', v1 .. 'job:' .. job, 'status',
  'attempt', 'revoked', 'node', 'line', 'guest_of'))
if not state then return { 'UNKNOWN_JOB' } end
if is_final(state) then return { 'ALREADY_FINAL', tonumber(current), state } end
if attempt ~= current then return { 'STALE_ATTEMPT', tonumber(current), state } end
if revoked == attempt then return { 'REPEAT', tonumber(current), state } end

local freed = stop_waiting(v1, job, line, guest_of) or holder
revoke(v1, job, attempt, holder, cause)
return { 'OK', tonumber(attempt), 'pending', freed and offer_slots(v1, freed, clock(stated)) or {} }
