-- uses: meet
-- Draws candidates at random: two among the nodes of the job's own instance and, where those are over half loaded,
-- another among all; or two among all. A nearly idle one ends it: none could be much better. Ready nodes; degraded ones
-- where no ready node is open. Gives up after four that are not for this job, or were drawn before.
local IDLE_PERMILLE, HALF_PERMILLE = 150, 500

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

-- Looks at one node drawn from the first `size` of a lane or its part. Returns how many there are to draw from next:
-- where the node stands behind the open ones, those are counted.
local function draw_one(ask, key, found, size, class)
  local rank = string.format('%d', random_rank(ask, size))
  local node = redis.call('ZRANGE', key, rank, rank)[1]
  if is_drawn(found, node) then
    ask.misses = ask.misses + 1
    return size
  end
  local kind, load, instance = meet(ask, node, class)
  if kind == 'gone' then return redis.call('ZCOUNT', key, '-inf', class) end
  if kind == 'free' then
    ask.least = math.min(ask.least, load)
    found[#found + 1] = { node = node, load = load, instance = instance }
  else
    ask.misses = ask.misses + 1
  end
  return size
end

-- Up to `most` draws among the members of a lane, or of its part, that stand in `class` or before.
local function draw_some(ask, key, found, class, most)
  local size = redis.call('ZCARD', key)
  most, ask.misses = #found + most, 0
  while #found < most and #found < size and ask.least > IDLE_PERMILLE and ask.misses < 4 and ask.budget > 0 do
    size = draw_one(ask, key, found, size, class)
  end
end

local function draw(ask)
  local found, near_key = {}, ask.lane_key .. '@' .. ask.owner
  for class = 0, 1 do
    draw_some(ask, near_key, found, class, 2)
    if ask.least > HALF_PERMILLE and redis.call('ZCARD', near_key) < redis.call('ZCARD', ask.lane_key) then
      draw_some(ask, ask.lane_key, found, class, #found > 0 and 1 or 2)
    end
    if #found > 0 or ask.misses >= 4 or ask.budget <= 0 then break end
  end
  return found
end
