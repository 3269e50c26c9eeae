--- The routes of a service: paths joined, hosts, constraints and interceptors handed down.

local Check = require("tidegate.service.check")
local interceptors = require("tidegate.service.interceptors")
local known = require("tidegate.service.known")
local path = require("tidegate.path")
local pattern = require("tidegate.pattern")

local routes = {}

-- As in core/engine/router.h.
local HOST_MAX = 255
local METHOD_MAX = 32

local METHODS = Check.set_of(known.methods)
local KEYS = Check.set_of(known.route)

---@class tidegate.service.Scope  what a route hands down to those nested in it
---@field path string
---@field broken boolean             its path has problems, reported already
---@field host string
---@field constraints table<string, { pattern: string, used: boolean }>
---@field interceptors tidegate.Interceptor[]
---@field label string               'routes[2] "/users/:id"'
---@field source string
---@field above table<table, true>   the tables that it is nested in, and itself

local function host_problem(host)
  local name = host:gsub("^%*%.", "")
  if name == "" or #name > HOST_MAX or name:find("[*/@%c ]") or name:find("%.$") then
    return 'expected "example.com" or "*.example.com"'
  elseif name:find(":") and not name:find("^%[[%x:.]+%]$") then
    return "a host has no port"
  end
end

local function read_host(check, scope, value)
  if not check:is(scope.label .. ": host", value, "string", "a string") then
    return
  end
  local problem = host_problem(value)
  if problem then
    check:problem(scope.label .. ": host", "%s, got %s", problem, Check.quote(value))
  end
  scope.host = value:lower()
end

--- Adds the path's own problems; a parent's are not told again.
local function read_path(check, scope, own, parent)
  if type(own) ~= "string" then
    check:problem(scope.source, "expected a path first, got %s", Check.kind_of(own))
    scope.label = scope.source
    scope.broken = true
    return
  end
  local slash = own:sub(1, 1) == "/"
  scope.path = path.join(parent.path, slash and own or "/" .. own)
  scope.label = scope.source .. " " .. Check.quote(slash and scope.path or own)
  if not slash then
    check:problem(scope.label, "a path begins with a slash")
    scope.broken = true
  end
  for _, problem in ipairs(parent.broken and {} or path.problems(scope.path)) do
    check:problem(scope.label, "%s", problem)
    scope.broken = true
  end
end

--- Reads a route's own constraints over those handed down.  Returns its own names, sorted.
local function read_constraints(check, scope, value)
  local where = scope.label .. ": constraints"
  if not check:is(where, value, "table", "a table") then
    return {}
  end
  local indices, names = Check.split(value)
  for _, index in ipairs(indices) do
    check:problem(where, "unknown key %d", index)
  end
  for _, name in ipairs(names) do
    local text = value[name]
    local anchored, problem
    if type(text) == "string" then
      anchored, problem = pattern.anchor(text)
    else
      problem = "expected a Lua pattern, got " .. Check.kind_of(text)
    end
    if problem then
      check:problem(("%s.%s"):format(where, tostring(name)), "%s", problem)
    end
    if scope.constraints[name] then
      scope.constraints[name].used = true -- by standing for a child's
    end
    scope.constraints[name] = { pattern = anchored or "", used = false }
  end
  return names
end

--- Of those handed down, the ones for the path's params are used; all are, when nobody can tell.
local function use_constraints(scope)
  local params = Check.set_of(scope.broken and {} or path.params(path.segments(scope.path)))
  for name, constraint in pairs(scope.constraints) do
    constraint.used = constraint.used or scope.broken or params[name] or false
  end
end

local function unused_constraints(check, scope, names)
  for _, name in ipairs(names) do
    if not scope.constraints[name].used then
      check:problem(scope.label .. ": constraints", "the path has no param %s", Check.quote(name))
    end
  end
end

