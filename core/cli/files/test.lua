--- tidegate test: runs Busted in a state of tidegate's own, so that specs may wait and use tg.test.

local fine, runner = pcall(require, "busted.runner")

if not fine then
  local missing = tostring(runner):find("module 'busted.runner' not found", 1, true)
  io.stderr:write("tidegate: test: ", missing
    and "Busted is not installed for Lua 5.4: try `apt install lua-busted`"
    or tostring(runner), "\n")
  os.exit(3)
end

-- A .busted may name an interpreter for those who run Busted by itself.
table.insert(arg, 1, "--ignore-lua")
runner({ standalone = false })
