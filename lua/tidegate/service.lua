--- The service table that a script returns: checked as a whole, and made into plain data.

local Check = require("tidegate.service.check")
local interceptors = require("tidegate.service.interceptors")
local known = require("tidegate.service.known")
local routes = require("tidegate.service.routes")

local service = {}

--- What is around a handler: `enter` on the way in, `leave` on the way out, in reverse, `error`
--- when something inside it has failed. Any may be absent, and any may wait. A stage changes ctx,
--- and returns nothing or a context. One with a handler alone is the last of a chain.
---@class tidegate.Interceptor
---@field name? string for the log, and for err.interceptor
---@field enter? async fun(ctx: tidegate.Context): tidegate.Context?
---@field leave? async fun(ctx: tidegate.Context): tidegate.Context?
---@field error? async fun(ctx: tidegate.Context, err: tidegate.Err): tidegate.Context? returning is
--- handling it; raising err again declines
---@field handler? async fun(request: tidegate.Request, ctx: tidegate.Context): tidegate.Response

---@class tidegate.Constraint
---@field param string
---@field pattern string anchored

---@class tidegate.Route
---@field method string        "GET"; "" for any
---@field host string          "" for every host
---@field path string          full: the parents' are joined to it
---@field name? string
---@field constraints tidegate.Constraint[]
---@field interceptors tidegate.Interceptor[]  all, in order; the last one is the handler
---@field source string        "routes[2][1]": the first route nested in the second

---@class tidegate.Description
---@field listen? string[]
---@field workers? integer
---@field limits? table<string, number>
---@field tls? { cert: string, key: string }[]
---@field log? { format?: "text"|"json"|"off", headers: string[] }
---@field check? function
---@field on_start? function
---@field on_stop? function
---@field not_found? function
---@field interceptors tidegate.Interceptor[]  of the service, around unmatched requests too
---@field routes tidegate.Route[]

local HOOKS = { "check", "not_found", "on_start", "on_stop" }
local LOG_FORMATS = { text = true, json = true, off = true }
local LOG_HEADERS_MAX = 16 -- TG_ACCESS_FIELDS_MAX

local WORKERS_MAX = 1024
local CERTIFICATES_MAX = 1000 -- TG_TLS_PAIRS_MAX
local SOCKET_PATH_MAX = 107 -- sun_path, less its NUL
local LIMIT_MAX = 2 ^ 53 / 1000 -- as in core/util/limits.c

-- A name or an IPv4 address, an IPv6 address, and one with its zone.
local HOST_PORTS = { "^[A-Za-z0-9._-]+:(%d+)$", "^%[[%x:.]+%]:(%d+)$", "^%[[%x:.]+%%%w+%]:(%d+)$" }

local function port_of(address)
  for _, form in ipairs(HOST_PORTS) do
    local port = address:match(form)
    if port then
      return #port <= 5 and tonumber(port) or math.huge
    end
  end
end

--- What is wrong with an address to listen on, or nil.
local function address_problem(address)
  local plain = address:match("^https?://(.*)$")
  local socket = address:match("^unix:(.*)$")
  if socket then
    local fits = #socket > 0 and #socket <= SOCKET_PATH_MAX and not socket:find("\0", 1, true)
    return not fits and ("a socket's path has 1 to %d bytes"):format(SOCKET_PATH_MAX) or nil
  end
  local port = port_of(plain or address)
  if not port then
    return 'expected "host:port", "[v6]:port" or "unix:/path"'
  end
  return port > 65535 and "the port is not in 0..65535" or nil
end

