--- The interceptors of a service or a route, each made into a table with a name.

local Check = require("tidegate.service.check")
local known = require("tidegate.service.known")

local interceptors = {}

local STAGES = { "enter", "leave", "error", "handler" }

--- The script's own table, or a copy of it with a name; false, with problems, when it is none.
local function interceptor_table(check, value, where, name)
  local before = #check.problems
  local stages = 0
  check:keys(where, value, known.interceptor)
  for _, stage in ipairs(STAGES) do
    check:is(where .. ": " .. stage, value[stage], "function", "a function")
    stages = stages + (value[stage] ~= nil and 1 or 0)
  end
  if value.handler and value.enter then
    check:problem(where, "an interceptor has either enter or handler")
  end
  if check:is(where .. ": name", value.name, "string", "a string") then
    name = nil
  elseif stages == 0 and #check.problems == before then
    check:problem(where, "an interceptor without enter, leave, error or a name")
  end
  if #check.problems > before then
    return false
  elseif not name then
    return value
  end
  return {
    name = name,
    enter = value.enter,
    leave = value.leave,
    error = value.error,
    handler = value.handler,
  }
end

--- `name` is for one that has none; the same table is the same interceptor wherever it stands.
---@return tidegate.Interceptor|false
function interceptors.one(check, value, where, name)
  if type(value) ~= "table" then
    check:problem(where, "expected an interceptor or a function, got %s", Check.kind_of(value))
    return false
  elseif check.interceptors[value] == nil then
    check.interceptors[value] = interceptor_table(check, value, where, name)
  end
  return check.interceptors[value]
end

--- Appends the items of the script's list to out, and returns how many there are in the list.
---@param names { list: string, handler?: string }  what those without a name are called after
function interceptors.list(check, list, where, out, names)
  return check:list(where, list, function(item, n)
    local name = ("interceptor %d of %s"):format(n, names.list)
    if type(item) == "function" then
      out[#out + 1] = { name = names.handler or name, handler = item }
    else
      name = type(item) == "table" and item.handler and names.handler or name
      out[#out + 1] = interceptors.one(check, item, ("%s[%d]"):format(where, n), name) or nil
    end
  end)
end

return interceptors
