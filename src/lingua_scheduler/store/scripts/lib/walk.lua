-- uses: meet
-- Looks at one open node after the other until one is free for this job: for the case that most are not. The others are
-- put on watch, for the job may come to wait. Returns the node; or nil and, where the budget is spent, a token that
-- says where to go on and what was met so far.
local function walk(ask, token)
  local rank = tonumber(string.match(token, '^%d+') or 0)
  for kind, count in string.gmatch(token, '(%a+)=(%d+)') do ask.counts[kind] = (ask.counts[kind] or 0) + count end
  while ask.budget > 0 do
    local open = redis.call('ZCOUNT', ask.lane_key, '-inf', '1')
    if rank >= open then return nil, nil end
    local node, score = unpack(redis.call('ZRANGE', ask.lane_key, rank, rank, 'WITHSCORES'))
    local kind, load, instance = meet(ask, node, tonumber(score))
    if kind == 'free' then return { node = node, load = load, instance = instance } end
    if kind ~= 'gone' then
      redis.call('SADD', ask.v1 .. 'node:' .. node .. ':watched', ask.lane)
      ask.counts[kind] = (ask.counts[kind] or 0) + 1
      rank = rank + 1
    end
  end
  token = tostring(rank)
  for kind, count in pairs(ask.counts) do token = token .. ' ' .. kind .. '=' .. count end
  return nil, token
end
