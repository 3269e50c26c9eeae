--- Paths from route names: the inverse of matching.

local path = require("tidegate.path")

local routes = {}

--- By description: its routes by name.  A description does not change once it is made.
local names = setmetatable({}, { __mode = "k" })

local function find(description, name)
  local index = names[description]
  if not index then
    index = {}
    for _, route in ipairs(description.routes) do
      if route.name then
        index[route.name] = route
      end
    end
    names[description] = index
  end
  return index[name]
end

local function escape(char)
  return ("%%%02X"):format(char:byte())
end

local function encode(text)
  return (text:gsub("[^A-Za-z0-9%-._~]", escape))
end

local function encode_splat(text)
  return (text:gsub("[^A-Za-z0-9%-._~/]", escape))
end

--- What a segment may hold unescaped (RFC 3986, 3.3): "/@me" stays readable.
local function encode_literal(text)
  return (text:gsub("[^A-Za-z0-9%-._~!$&'()*+,;=:@]", escape))
end

local function fail(message, ...)
  error("url_for: " .. message:format(...), 0) -- url_for() adds its caller's place
end

--- 7.0, as JSON has it, is written as 7.
local function text_of(value)
  if math.type(value) == "float" then
    value = math.tointeger(value) or value
  end
  return tostring(value)
end

local function param_value(route, name, params)
  local value = params[name]
  if value == nil then
    fail("route %q needs the param %q", route.name, name)
  elseif type(value) ~= "string" and type(value) ~= "number" then
    fail("param %q: expected a string or a number, got a %s", name, type(value))
  end
  value = text_of(value)
  if value == "" then
    fail("param %q is empty", name)
  elseif value:find("\0", 1, true) then
    fail("param %q holds a NUL", name)
  end
  for _, constraint in ipairs(route.constraints or {}) do
    if constraint.param == name and not value:find(constraint.pattern) then
      fail("param %q: %q does not match %q", name, value, constraint.pattern)
    end
  end
  return value
end

---@return string path
---@return table<string, true> used names of the params that it took
local function build_path(route, params)
  local out, used = {}, {}
  for n, segment in ipairs(path.segments(route.path)) do
    if segment.kind == "literal" then
      out[n] = encode_literal(segment.text)
    else
      used[segment.text] = true
      local value = param_value(route, segment.text, params)
      out[n] = segment.kind == "splat" and encode_splat(value) or encode(value)
    end
  end
  return "/" .. table.concat(out, "/"), used
end

local SIMPLE = { string = true, number = true, boolean = true }

local function add_pair(out, name, value)
  if not SIMPLE[type(value)] then
    local wanted = "a string, a number, a boolean or a list of them"
    fail("%q: expected %s, got a %s", name, wanted, type(value))
  end
  out[#out + 1] = encode(name) .. "=" .. encode(text_of(value))
end

local function add_value(out, name, value)
  if type(value) ~= "table" then
    return add_pair(out, name, value)
  end
  for _, item in ipairs(value) do
    add_pair(out, name, item)
  end
end

local function build_query(params, used)
  local keys = {}
  for key in pairs(params) do
    if type(key) ~= "string" then
      fail("the name of a param is a string, not a %s", type(key))
    elseif not used[key] then
      keys[#keys + 1] = key
    end
  end
  table.sort(keys)
  local out = {}
  for _, key in ipairs(keys) do
    add_value(out, key, params[key])
  end
  return out
end

local function build(description, name, params)
  local route = find(description, name)
  if not route then
    fail("no route is called %q", tostring(name))
  elseif type(params) ~= "table" then
    fail("expected a table of params, got a %s", type(params))
  end
  local url, used = build_path(route, params)
  local query = build_query(params, used)
  return #query > 0 and url .. "?" .. table.concat(query, "&") or url
end

--- The path of the route called `name`.  Params that its path does not have go to the query, in the
--- order of their names.  Raises what a caller got wrong.
---@param description tidegate.service.Description
---@param name string
---@param params? table<string, string|number|boolean|(string|number|boolean)[]>
---@return string url
function routes.url_for(description, name, params)
  local ok, result = pcall(build, description, name, params or {})
  if not ok then
    error(result, 2)
  end
  return result
end

return routes
