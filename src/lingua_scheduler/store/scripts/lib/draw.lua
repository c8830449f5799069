-- uses: meet
-- Draws candidates: two at random among the nodes of the job's own instance and one among all, or two among all. Ready
-- nodes only; degraded ones where no ready node is open. Gives up after four that are open but not for this job.
local function random_rank(ask, size)
  ask.seed = (ask.seed * 16807) % 2147483647  -- Park and Miller 1988: exact in doubles, and the same in every language
  return ask.seed % size
end

local function is_drawn(found, node)
  for _, one in ipairs(found) do
    if one.node == node then return true end
  end
  return false
end

local function draw(ask)
  local found, drawn, misses, class, open, near, near_first = {}, 0, 0, nil, 0, 0, 0
  while misses < 4 and ask.budget > 0 do
    if not class then
      class, open = 0, redis.call('ZCOUNT', ask.lane_key, '-inf', '(' .. CLASS)
      if open == 0 then class, open = 1, redis.call('ZCOUNT', ask.lane_key, CLASS, '(' .. 2 * CLASS) end
      if open == 0 or class == 1 and #found > 0 then break end
      local mine = class * CLASS + ask.bucket
      near = redis.call('ZCOUNT', ask.lane_key, mine, mine)
      if near == open then near = 0 end
      near_first = near > 0 and redis.call('ZCOUNT', ask.lane_key, '-inf', '(' .. mine) or 0
    end
    if drawn >= (near > 0 and 3 or 2) then break end
    local rank = near > 0 and drawn < 2 and near_first + random_rank(ask, near) or random_rank(ask, open)
    local node = redis.call('ZRANGE', ask.lane_key, rank, rank)[1]
    local kind, load, instance = meet(ask, node, class)
    if kind == 'free' then
      drawn = drawn + 1
      if not is_drawn(found, node) then found[#found + 1] = { node = node, load = load, instance = instance } end
    elseif kind == 'gone' then
      class = nil
    else
      misses = misses + 1
    end
  end
  return found
end
