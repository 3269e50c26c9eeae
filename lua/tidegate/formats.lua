--- tg.format: where texts between elements are functions, they are called around each of them.

local core = require("tidegate.core")

local formats = {}

local AROUND = { "begin", "between", "after" }

local function put(out, part, ...)
  local text = part
  if type(part) == "function" then
    text = part(out, ...)
  end
  if text ~= nil then
    out:write(text)
  end
end

--- What the library is to be given: functions for elements and for the end, texts for the rest.
local function wrap(options)
  local begin, between, after = options.begin, options.between, options.after
  local element, finish = options.element, options.finish
  local wrapped = {}
  for name, option in pairs(options) do
    wrapped[name] = option
  end
  for _, name in ipairs(AROUND) do
    if type(options[name]) == "function" or type(options[name]) == "string" then
      wrapped[name] = nil -- anything else is refused
    end
  end

  -- The index is 0 for an element that is printed by itself.
  function wrapped.element(value, out, index)
    if index == 1 then
      put(out, begin)
    elseif index > 1 then
      put(out, between, index)
    end
    local text = element(value, out, index)
    if text ~= nil then
      out:write(text)
    end
    put(out, after, index)
  end

  if finish == nil or type(finish) == "function" or type(finish) == "string" then
    function wrapped.finish(count, out)
      if count == 0 then
        put(out, begin)
      end
      put(out, finish, count)
    end
  end
  return wrapped
end

local function has_functions(options)
  for _, name in ipairs(AROUND) do
    if type(options[name]) == "function" then
      return true
    end
  end
  return type(options.finish) == "function"
end

--- Adds a format: sequences and tables are printed in it where the response's Content-Type asks for
--- it, or the request's Accept.
---@param media_type string
---@param options tidegate.FormatOptions
function formats.add(media_type, options)
  local fit = type(options) == "table" and type(options.element) == "function"
  local given = fit and has_functions(options) and wrap(options) or options
  local ok, why = pcall(core.format, media_type, given) -- it says what is wrong with them
  if not ok then
    error(why, 2)
  end
end

return formats
