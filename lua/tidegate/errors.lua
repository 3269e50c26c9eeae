--- tg.error raises what an answer can be made of; tg.on_error makes an interceptor that handles it.

local errors = {}

---@class tidegate.ErrorValue
---@field status integer
---@field message string
---@field [string] any

local Error = {
  __name = "tidegate.ErrorValue",
  __tostring = function(self)
    return self.message
  end,
}

--- Raises an error that is answered with this status when nobody handles it; in production the
--- client sees no more than the status.
---@param status integer 400..599
---@param message? string for the log, and for whoever handles it
---@param fields? table<string, any> more fields of err.value
function errors.raise(status, message, fields)
  if math.type(status) ~= "integer" or status < 400 or status > 599 then
    local got = type(status) == "string" and ("%q"):format(status) or tostring(status)
    error("tg.error: status: expected an integer in 400..599, got " .. got, 2)
  end
  local value = {}
  for name, field in pairs(fields or {}) do
    value[name] = field
  end
  value.status = status
  value.message = message or ("status " .. status)
  error(setmetatable(value, Error), 2)
end

-- --- on_error ------------------------------------------------------------------------------------

--- Whether each field of the pattern is in err, or in what was raised; tables go deeper.
local function matches_table(pattern, err)
  if type(err) ~= "table" then
    return false
  end
  for name, wanted in pairs(pattern) do
    local found = err[name]
    if found == nil and type(err.value) == "table" then
      found = err.value[name]
    end
    if type(wanted) == "table" then
      if not matches_table(wanted, found) then
        return false
      end
    elseif found ~= wanted then
      return false
    end
  end
  return true
end

local function matches_one(match, err)
  if type(match) == "function" then
    return match(err)
  end
  return matches_table(match, err)
end

local function matches_any(list, err)
  for _, match in ipairs(list) do
    if matches_one(match, err) then
      return true
    end
  end
  return false
end

local function check_match(match, where)
  if type(match) ~= "function" and type(match) ~= "table" then
    error(("tg.on_error: %s: expected a function or a table of fields"):format(where), 3)
  end
end

--- What a handler returned, as the stage's own result: a response is set, a context is passed on.
local function take(ctx, result)
  if type(result) == "table" and result.request == nil
    and (result.status ~= nil or result.body ~= nil or result.headers ~= nil) then
    ctx.response = result
    return nil
  end
  return result
end

---@class tidegate.OnErrorOptions
---@field match? fun(err: tidegate.Err): any | table  all without it; a list: any of them
---@field handle fun(ctx: tidegate.Context, err: tidegate.Err): tidegate.Response?
---@field name? string "on_error"

--- An interceptor that handles the errors that match, and declines the others. A table matches
--- when each of its fields is that of err (stage, interceptor, status, message), or of err.value
--- when that is a table; tables inside it the same. handle may wait, set ctx.response or return a
--- response; what it raises goes on outwards, with err in `suppressed`.
---@param options tidegate.OnErrorOptions
---@return tidegate.Interceptor
function errors.on_error(options)
  if type(options) ~= "table" or type(options.handle) ~= "function" then
    error("tg.on_error: expected { match = …, handle = function }", 2)
  end
  for name in pairs(options) do
    if name ~= "match" and name ~= "handle" and name ~= "name" then
      error(("tg.on_error: unknown option %s; there are handle, match, name"):format(name), 2)
    end
  end
  local match, handle = options.match, options.handle
  local list = type(match) == "table" and match[1] ~= nil and match or { match }
  for n, one in ipairs(list) do
    check_match(one, match == one and "match" or ("match[%d]"):format(n))
  end
  return {
    name = options.name or "on_error",
    error = function(ctx, err)
      if match ~= nil and not matches_any(list, err) then
        error(err, 0)
      end
      return take(ctx, handle(ctx, err))
    end,
  }
end

return errors
