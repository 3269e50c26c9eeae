--- tg.json.decode: lua-cjson, in an instance of our own.

local core = require("tidegate.core")

local json = {}

local DEPTH_MAX = 128 -- as deep as what is printed
local EXACT = 2 ^ 53 -- beyond it a double is no integer for sure

local decoder

--- Loaded when it is first needed: what does not decode does without lua-cjson.
local function instance()
  if not decoder then
    local found, cjson = pcall(require, "cjson")
    if not found then
      error("tg.json.decode: lua-cjson is not installed (Debian: lua-cjson)", 3)
    end
    decoder = cjson.new()
    decoder.decode_max_depth(DEPTH_MAX)
    decoder.decode_invalid_numbers(false)
  end
  return decoder
end

--- Numbers that are integers become such; null becomes tg.json.null.
local function settle(value)
  for key, item in next, value do
    local kind = type(item)
    if kind == "table" then
      settle(item)
    elseif kind == "number" then
      value[key] = item >= -EXACT and item <= EXACT and math.tointeger(item) or item
    elseif kind == "userdata" then
      value[key] = core.json.null
    end
  end
end

--- The value of a JSON text. null is tg.json.null, also at the top; numbers without a fraction are
--- integers up to 2^53. An empty object is an empty table, which prints as `[]`.
---@param text string
---@return any value nil for what is no JSON
---@return string? why
function json.decode(text)
  if type(text) ~= "string" then
    error(("tg.json.decode: expected a string, got a %s"):format(type(text)), 2)
  end
  if not utf8.len(text) then
    return nil, "the text is not valid UTF-8"
  end
  local fine, value = pcall(instance().decode, text)
  if not fine then
    return nil, tostring(value)
  end
  local box = { value }
  settle(box)
  return box[1]
end

return json