local function read_listen(check, value)
  if value == nil then
    return nil
  elseif type(value) == "string" then
    value = { value }
  elseif not check:is("listen", value, "table", "a string or a list of strings") then
    return nil
  end
  local out = {}
  local count = check:list("listen", value, function(address, n)
    local where = ("listen[%d]"):format(n)
    if check:is(where, address, "string", "a string") then
      local problem = address_problem(address)
      if problem then
        check:problem("listen", "%s: %s", Check.quote(address), problem)
      end
      out[#out + 1] = address
    end
  end)
  if count == 0 then
    check:problem("listen", "the list is empty")
  end
  return out
end

local function read_workers(check, value)
  if value == nil then
    return nil
  end
  local number = type(value) == "number" and math.tointeger(value)
  if not number or number < 1 or number > WORKERS_MAX then
    local got = type(value) == "number" and tostring(value) or Check.kind_of(value)
    check:problem("workers", "expected an integer in 1..%d, got %s", WORKERS_MAX, got)
    return nil
  end
  return number
end

local function read_limit(check, name, value)
  local where = "limits." .. name
  if check.limits and not Check.set_of(check.limits)[name] then
    check:unknown_key("limits", name, check.limits)
  elseif type(value) ~= "number" then
    check:problem(where, "expected a number, got %s", Check.kind_of(value))
  elseif not (value >= 0 and value <= LIMIT_MAX) then -- NaN too
    check:problem(where, "expected a number of zero or more, got %s", tostring(value))
  end
end

local function read_limits(check, value)
  if not check:is("limits", value, "table", "a table") then
    return nil
  end
  local indices, keys = Check.split(value)
  for _, index in ipairs(indices) do
    check:problem("limits", "unknown key %d", index)
  end
  local out = {}
  for _, key in ipairs(keys) do
    if type(key) == "string" then
      read_limit(check, key, value[key])
      out[key] = value[key]
    else
      check:problem("limits", "unknown key %s", Check.quote(key))
    end
  end
  return out
end

local function read_pair(check, where, value)
  check:keys(where, value, known.tls)
  for _, key in ipairs(known.tls) do
    local path = value[key]
    if type(path) ~= "string" or path == "" or path:find("\0", 1, true) then
      check:problem(where .. "." .. key, "expected a file's path, got %s", Check.kind_of(path))
    end
  end
  return { cert = value.cert, key = value.key }
end

--- One certificate and its key, or a list of such.
local function read_tls(check, value)
  if not check:is("tls", value, "table", "a table") then
    return nil
  end
  if value[1] == nil then
    return { read_pair(check, "tls", value) }
  end
  local out = {}
  local count = check:list("tls", value, function(pair, n)
    local where = ("tls[%d]"):format(n)
    if check:is(where, pair, "table", "a table") then
      out[#out + 1] = read_pair(check, where, pair)
    end
  end)
  if count > CERTIFICATES_MAX then
    check:problem("tls", "there are more than %d certificates", CERTIFICATES_MAX)
  end
  return out
end

--- The request's header fields that a line of the log is to have.
local function read_log_headers(check, value)
  local out = {}
  if value == nil or not check:is("log.headers", value, "table", "a list of names") then
    return out
  end
  check:list("log.headers", value, function(name, n)
    local where = ("log.headers[%d]"):format(n)
    if not check:is(where, name, "string", "a header's name") then
      return
    elseif not name:find("^[%w!#$%%&'*+.^_`|~-]+$") then
      check:problem(where, "%s is no header's name", Check.quote(name))
    end
    out[#out + 1] = name:lower()
  end)
  if #out > LOG_HEADERS_MAX then
    check:problem("log.headers", "%d names, and there may be %d", #out, LOG_HEADERS_MAX)
  end
  return out
end

local function read_log(check, value)
  if value == nil then
    return nil
  elseif type(value) == "string" then
    value = { format = value }
  elseif not check:is("log", value, "table", "text, json, off, or a table") then
    return nil
  end
  check:keys("log", value, known.log)
  if value.format ~= nil and not LOG_FORMATS[value.format] then
    local got = type(value.format) == "string" and Check.quote(value.format)
      or Check.kind_of(value.format)
    check:problem("log", "expected text, json or off, got %s", got)
  end
  return { format = value.format, headers = read_log_headers(check, value.headers) }
end

local function read_service(check, value)
  check:keys("", value, known.service)
  local out = {
    listen = read_listen(check, value.listen),
    workers = read_workers(check, value.workers),
    limits = read_limits(check, value.limits),
    tls = read_tls(check, value.tls),
    log = read_log(check, value.log),
    interceptors = {},
    routes = check.routes,
  }
  for _, hook in ipairs(HOOKS) do
    check:is(hook, value[hook], "function", "a function")
    out[hook] = value[hook]
  end
  if check:is("interceptors", value.interceptors, "table", "a list of interceptors") then
    local names = { list = "the service" }
    interceptors.list(check, value.interceptors, "interceptors", out.interceptors, names)
  end
  if check:is("routes", value.routes, "table", "a list of routes") then
    routes.read_all(check, value.routes, out.interceptors)
  end
  return out
end

--- Reads all of a service table, and changes nothing in it.
---@param value any  what the script returned
---@param options? { limits?: string[] }  the names of limits; without them any name will do
---@return tidegate.Description? description
---@return string[]? problems  all of them
function service.check(value, options)
  if type(value) ~= "table" then
    local got = Check.kind_of(value)
    return nil, { ("expected a service table from the script, got %s"):format(got) }
  end
  local check = Check.new(options and options.limits)
  local description = read_service(check, value)
  if #check.problems > 0 then
    return nil, check.problems
  end
  return description
end

return service
