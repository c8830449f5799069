-- finish_job: ends a job and frees its slot.
-- KEYS: v1 session_area presence_area
-- ARGV: stated job attempt node status hold cause speaker epoch result
-- Reply: OK attempt status {job owner …} | REPEAT attempt status | STALE_ATTEMPT attempt status
--   | NOT_ASSIGNED attempt status | ALREADY_FINAL attempt status | UNKNOWN_JOB | STALE_EPOCH epoch
-- Writes nothing unless OK. Repeated: REPEAT.
-- uses: clock, is_final, give_back, stop_waiting, offer_slots, newer_owner, keep_result
-- Of a session that can be resumed (`speaker`) the owner's epoch is a fence too, and `result` goes into its outbox.
-- An empty `node` is the owner speaking for itself: it may end the job wherever it is, also one that was never placed.
local v1, session_area = KEYS[1], KEYS[2]
local stated, job, attempt, node, status, hold, cause, speaker, epoch, result = unpack(ARGV)
local JOB_TTL_MS, SESSION_TTL_MS = 3600000, 300000

local newer = newer_owner(session_area, speaker, epoch)
if newer then return { 'STALE_EPOCH', newer } end
local now, key = clock(stated), v1 .. 'job:' .. job
local state, current, holder, session, line, guest_of = unpack(redis.call('HMGET', key, 'status', 'attempt', 'node',
  'session', 'line', 'guest_of'))
if not state and node ~= '' then return { 'UNKNOWN_JOB' } end
if state then
  local stored = tonumber(current)
  if is_final(state) then
    local is_same = current == attempt and state == status and (node == '' or node == holder)
    return { is_same and 'REPEAT' or 'ALREADY_FINAL', stored, state }
  end
  if tonumber(attempt) < stored or tonumber(attempt) > stored and node ~= '' then
    return { 'STALE_ATTEMPT', stored, state }
  end
  if node ~= '' and (state == 'pending' or node ~= holder) then return { 'NOT_ASSIGNED', stored, state } end
end

redis.call('HSET', key, 'status', status, 'attempt', attempt, 'finished_ms', now)
if cause ~= '' then redis.call('HSET', key, 'cause:' .. attempt, cause) end
if not state then redis.call('PEXPIRE', key, JOB_TTL_MS) end
if session then
  local session_key = session_area .. 'session:' .. session
  redis.call('HDEL', session_key, 'timeout_node_id', 'max_duration_node_id')
  if hold ~= 'none' then
    redis.call('HSET', session_key, hold .. '_node_id', node)
    redis.call('PEXPIRE', session_key, SESSION_TTL_MS)
  end
end
if result ~= '' then keep_result(session_area, speaker, job, result) end
local freed = stop_waiting(v1, job, line, guest_of)
if state and state ~= 'pending' then
  give_back(v1, job, holder)
  freed = holder
end
return { 'OK', tonumber(attempt), status, freed and offer_slots(v1, freed, now) or {} }
