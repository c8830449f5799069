-- Scripts that run inside Redis: Lua 5.1 with these globals and no others.
std = "lua51"
max_line_length = 120
read_globals = { "redis", "cjson", "cmsgpack", "struct", "bit" }
files["**/*.lua"].read_globals = { "redis", "cjson", "KEYS", "ARGV" }
