-- uses: two_way
-- Puts a node into one shard (at most 100 members, ids 0–999) of a pair's pool and into its lanes; false: no room.
-- The search starts where shards of 64 would have room, so it ends after a step or two however many shards there are.
local function join_pair(v1, node, pair, class, instance)
  local key = v1 .. 'node:' .. node
  local start = math.floor(redis.call('ZCARD', v1 .. 'lane:' .. pair) / 64)
  for step = 0, 999 do
    local pool = (start + step) % 1000
    local shard = v1 .. 'pool:' .. pair .. ':' .. pool .. ':nodes'
    if redis.call('SCARD', shard) < 100 then
      redis.call('SADD', shard, node)
      redis.call('SADD', v1 .. 'pool:' .. pair .. ':shards', pool)
      redis.call('HSET', key .. ':pools', pair, pool)
      local both, back = two_way(pair)
      local lanes = redis.call('HEXISTS', key .. ':pools', back) == 1 and back ~= pair and { pair, both } or { pair }
      for _, lane in ipairs(lanes) do
        redis.call('ZADD', v1 .. 'lane:' .. lane, class, node)
        redis.call('ZADD', v1 .. 'lane:' .. lane .. '@' .. instance, class, node)
        local waiting = redis.call('EXISTS', v1 .. 'queue:' .. lane, v1 .. 'queue:' .. lane .. '!')
        if waiting > 0 or class > 0 then
          redis.call('SADD', key .. ':watched', lane)
        end
      end
      return true
    end
  end
  return false
end
