-- The states that a job never leaves.
local function is_final(status)
  return status == 'completed' or status == 'completed_no_text' or status == 'failed' or status == 'cancelled'
end
