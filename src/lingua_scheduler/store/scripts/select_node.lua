-- select_node: finds a node for an attempt of a job and reserves one of its slots, or puts the job into a queue.
-- KEYS: v1 session_area presence_area
-- ARGV: stated seed walked job job_key attempt session tenant index lane pair_list services lease_ms wait_ms
-- ARGV: trace owner bucket exclude soft affinity affinity_wait_ms bind
-- Reply: SELECTED node instance attempt why {node load …} | QUEUED position estimated_ms retry_ms
--   | NO_NODE reason {why count …} | AGAIN walked | DONE job status | STALE_ATTEMPT attempt
-- Writes the job with SELECTED and QUEUED; NO_NODE takes it out of its queue; AGAIN, DONE and STALE_ATTEMPT leave it.
-- Repeated: SELECTED with the same node and why `repeat`; QUEUED with its place in the line.
-- uses: clock, known_job, visit, first_waiting, has_room_beyond, draw, walk, conclude, reserve
-- A call looks at no more than 64 nodes. Those that are full or gone leave the lane's open ranks as they are met, so
-- AGAIN gets on; `walked` says where to go on among nodes that are open but not for this job.
local v1, session_area = KEYS[1], KEYS[2]
local stated, seed, walked, job, job_key, attempt, session, tenant, index, lane, pair_list, services, lease_ms, wait_ms,
  trace, owner, bucket, exclude, soft, affinity, affinity_wait_ms, bind = unpack(ARGV)
local PROBES_MAX, REMOTE_PERMILLE = 64, 150

local key_name = session_area .. 'job_key:' .. job_key
local holder = redis.call('GET', key_name)
if holder and holder ~= job then
  local status = redis.call('HGET', v1 .. 'job:' .. holder, 'status')
  if status then return { 'DONE', holder, status } end
end
local known, answer = known_job(v1, job, tonumber(attempt))
if answer then return answer end

local ask = { v1 = v1, session_area = session_area, now = clock(stated), seed = tonumber(seed), budget = PROBES_MAX,
  counts = {}, known = known, job = job, key_name = key_name, has_key = holder == job, attempt = tonumber(attempt),
  session = session, tenant = tenant, index = index, lane = lane, lane_key = v1 .. 'lane:' .. lane,
  pair_list = pair_list, pairs = {}, other_pairs = {}, services = services, lease_ms = tonumber(lease_ms),
  wait_ms = tonumber(wait_ms), trace = trace, owner = owner, bucket = tonumber(bucket), exclude = exclude, bind = bind,
  fields = { 'status', 'capacity', 'load', 'instance', 'guests_until' } }
for service in string.gmatch(services, '[^,]+') do ask.fields[#ask.fields + 1] = 'service:' .. service end
for pair in string.gmatch(pair_list, '[^,]+') do
  ask.pairs[#ask.pairs + 1] = pair
  if not string.find(lane, '~', 1, true) and pair ~= lane then ask.other_pairs[#ask.other_pairs + 1] = pair end
end

local patience = math.min(tonumber(affinity_wait_ms), ask.wait_ms)
for _, host in ipairs({ known.guest_of or affinity, affinity }) do
  local reply = host ~= '' and visit(ask, host, affinity, tonumber(known.affinity_until_ms or ask.now + patience))
  if reply then return reply end
end

if known.line ~= lane .. '!' then
  local queue = v1 .. 'queue:' .. lane
  local ahead = redis.call('ZCARD', queue)
  if ahead > 0 then
    first_waiting(v1, lane, 1, nil, ask.now)
    ahead = known.line == lane and redis.call('ZRANK', queue, job) or redis.call('ZCARD', queue)
    if ahead > 0 and not has_room_beyond(ask, ahead) then
      ask.counts.kept = 1
      return conclude(ask, false)
    end
  end
end

local found = walked == '' and draw(ask) or {}
if #found == 0 then
  local chosen, token = walk(ask, walked)
  if token then return { 'AGAIN', token } end
  if not chosen then return conclude(ask, soft == '1') end
  found[1] = chosen
end
local best, least = nil, math.huge
for _, one in ipairs(found) do
  local load = one.load + (one.instance == owner and 0 or REMOTE_PERMILLE)
  if load < least then best, least = one, load end
end
return reserve(ask, best, #found > 1 and 'two_choices' or 'only', found)
