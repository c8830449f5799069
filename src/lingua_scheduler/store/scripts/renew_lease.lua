-- renew_lease: moves the end of a job's lease, and its status forward.
-- KEYS: v1 session_area presence_area
-- ARGV: stated job attempt node lease_ms status
-- Reply: OK attempt status | STALE_ATTEMPT attempt status | NOT_ASSIGNED attempt status
--   | ALREADY_FINAL attempt status | UNKNOWN_JOB
-- Writes nothing unless OK. Repeated: the same, from then on.
-- uses: clock, is_final
-- `running` and `held` may follow each other; an `accepted` that comes late changes nothing. Empty: no news.
local v1 = KEYS[1]
local stated, job, attempt, node, lease_ms, status = unpack(ARGV)
local RANK = { assigned = 1, accepted = 2, running = 3, held = 3 }

local key = v1 .. 'job:' .. job
local state, current, holder = unpack(redis.call('HMGET', key, 'status', 'attempt', 'node'))
if not state then return { 'UNKNOWN_JOB' } end
if is_final(state) then return { 'ALREADY_FINAL', tonumber(current), state } end
if attempt ~= current then return { 'STALE_ATTEMPT', tonumber(current), state } end
if state == 'pending' or node ~= holder then return { 'NOT_ASSIGNED', tonumber(current), state } end

local deadline = clock(stated) + lease_ms
if status ~= '' and RANK[status] >= RANK[state] then state = status end
redis.call('HSET', key, 'status', state)
redis.call('ZADD', v1 .. 'node:' .. node .. ':jobs', 'XX', deadline, job)
redis.call('ZADD', v1 .. 'deadlines', deadline, 'job:' .. job)
return { 'OK', tonumber(current), state }
