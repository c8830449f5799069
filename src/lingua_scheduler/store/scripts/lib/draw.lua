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

local function draw_one(ask, found, first, size, class)
  local rank = first + random_rank(ask, size)
  local node = redis.call('ZRANGE', ask.lane_key, rank, rank)[1]
  if is_drawn(found, node) then
    ask.misses = ask.misses + 1
    return true
  end
  local kind, load, instance = meet(ask, node, class)
  if kind == 'free' then
    ask.least = math.min(ask.least, load)
    found[#found + 1] = { node = node, load = load, instance = instance }
  elseif kind ~= 'gone' then
    ask.misses = ask.misses + 1
  end
  return kind ~= 'gone'
end

-- Up to `most` draws among the open nodes of a class (0 or 1): of the job's own instance, or of all if those are more.
local function draw_some(ask, found, class, is_near, most)
  local low, high, size, first = class * CLASS, '(' .. (class + 1) * CLASS, nil, nil
  most, ask.misses = #found + most, 0
  if is_near then low, high = low + ask.bucket, low + ask.bucket end
  while #found < most and ask.least > IDLE_PERMILLE and ask.misses < 4 and ask.budget > 0 do
    if not size then
      size = redis.call('ZCOUNT', ask.lane_key, low, high)
      if is_near then ask.near = size end
      first = low > 0 and redis.call('ZCOUNT', ask.lane_key, '-inf', '(' .. low) or 0
    end
    if size == 0 or size == #found or not is_near and size == ask.near then return end
    if not draw_one(ask, found, first, size, class) then size = nil end
  end
end

local function draw(ask)
  local found = {}
  for class = 0, 1 do
    ask.near = 0
    draw_some(ask, found, class, true, 2)
    if ask.least > HALF_PERMILLE then draw_some(ask, found, class, false, #found > 0 and 1 or 2) end
    if #found > 0 or ask.misses >= 4 or ask.budget <= 0 then break end
  end
  return found
end
