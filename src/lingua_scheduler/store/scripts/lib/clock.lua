-- The server's time in milliseconds. Only tests and simulations state another.
local function clock(stated)
  if stated ~= '' then return tonumber(stated) end
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
