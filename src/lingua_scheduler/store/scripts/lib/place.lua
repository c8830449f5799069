-- Puts a member of a lane into another class, there and among the nodes of its instance.
local function place(v1, lane, instance, node, class)
  redis.call('ZADD', v1 .. 'lane:' .. lane, 'XX', class, node)
  redis.call('ZADD', v1 .. 'lane:' .. lane .. '@' .. instance, 'XX', class, node)
end
