-- select_node: finds a node for an attempt of a job and reserves one of its slots, or puts the job into a queue.
-- KEYS: v1 session_area presence_area
-- ARGV: stated seed walked job job_key attempt session tenant index lane pairs_asked other_pairs services
-- ARGV: lease_ms wait_ms trace owner exclude soft affinity affinity_wait_ms bind epoch
-- Reply: SELECTED node instance attempt why {node load …} | QUEUED position estimated_ms retry_ms
--   | NO_NODE reason {why count …} | AGAIN walked | DONE job status | STALE_ATTEMPT attempt
--   | STALE_EPOCH epoch
-- Writes the job with SELECTED and QUEUED; NO_NODE takes it out of its queue; AGAIN, DONE and STALE_… leave it.
-- Repeated: SELECTED with the same node (why `repeat`) while the slot is the job's; QUEUED with its place in line.
-- uses: clock, draw, reserve, newer_owner
-- later: known_job, take_turn, walk, conclude, be_served, leave_pair
-- A call looks at no more than 64 nodes. Those that are full or gone leave the lane's open ranks as they are met, so
-- AGAIN gets on; `walked` says where to go on among nodes that are open but not for this job, and is empty at first.
local v1, session_area = KEYS[1], KEYS[2]
local stated, seed, walked, job, job_key, attempt, session, tenant, index, lane, pairs_asked, other_pairs, services,
  lease_ms, wait_ms, trace, owner, exclude, soft, affinity, affinity_wait_ms, bind, epoch = unpack(ARGV)
local PROBES_MAX, REMOTE_PERMILLE = 64, 200

local newer = newer_owner(session_area, session, epoch)
if newer then return { 'STALE_EPOCH', newer } end
local key_name = session_area .. 'job_key:' .. job_key
local holder = redis.call('GET', key_name)
if holder and holder ~= job then
  local status = redis.call('HGET', v1 .. 'job:' .. holder, 'status')
  if status then return { 'DONE', holder, status } end
end
local known, rare = {}, nil
if redis.call('EXISTS', v1 .. 'job:' .. job, v1 .. 'queue:' .. lane) > 0 or affinity ~= '' then
  rare = later()
  local answer
  known, answer = rare.known_job(v1, job, tonumber(attempt))
  if answer then return answer end
end

local ask = { v1 = v1, session_area = session_area, now = clock(stated), seed = tonumber(seed), budget = PROBES_MAX,
  counts = {}, known = known, job = job, key_name = key_name, has_key = holder == job, attempt = tonumber(attempt),
  attempt_text = attempt, session = session, tenant = tenant, index = index, lane = lane,
  lane_key = v1 .. 'lane:' .. lane, pairs = pairs_asked, other_pairs = other_pairs, services = services,
  lease_ms = tonumber(lease_ms), wait_ms = tonumber(wait_ms), trace = trace, owner = owner, exclude = exclude,
  bind = bind, least = math.huge, later = later }

local reply = rare and rare.take_turn(ask, affinity, affinity_wait_ms)
if reply then return reply end
local found = walked == '' and draw(ask) or {}
if #found == 0 then
  if ask.budget <= 0 then return { 'AGAIN', '' } end
  rare = rare or later()
  local chosen, token = rare.walk(ask, walked)
  if token then return { 'AGAIN', token } end
  if not chosen then return rare.conclude(ask, soft == '1') end
  found[1] = chosen
end
local best, least = nil, math.huge
for _, one in ipairs(found) do
  local load = one.load + (one.instance == owner and 0 or REMOTE_PERMILLE)
  if load < least then best, least = one, load end
end
return reserve(ask, best, #found > 1 and 'two_choices' or 'only', found)
