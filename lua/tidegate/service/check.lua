--- Collecting problems: what every part of the service table's check is made of.

local SHOWN_MAX = 80 -- bytes of a script's own text in a message

--- One check of one service table.
---@class tidegate.service.Check
---@field problems string[]
---@field limits? string[]            the names there are
---@field interceptors table<table, tidegate.Interceptor|false>  by the script's own table
---@field names table<string, string>  the label of the route that has it
---@field shapes table<string, string> the same
---@field routes tidegate.Route[]
local Check = {}
Check.__index = Check

---@param limits? string[]
function Check.new(limits)
  return setmetatable({
    problems = {},
    limits = limits,
    interceptors = {},
    names = {},
    shapes = {},
    routes = {},
  }, Check)
end

function Check.set_of(list)
  local set = {}
  for _, item in ipairs(list) do
    set[item] = true
  end
  return set
end

--- On one line and not too long, whatever the script wrote.
function Check.quote(value)
  if type(value) ~= "string" then
    return tostring(value)
  end
  local text = #value > SHOWN_MAX and value:sub(1, SHOWN_MAX) .. "..." or value
  return '"' .. text:gsub('[%c"\\]', function(char)
    return char:find("%c") and ("\\x%02X"):format(char:byte()) or "\\" .. char
  end) .. '"'
end

function Check.kind_of(value)
  if value == nil then
    return "nothing"
  end
  local name = math.type(value) == "integer" and "integer" or type(value)
  return (name:find("^[aeiou]") and "an " or "a ") .. name
end

--- Levenshtein's, row by row.
local function distance(a, b)
  local row = {}
  for j = 0, #b do
    row[j] = j
  end
  for i = 1, #a do
    local diagonal = row[0]
    row[0] = i
    for j = 1, #b do
      local cost = a:byte(i) == b:byte(j) and diagonal or 1 + math.min(diagonal, row[j], row[j - 1])
      diagonal, row[j] = row[j], cost
    end
  end
  return row[#b]
end

local function nearest(key, known)
  local best, least
  for _, candidate in ipairs(known) do
    local d = distance(key:sub(1, SHOWN_MAX):lower(), candidate)
    if not least or d < least then
      best, least = candidate, d
    end
  end
  return best
end

--- The indices and the other keys of a table, each sorted, so that messages have one order.
function Check.split(value)
  local indices, keys = {}, {}
  for key in next, value do
    local list = math.type(key) == "integer" and indices or keys
    list[#list + 1] = key
  end
  table.sort(indices)
  table.sort(keys, function(a, b)
    return tostring(a) < tostring(b)
  end)
  return indices, keys
end

---@param where string  "" for the service itself
function Check:problem(where, message, ...)
  local text = message:format(...)
  self.problems[#self.problems + 1] = where == "" and text or where .. ": " .. text
end

--- False, with a problem, unless value is nil or of the wanted type.
function Check:is(where, value, wanted, description)
  if value == nil or type(value) == wanted then
    return value ~= nil
  end
  self:problem(where, "expected %s, got %s", description, Check.kind_of(value))
  return false
end

--- known is not empty.
function Check:unknown_key(where, key, known)
  local hint = type(key) == "string" and (", did you mean %q?"):format(nearest(key, known)) or ""
  self:problem(where, "unknown key %s%s", Check.quote(key), hint)
end

function Check:keys(where, value, known)
  local set = Check.set_of(known)
  local indices, keys = Check.split(value)
  table.move(keys, 1, #keys, #indices + 1, indices)
  for _, key in ipairs(indices) do
    if not set[key] then
      self:unknown_key(where, key, known)
    end
  end
end

--- Calls each(item, n) for the items of a list from `first` on; what is no list is a problem.
function Check:items(where, list, first, each)
  local indices = Check.split(list)
  local expected = first
  for _, index in ipairs(indices) do
    if index > expected then
      self:problem(where, "the list has a hole at %d: what stands there is nil", expected)
    end
    if index >= first then
      each(list[index], index)
      expected = index + 1
    elseif index < 1 then
      self:problem(where, "unknown key %d", index)
    end
  end
  return expected - first
end

--- As items(), and other keys than indices are problems too.
function Check:list(where, list, each)
  local _, keys = Check.split(list)
  for _, key in ipairs(keys) do
    self:problem(where, "expected a list, found the key %s", Check.quote(key))
  end
  return self:items(where, list, 1, each)
end

return Check
