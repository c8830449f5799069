-- The first jobs of a line that could use `node` (nil: any), at most `most` among the first 16. Entries whose wait has
-- ended or whose job went on otherwise are removed on the way. Each: { job, owner, queued_ms, line }.
local function fits(node, exclude, services, tenant, now)
  node.private = node.private or redis.call('HGET', node.key, 'private') or ''
  if node.private ~= '' and not string.find(',' .. node.private, ',!' .. (tenant or '') .. ',', 1, true) then
    return false
  end
  if string.find(exclude or '', ',' .. node.id .. ',', 1, true) then return false end
  for service in string.gmatch(services or '', '[^,]+') do
    local blocked_until = redis.call('HGET', node.key, 'service:' .. service)
    if not blocked_until or tonumber(blocked_until) > now then return false end
  end
  return true
end

local function first_waiting(v1, line, most, node, now)
  local queue, found = v1 .. 'queue:' .. line, {}
  for _, job in ipairs(redis.call('ZRANGE', queue, 0, 15)) do
    local status, its_line, wait_until, queued, owner, exclude, services, tenant = unpack(redis.call('HMGET',
      v1 .. 'job:' .. job, 'status', 'line', 'wait_until_ms', 'queued_ms', 'owner', 'exclude', 'services',
      'tenant'))
    if status ~= 'pending' or its_line ~= line or tonumber(wait_until) <= now then
      redis.call('ZREM', queue, job)
    elseif not node or fits(node, exclude, services, tenant, now) then
      found[#found + 1] = { job, owner, tonumber(queued), line }
      if #found >= most then break end
    end
  end
  return found
end
