-- leave_queue: a job no longer waits, and gives up a slot that is kept for it.
-- KEYS: v1 session_area presence_area
-- ARGV: stated job
-- Reply: OK attempt status {job owner …} | UNKNOWN_JOB
-- Writes nothing unless OK. Repeated: the same, nothing more to leave.
-- uses: clock, stop_waiting, offer_slots
local v1 = KEYS[1]
local stated, job = unpack(ARGV)

local state, attempt, line, guest_of = unpack(redis.call('HMGET', v1 .. 'job:' .. job, 'status', 'attempt', 'line',
  'guest_of'))
if not state then return { 'UNKNOWN_JOB' } end
local freed = stop_waiting(v1, job, line, guest_of)
return { 'OK', tonumber(attempt), state, freed and offer_slots(v1, freed, clock(stated)) or {} }
