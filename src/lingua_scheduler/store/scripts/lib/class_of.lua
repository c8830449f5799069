-- Where a node stands in a lane: its score. A lane so sorts into free nodes (0), free but degraded ones (1), full (2),
-- full and degraded (3), suspect or registering (4), draining (5).
local function class_of(status, is_full)
  if status == 'ready' then return is_full and 2 or 0 end
  if status == 'degraded' then return is_full and 3 or 1 end
  return status == 'draining' and 5 or 4
end
