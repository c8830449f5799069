-- uses: settle, first_waiting, serve, keep_slot
-- To be called when a node may have room that it had not. Its free slots are offered: first to the jobs that wait for
-- this very node, then to those of its lanes, the longest waiting first. A slot is kept for 250 ms for each of the
-- latter, so that nobody takes it before the offer has reached the job's owner. Returns job, owner, …
local OFFER_HOLD_MS = 250

local function offer_slots(v1, node, now)
  local free, lanes = settle(v1, node)
  local key, offers, found = v1 .. 'node:' .. node, {}, {}
  if free <= 0 then return offers end
  redis.call('ZREMRANGEBYSCORE', key .. ':guests', '-inf', now)
  for _, job in ipairs(redis.call('ZRANGE', key .. ':guests', 0, free - 1)) do
    offers[#offers + 1] = job
    offers[#offers + 1] = redis.call('HGET', v1 .. 'job:' .. job, 'owner') or ''
  end
  free = math.min(16, free - #offers / 2)
  if free <= 0 then return offers end
  for _, lane in ipairs(lanes) do
    for _, line in ipairs({ lane .. '!', lane }) do
      for _, one in ipairs(first_waiting(v1, line, free, { id = node, key = key }, now)) do found[#found + 1] = one end
    end
  end
  table.sort(found, function(a, b) return a[3] < b[3] or a[3] == b[3] and a[1] < b[1] end)
  for rank = 1, math.min(free, #found) do
    local job, owner, _, line = unpack(found[rank])
    serve(v1, line, job, now)
    keep_slot(v1, node, job, now + OFFER_HOLD_MS)
    offers[#offers + 1] = job
    offers[#offers + 1] = owner
  end
  return offers
end
