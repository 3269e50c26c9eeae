--- tg.proxy: a handler that passes requests on to another server, or to one of a pool, and its
--- response back. Both stream.

local core = require("tidegate.core")
local options = require("tidegate.options")
local pool = require("tidegate.pool")
local Target = require("tidegate.upstream.target")

---@class tidegate.ProxyOptions
---@field strip? string              what the path loses at its front ("/api")
---@field path? fun(path: string, request: tidegate.Request, ctx: tidegate.Context): string
---@field host? string               "upstream" (the server's own), "preserve", or a name
---@field forwarded? "x"|"forwarded"|"none"  X-Forwarded-For, -Proto, -Host; or RFC 7239's
---@field trust? boolean             what the client says of proxies before us is passed on
---@field via? string|false          our name in Via ("tidegate")
---@field request_headers? table|fun(headers: table, request: tidegate.Request,
--- ctx: tidegate.Context)  edits: names to values, or false to take one away
---@field response_headers? table|fun(headers: table, response: tidegate.UpstreamResponse,
--- request: tidegate.Request, ctx: tidegate.Context)
---@field rewrite_location? boolean  redirects of the server's to itself come back to us (true)
---@field timeout? number            as in tg.fetch, like those below
---@field connect_timeout? number
---@field idle_timeout? number
---@field ca? string
---@field insecure? boolean
---@field unix? string
---@field version? string

local KNOWN = {
  strip = "string",
  path = "function",
  host = "string",
  forwarded = "string",
  trust = "boolean",
  via = "a string or false",
  request_headers = "a function or a table",
  response_headers = "a function or a table",
  rewrite_location = "boolean",
  timeout = "a number of zero or more",
  connect_timeout = "a number of zero or more",
  idle_timeout = "a number of zero or more",
  ca = "string",
  insecure = "boolean",
  unix = "string",
  version = "string",
}

local OF_FETCH = {
  "timeout", "connect_timeout", "idle_timeout", "ca", "insecure", "unix", "version",
}

local TARGETS_MAX = 1000 -- that a function has named, and are remembered

local STYLES = { x = true, forwarded = true, none = true }

local function raise(status, message)
  error({ status = status, message = message }, 0)
end

--- A path that means another one to whoever normalises it: "/a/../b", "/a/%2e%2e/b", "/a/..%2fb".
local function climbs(path)
  if not path:find("/%.") and not path:find("%%2[eEfF]") and not path:find("\\", 1, true)
      and not path:find("%%5[cC]") then
    return false
  end
  local plain = path:gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end)
  for segment in plain:gmatch("[^/\\]+") do
    if segment == "." or segment == ".." then
      return true
    end
  end
  return false
end

