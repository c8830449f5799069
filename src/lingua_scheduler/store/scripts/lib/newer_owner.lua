-- The epoch of whoever owns the session since the one of `epoch` did, or nil. Without an epoch nobody is asked.
local function newer_owner(session_area, session, epoch)
  if epoch == '' then return nil end
  local current = tonumber(redis.call('HGET', session_area .. 'session:' .. session, 'epoch') or 0)
  return current > tonumber(epoch) and current or nil
end
