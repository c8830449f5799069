-- uses: two_way
-- Notes to which instance a node is connected, and moves it there within its lanes.
local function move_home(v1, node, instance)
  local key = v1 .. 'node:' .. node
  local old = redis.call('SET', key .. ':home', instance, 'GET')
  if not old or old == instance then return end
  for _, pair in ipairs(redis.call('HKEYS', key .. ':pools')) do
    for _, lane in ipairs({ pair, (two_way(pair)) }) do
      local class = redis.call('ZSCORE', v1 .. 'lane:' .. lane, node)
      if class then
        redis.call('ZREM', v1 .. 'lane:' .. lane .. '@' .. old, node)
        redis.call('ZADD', v1 .. 'lane:' .. lane .. '@' .. instance, class, node)
      end
    end
  end
end
