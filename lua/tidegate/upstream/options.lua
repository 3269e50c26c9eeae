--- Options of tg.proxy and tg.pool: named, of a type, and no others.

local Check = require("tidegate.service.check")

local options = {}

local function fail(what, name, expected, value)
  error(("%s: %s: expected %s, got %s"):format(what, name, expected, Check.kind_of(value)), 0)
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

--- Raises, in words of `what`'s caller, for what is not in `known` (name to the key of a test), or
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
      error(("%s: unknown option %s; there are %s"):format(what, Check.quote(name),
        table.concat(names, ", ")), 0)
    end
    if not TESTS[test](value) then
      fail(what, name, test, value)
    end
  end
end

return options
