-- uses: meet
-- Whether more slots are free than `ahead` jobs stand in line before this one. Eight open nodes are looked at: where
-- that is not enough to tell, no.
local function has_room_beyond(ask, ahead)
  local rank, room = 0, 0
  for _ = 1, 8 do
    local node, score = unpack(redis.call('ZRANGE', ask.lane_key, rank, rank, 'WITHSCORES'))
    if not node or tonumber(score) > 1 then break end
    local kind, _, _, free = meet(ask, node, tonumber(score))
    if kind == 'free' then room = room + free end
    if room > ahead then return true end
    if kind ~= 'gone' then rank = rank + 1 end
  end
  return false
end
