--- Options of what a script calls: named, of a type, and no others. Mistakes are told of where the
--- script has made them.

local Check = require("tidegate.service.check")

local options = {}

--- Raises the message, with the place of the innermost function that is the script's own.
function options.mistake(message, ...)
  local level = 2
  local info = debug.getinfo(level, "Sl")
  while info and (info.currentline < 0 or info.source:find("^=tidegate%.")) do
    level = level + 1
    info = debug.getinfo(level, "Sl")
  end
  error(message:format(...), info and level or 0)
end

options.kind_of = Check.kind_of

local function fail(what, name, expected, value)
  expected = expected:find(" ") and expected or "a " .. expected
  options.mistake("%s: %s: expected %s, got %s", what, name, expected, Check.kind_of(value))
end

local TESTS = {
  string = function(value) return type(value) == "string" end,
  boolean = function(value) return type(value) == "boolean" end,
  ["function"] = function(value) return type(value) == "function" end,
  table = function(value) return type(value) == "table" end,
  ["a number of zero or more"] = function(value)
    return type(value) == "number" and value >= 0
  end,
  ["a number of more than zero"] = function(value)
    return type(value) == "number" and value > 0
  end,
  ["an integer of zero or more"] = function(value)
    return math.type(value) == "integer" and value >= 0
  end,
  ["an integer of more than zero"] = function(value)
    return math.type(value) == "integer" and value > 0
  end,
  ["a function or a table"] = function(value)
    return type(value) == "function" or type(value) == "table"
  end,
  ["a string or false"] = function(value)
    return type(value) == "string" or value == false
  end,
  ["a list of statuses"] = function(value)
    if type(value) ~= "table" then
      return false
    end
    for _, status in ipairs(value) do
      if math.type(status) ~= "integer" then
        return false
      end
    end
    return true
  end,
}

--- Raises, by the name of `what`, for what is not in `known` (name to the key of a test), or
--- is not of its type.
---@param what string the function whose options they are
---@param given any
---@param known table<string, string>
function options.check(what, given, known)
  if type(given) ~= "table" then
    fail(what, "options", "a table", given)
  end
  for name, value in pairs(given) do
    local test = known[name]
    if not test then
      local names = {}
      for one in pairs(known) do
        names[#names + 1] = one
      end
      table.sort(names)
      options.mistake("%s: unknown option %s; there are %s", what, Check.quote(name),
        table.concat(names, ", "))
    end
    if not TESTS[test](value) then
      fail(what, name, test, value)
    end
  end
end

return options
