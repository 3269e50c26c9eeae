-- edn.lua - a strict reader of EDN (edn-format.org), as far as it has values that Lua has: the second
-- implementation that printed EDN is read back by.
local edn = {}

edn.null = setmetatable({}, { __tostring = function() return "nil" end })

local function fail(self, what)
  error(("%s at byte %d: %s"):format(what, self.at, self.text:sub(self.at, self.at + 20)), 0)
end

local function take(self, pattern)
  local from, to, captured = self.text:find("^" .. pattern, self.at)
  if not from then return nil end
  self.at = to + 1
  return captured or self.text:sub(from, to)
end

local ESCAPES = { t = "\t", r = "\r", n = "\n", b = "\b", f = "\f", ["\\"] = "\\", ['"'] = '"' }

local function read_string(self)
  local parts = {}
  while true do
    parts[#parts + 1] = take(self, '[^"\\]*')
    if take(self, '"') then return table.concat(parts) end
    take(self, "\\")
    local code = take(self, "u(%x%x%x%x)")
    local c = code and utf8.char(tonumber(code, 16)) or ESCAPES[take(self, ".")]
    parts[#parts + 1] = c or fail(self, "no escape")
  end
end

-- Behind the colon.
local function read_keyword(self)
  local text = take(self, "[%w%.%*%+!%-_%?%$%%&=<>/:#]+") or fail(self, "no keyword")
  local namespace, name = text:match("^([^/]+)/([^/]+)$")
  for _, symbol in ipairs(namespace and { namespace, name } or { text }) do
    if symbol:find("/") or symbol:find("^[%d:#]") or symbol:find("^[%-+%.]%d") then fail(self, "no symbol: " .. symbol) end
  end
  return text
end

local function read_number(self)
  local text = take(self, "[%-+]?%d[%w%.+%-]*") or fail(self, "no value")
  local int = text:match("^[%-+]?(%d+)$")
  local whole = int or text:match("^[%-+]?(%d+)%.%d+$") or text:match("^[%-+]?(%d+)%.%d+[eE][%-+]?%d+$")
    or text:match("^[%-+]?(%d+)[eE][%-+]?%d+$")
  if not whole or whole:find("^0%d") then fail(self, "no number: " .. text) end
  return int and math.tointeger(tonumber(text)) or (tonumber(text) + 0.0)
end

local read

local function skip(self) take(self, "[%s,]*") end

local function read_vector(self)
  local list = {}
  while true do
    skip(self)
    if take(self, "%]") then return list end
    list[#list + 1] = read(self)
  end
end

-- Keywords and strings are different keys to EDN; where both come to one name that is a mistake.
local function read_map(self)
  local map = {}
  while true do
    skip(self)
    if take(self, "}") then return map end
    local key = take(self, ":") and read_keyword(self) or take(self, '"') and read_string(self) or fail(self, "no key")
    if map[key] ~= nil then fail(self, "twice: " .. key) end
    map[key] = read(self)
  end
end

function read(self)
  skip(self)
  if take(self, "%[") then return read_vector(self) end
  if take(self, "{") then return read_map(self) end
  if take(self, '"') then return read_string(self) end
  local word = take(self, "%l+")
  if not word then return read_number(self) end
  if word == "nil" then return edn.null end
  if word ~= "true" and word ~= "false" then fail(self, "no value: " .. word) end
  return word == "true"
end

-- The one value of a text; raises what is wrong with it.
function edn.decode(text)
  local self = { text = text, at = 1 }
  local value = read(self)
  skip(self)
  if self.at <= #text then fail(self, "more than a value") end
  return value
end

return edn
