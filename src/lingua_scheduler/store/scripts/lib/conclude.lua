-- uses: stand_in_line, stop_waiting, last_resort, reserve
-- No open node can take the job: it goes to one that it should avoid, waits, or is told why not.
local function conclude(ask, is_soft)
  local lane, counts = ask.lane_key, ask.counts
  local total = redis.call('ZCARD', lane)
  for class, kind in pairs({ [2] = 'full', [3] = 'degraded', [4] = 'suspect', [5] = 'draining' }) do
    local count = redis.call('ZCOUNT', lane, class, class)
    if count > 0 then counts[kind] = count end
  end
  local picky = (counts.excluded or 0) + (counts.unavailable or 0) + (counts.unsupported or 0)
  if is_soft and counts.excluded then
    local others = total - picky - (counts.draining or 0)
    local chosen = (others <= 0 or ask.wait_ms == 0) and last_resort(ask)
    if chosen then return reserve(ask, chosen, 'excluded', { chosen }) end
  end
  local is_served = total > (counts.unsupported or 0)
  if is_served and ask.wait_ms > 0 then
    local reply = stand_in_line(ask, picky > 0 and ask.lane .. '!' or ask.lane)
    if reply then return reply end
  end
  stop_waiting(ask.v1, ask.job, ask.known.line, ask.known.guest_of)
  local told = {}
  for kind, count in pairs(counts) do
    told[#told + 1] = kind
    told[#told + 1] = count
  end
  local reason = 'all_draining'
  if not is_served then
    reason = redis.call('SCARD', ask.v1 .. 'nodes:all') == 0 and 'no_nodes' or 'none_for_pair'
  elseif counts.full or counts.kept then reason = 'all_full'
  elseif picky > 0 then reason = 'all_excluded'
  elseif counts.degraded or counts.suspect then reason = 'all_degraded'
  end
  return { 'NO_NODE', reason, told }
end
