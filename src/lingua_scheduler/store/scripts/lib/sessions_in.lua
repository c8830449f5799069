-- The sessions of a room's members, from the fields of its hash.
local function sessions_in(fields)
  local found = {}
  for _, field in ipairs(fields) do
    local session = string.match(field, '^member:(.*)$')
    if session then found[#found + 1] = session end
  end
  return found
end
