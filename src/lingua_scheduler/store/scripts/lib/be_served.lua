-- uses: serve, stop_waiting
-- The job that waited gets its slot: it leaves the line, or the guests of the node.
local function be_served(ask)
  if ask.known.line then serve(ask.v1, ask.known.line, ask.job, ask.now) end
  stop_waiting(ask.v1, ask.job, ask.known.line, ask.known.guest_of)
end
