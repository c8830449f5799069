-- Where a node stands in a lane: class × CLASS + the bucket of its instance. The classes sort a lane into free nodes
-- (0), free but degraded ones (1), full (2), full and degraded (3), suspect or registering (4), draining (5).
local CLASS = 1048576

local function class_of(status, is_full)
  if status == 'ready' then return is_full and 2 or 0 end
  if status == 'degraded' then return is_full and 3 or 1 end
  return status == 'draining' and 5 or 4
end
