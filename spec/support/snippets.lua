-- snippets.lua - the Lua in a Markdown file, and what the file says that it does.
--
-- A ```lua block is a script when it returns a table with routes; otherwise it is the body of a handler,
-- with tg, request and ctx at hand, served at every path.  The ```console block after it has lines of
-- `$ curl …`, which are run against it, and what they print; a line that is … alone stands for any
-- lines, and … within one for any text.  Two spaces and a # begin a remark.  A block without one is
-- ```lua check: it is only loaded.  One of ```lua spec is a spec, with tg at hand, that `tidegate test` runs.
local snippets = {}

local HANDLER = [[
local tg = require("tidegate")
return { routes = { { "/*rest", any = function(request, ctx)
%s
end }, { "/", any = function(request, ctx)
%s
end } } }
]]

local function blocks_of(text)
  local blocks, open = {}, nil
  local number = 0
  for line in (text .. "\n"):gmatch("(.-)\n") do
    number = number + 1
    local info = line:match("^```(.*)$")
    if info and open then
      blocks[#blocks + 1], open = open, nil
    elseif info then
      open = { info = info, line = number, lines = {} }
    elseif open then
      open.lines[#open.lines + 1] = line
    end
  end
  return blocks
end

local function without_remark(line) return (line:gsub("%s%s+# .*$", "")) end

-- { { command = "curl …", expected = { lines } } … }
local function commands_of(block)
  local commands = {}
  for _, line in ipairs(block and block.lines or {}) do
    local command = line:match("^%$ (.*)$")
    if command then
      commands[#commands + 1] = { command = without_remark(command), expected = {} }
    elseif #commands > 0 then
      local expected = commands[#commands].expected
      expected[#expected + 1] = without_remark(line)
    end
  end
  return commands
end

-- The snippets of a file: { line, script, commands, check }.
function snippets.of(text)
  local list, blocks = {}, blocks_of(text)
  for i, block in ipairs(blocks) do
    if block.info:match("^lua") then
      local code = table.concat(block.lines, "\n")
      local next_block = blocks[i + 1]
      local console = next_block and not next_block.info:match("^lua") and next_block or nil
      list[#list + 1] = {
        line = block.line,
        script = code:find("routes%s*=") and code or HANDLER:format(code, code),
        commands = commands_of(console),
        check = block.info:match("check") ~= nil,
        spec = block.info:match("spec") and 'local tg = require("tidegate")\n' .. code,
      }
    end
  end
  return list
end

-- The words of a shell line that quotes with ' or ".
function snippets.words(line)
  local list, rest = {}, line
  while rest ~= "" do
    local word, after = rest:match("^'([^']*)'%s*(.*)$")
    if not word then word, after = rest:match('^"([^"]*)"%s*(.*)$') end
    if not word then word, after = rest:match("^(%S+)%s*(.*)$") end
    list[#list + 1], rest = word, after
  end
  return list
end

local function pattern_of(line)
  return "^" .. line:gsub("[%^%$%(%)%%%.%[%]%*%+%-%?]", "%%%0"):gsub("…", ".*") .. "$"
end

-- Whether the lines printed are those expected.
local function same(printed, expected, p, e)
  while e <= #expected do
    if expected[e] == "…" then
      for from = p, #printed + 1 do
        if same(printed, expected, from, e + 1) then return true end
      end
      return false
    end
    if not printed[p] or not printed[p]:match(pattern_of(expected[e])) then return false end
    p, e = p + 1, e + 1
  end
  return p > #printed
end

function snippets.prints(output, expected)
  local printed = {}
  for line in (output:gsub("\r", ""):gsub("\n$", "") .. "\n"):gmatch("(.-)\n") do
    printed[#printed + 1] = line
  end
  return same(printed, expected, 1, 1)
end

return snippets