local function constraint_list(scope, segments)
  local out = {}
  for _, name in ipairs(path.params(segments)) do
    local constraint = scope.constraints[name]
    if constraint then
      out[#out + 1] = { param = name, pattern = constraint.pattern }
    end
  end
  return out
end

--- A name belongs to a route's table: its methods share it.
local function read_name(check, scope, route)
  local name = route.name
  if not check:is(scope.label .. ": name", name, "string", "a string") then
    return nil
  end
  local taken = check.names[name]
  if name == "" then
    check:problem(scope.label .. ": name", "it is empty")
  elseif taken then
    check:problem(scope.label, "the name %s is that of %s too", Check.quote(name), taken)
  end
  check.names[name] = taken or scope.label
  return name
end

--- The method that a key of a route stands for ("" for any), or nil.
local function method_of(key)
  if METHODS[key] then
    return key == "any" and "" or key:upper()
  elseif type(key) == "string" and key:find("^[A-Z][A-Z0-9!#$%%&'*+.^_`|~-]*$")
    and key ~= "ANY" and key ~= "CONNECT" and #key <= METHOD_MAX then
    return key
  end
end

--- The method's own interceptors, or nil, with a problem, when they are none.
local function method_list(check, value, where, handler_name)
  if type(value) == "function" then
    return { { name = handler_name, handler = value } }
  elseif not check:is(where, value, "table", "a function or a list of interceptors") then
    return nil
  end
  local before = #check.problems
  local out = {}
  if #Check.split(value) == 0 and next(value) ~= nil then
    out[1] = interceptors.one(check, value, where, handler_name) or nil
  else
    local names = { list = where, handler = handler_name }
    if interceptors.list(check, value, where, out, names) == 0 then
      check:problem(where, "the list is empty")
    end
  end
  local last = out[#out]
  if #check.problems == before and last and not last.handler then
    check:problem(where, "the last interceptor is not a handler: expected a function")
  end
  return #check.problems == before and last and out or nil
end

--- What two routes that the router cannot tell apart have in common.
local function shape_of(scope, method, segments)
  local parts = { scope.host, method, path.shape(segments) }
  for _, name in ipairs(path.params(segments)) do
    local constraint = scope.constraints[name]
    parts[#parts + 1] = constraint and ("%q"):format(constraint.pattern) or ""
  end
  return table.concat(parts, "\0")
end

local function read_method(check, scope, key, value, name)
  local method = method_of(key)
  local where = scope.label .. ": " .. key
  local handler_name = name or (method == "" and "ANY" or method) .. " " .. scope.path
  local own = method_list(check, value, where, handler_name) or {}
  if scope.broken then
    return
  end
  local segments = path.segments(scope.path)
  local shape = shape_of(scope, method, segments)
  if check.shapes[shape] then
    check:problem(where, "the same shape as %s", check.shapes[shape])
  end
  check.shapes[shape] = check.shapes[shape] or scope.label
  local all = table.move(scope.interceptors, 1, #scope.interceptors, 1, {})
  check.routes[#check.routes + 1] = {
    method = method,
    host = scope.host,
    path = scope.path,
    name = name,
    constraints = constraint_list(scope, segments),
    interceptors = table.move(own, 1, #own, #all + 1, all),
    source = scope.source,
  }
end

--- Returns how many there are.
local function read_methods(check, scope, route, name)
  local _, keys = Check.split(route)
  local count = 0
  for _, key in ipairs(keys) do
    if method_of(key) then
      count = count + 1
      read_method(check, scope, key, route[key], name)
    elseif type(key) == "string" and key:lower() == "connect" then
      check:problem(scope.label, "%s is not supported", key)
    elseif not KEYS[key] then
      check:unknown_key(scope.label, key, known.route)
    end
  end
  return count
end

---@param parent tidegate.service.Scope
local function new_scope(route, source, parent)
  local scope = {
    path = parent.path,
    broken = parent.broken,
    host = parent.host,
    constraints = {},
    interceptors = table.move(parent.interceptors, 1, #parent.interceptors, 1, {}),
    source = source,
    above = { [route] = true },
  }
  for name, constraint in pairs(parent.constraints) do
    scope.constraints[name] = constraint
  end
  for table_above in pairs(parent.above) do
    scope.above[table_above] = true
  end
  return scope
end

--- Reads a route and those nested in it into check.routes.
---@param source string
---@param parent tidegate.service.Scope
local function read_route(check, route, source, parent)
  if type(route) ~= "table" then
    check:problem(source, "expected a route (a table), got %s", Check.kind_of(route))
    return
  elseif parent.above[route] then
    check:problem(source, "the route is nested in itself")
    return
  end
  local before = #check.problems
  local scope = new_scope(route, source, parent)
  read_path(check, scope, route[1], parent)
  read_host(check, scope, route.host)
  local name = read_name(check, scope, route)
  local constraint_names = read_constraints(check, scope, route.constraints)
  use_constraints(scope)
  local where = scope.label .. ": interceptors"
  if check:is(where, route.interceptors, "table", "a list of interceptors") then
    interceptors.list(check, route.interceptors, where, scope.interceptors, { list = scope.label })
  end
  local count = read_methods(check, scope, route, name)
  count = count + check:items(scope.label, route, 2, function(child, n)
    read_route(check, child, ("%s[%d]"):format(source, n - 1), scope)
  end)
  if count == 0 and #check.problems == before then
    check:problem(scope.label, "no method, and no route nested in it: is its handler nil?")
  end
  unused_constraints(check, scope, constraint_names)
end

---@param list any[]
---@param service_wide tidegate.Interceptor[]
function routes.read_all(check, list, service_wide)
  local outermost = {
    path = "",
    broken = false,
    host = "",
    constraints = {},
    interceptors = service_wide,
    above = {},
  }
  check:list("routes", list, function(route, n)
    read_route(check, route, ("routes[%d]"):format(n), outermost)
  end)
end

return routes
