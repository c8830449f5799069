-- uses: look, place
-- Looks at a node that a lane shows in `lane_class`, and writes down what the lane did not know: the dead are removed,
-- nodes that stand worse are moved and put on watch (`settle` brings them back). Returns look's answer; a node that was
-- moved or removed is `gone`, and there is one open node fewer.
local function meet(ask, node, lane_class)
  ask.budget = ask.budget - 1
  local kind, class, load, instance, free = look(ask, node)
  if kind == 'dead' then
    redis.call('ZREM', ask.lane_key, node)
    local leave_pair = ask.later().leave_pair
    for pair in string.gmatch(ask.pairs, '[^,]+') do leave_pair(ask.v1, node, pair) end
    ask.counts.dead = (ask.counts.dead or 0) + 1
    return 'gone'
  end
  if class > lane_class then
    place(ask.v1, ask.lane, instance, node, class)
    redis.call('SADD', ask.v1 .. 'node:' .. node .. ':watched', ask.lane)
    return 'gone'
  end
  return kind, load, instance, free
end
