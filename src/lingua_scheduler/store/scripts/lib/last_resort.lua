-- uses: look
-- The least loaded free node among those that the job is to avoid, or nil.
local function last_resort(ask)
  local best, exclude = nil, ask.exclude
  ask.exclude = ''
  for node in string.gmatch(exclude, '[^,]+') do
    if redis.call('ZSCORE', ask.lane_key, node) then
      local kind, _, load, instance = look(ask, node)
      if kind == 'free' and (not best or load < best.load) then
        best = { node = node, load = load, instance = instance }
      end
    end
  end
  ask.exclude = exclude
  return best
end
