-- Scripts that run inside Redis: what its sandbox offers, and nothing of the operating system.
stds.redis = {
  read_globals = {
    "redis", "cjson", "KEYS", "ARGV",
    "string", "table", "math",
    "assert", "error", "ipairs", "next", "pairs", "pcall", "select", "tonumber", "tostring", "type", "unpack",
  },
}
std = "redis"
max_line_length = 120
-- Redis is given these in one text, each after the library files that it uses: tests/store lints what Redis is given.
exclude_files = { "**/store/scripts/**" }
