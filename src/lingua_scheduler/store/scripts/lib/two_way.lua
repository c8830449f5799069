-- The lane of nodes that serve both directions of a pair (`en~zh`), and the other direction (`en:zh` for `zh:en`).
local function two_way(pair)
  local src, tgt = string.match(pair, '([^:]+):(.+)')
  return src < tgt and src .. '~' .. tgt or tgt .. '~' .. src, tgt .. ':' .. src
end