--- The path and query to ask for.
local function target_of(given, request, ctx)
  local path = request.path
  if climbs(path) then
    raise(400, "proxy: the path has dot segments: " .. path)
  end
  local strip = given.strip
  if strip and path:sub(1, #strip) == strip then
    path = path:sub(#strip + 1)
  end
  if given.path then
    path = given.path(path, request, ctx)
    if type(path) ~= "string" then
      error("proxy: path: expected the function to return a string, got a " .. type(path), 0)
    end
  end
  if path:sub(1, 1) ~= "/" then
    path = "/" .. path
  end
  local query = request.query_string
  return query ~= "" and path .. "?" .. query or path
end

--- name = value, or false to take it away.
local function apply(edits, headers, ...)
  if type(edits) == "function" then
    return edits(headers, ...)
  end
  for name, value in pairs(edits) do
    headers[name] = value or nil
  end
end

local function headers_of(given, policy, request, ctx)
  local headers = core.forward(request, policy)
  if not given.request_headers then
    return headers
  end
  local edited = headers:table()
  apply(given.request_headers, edited, request, ctx)
  return edited
end

local function may_redirect(status)
  return status == 201 or status >= 300 and status < 400 and status ~= 304
end

--- A redirect to where the server takes itself to be leads back to where the client found it.
local function rewrite_location(given, target, headers)
  local location = headers.Location
  local own = target.origin .. target.base
  if type(location) == "string" and location:sub(1, #own) == own
      and location:sub(#own + 1, #own + 1):find("^[/?#]?$") then
    local rest = location:sub(#own + 1)
    headers.Location = (given.strip or "") .. (rest:sub(1, 1) == "/" and rest or "/" .. rest)
  end
end

--- Asks a single server, like pool:fetch.
local function fetch_from(target)
  local origin = target.origin .. target.base
  return function(_, path, given)
    for name, value in pairs(target.fetch) do
      given[name] = value
    end
    given.load = target.load
    local response, message, failure = core.fetch(origin .. path, given)
    return response, message, failure, target
  end
end

local function raise_failure(target, failure)
  failure.message = ("upstream %s: %s"):format(target and target.name or "(none)", failure.message)
  error(failure, 0)
end

local function check(given)
  options.check("tg.proxy", given, KNOWN)
  if given.forwarded and not STYLES[given.forwarded] then
    options.mistake("tg.proxy: forwarded: there are x, forwarded and none, not %s", given.forwarded)
  end
end

--- What goes with every request of a proxy: names and values in turn.
local function fetch_options(given)
  local base = {}
  for _, name in ipairs(OF_FETCH) do
    local value = given[name]
    if value ~= nil then
      base[#base + 1] = name
      base[#base + 1] = value
    end
  end
  return base
end

--- Asks whom a function names: the same URL is taken apart once.
local function fetch_by(choose)
  local known, count = {}, 0
  return function(_, path, given)
    local chosen = choose(given.request, given.ctx)
    given.ctx = nil
    if getmetatable(chosen) == pool.Pool then
      return chosen:fetch(path, given)
    end
    local fetch = known[chosen]
    if not fetch then
      if count == TARGETS_MAX then
        known, count = {}, 0
      end
      fetch = fetch_from(Target.new(chosen, "proxy: the target"))
      known[chosen], count = fetch, count + 1
    end
    return fetch(nil, path, given)
  end
end

--- How to ask (like pool.fetch), and its first argument.
local function way_to(target)
  if type(target) == "function" then
    return fetch_by(target), nil
  end
  if getmetatable(target) == pool.Pool then
    return target.fetch, target
  end
  return fetch_from(Target.new(target, "tg.proxy")), nil
end

--- A handler that passes requests on. What fails on the way is raised, with the status 502, 503 or
--- 504; interceptors may handle it, and change the response like any other.
---@param target string|table|tidegate.Pool|fun(request: tidegate.Request, ctx: tidegate.Context):
--- string|tidegate.Pool  a URL with or without a path, "unix:/path", a pool; or what chooses one
---@param given? tidegate.ProxyOptions
---@return fun(request: tidegate.Request, ctx: tidegate.Context): tidegate.UpstreamResponse
local function proxy(target, given)
  given = given or {}
  check(given)
  local fetch, servers = way_to(target)
  local chosen = type(target) == "function"
  local base = fetch_options(given)
  local policy = {
    host = given.host, forwarded = given.forwarded, trust = given.trust, via = given.via,
  }
  local rewrites = given.rewrite_location ~= false
  return function(request, ctx)
    local asked = {
      request = request,
      headers = headers_of(given, policy, request, ctx),
      ctx = chosen and ctx or nil,
    }
    for i = 1, #base, 2 do
      asked[base[i]] = base[i + 1]
    end
    local response, _, failure, from = fetch(servers, target_of(given, request, ctx), asked)
    if not response then
      raise_failure(from, failure)
    end
    -- Looking at the headers makes a table of them: only where there is something to do.
    if rewrites and may_redirect(response.status) then
      rewrite_location(given, from, response.headers)
    end
    if given.response_headers then
      apply(given.response_headers, response.headers, response, request, ctx)
    end
    return response
  end
end

return proxy
