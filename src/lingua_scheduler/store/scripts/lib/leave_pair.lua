-- uses: two_way
-- Takes a node out of one pair's pool and lanes. An emptied shard leaves the list of shards.
local function leave_pair(v1, node, pair)
  local key = v1 .. 'node:' .. node
  local pool = redis.call('HGET', key .. ':pools', pair)
  if not pool then return end
  local shard = v1 .. 'pool:' .. pair .. ':' .. pool .. ':nodes'
  redis.call('SREM', shard, node)
  if redis.call('EXISTS', shard) == 0 then redis.call('SREM', v1 .. 'pool:' .. pair .. ':shards', pool) end
  local both = two_way(pair)
  local home = redis.call('GET', key .. ':home')
  for _, lane in ipairs({ pair, both }) do
    redis.call('ZREM', v1 .. 'lane:' .. lane, node)
    redis.call('ZREM', v1 .. 'lane:' .. lane .. '@' .. home, node)
  end
  redis.call('SREM', key .. ':watched', pair, both)
  redis.call('HDEL', key .. ':pools', pair)
end
