--- tg.pool: several servers that do the same; which to ask, and which to leave alone for a while.
---
--- A pool is its worker's own: each worker finds out by itself how the servers do.

local core = require("tidegate.core")
local balance = require("tidegate.upstream.balance")
local health = require("tidegate.upstream.health")
local options = require("tidegate.options")
local Target = require("tidegate.upstream.target")

---@class tidegate.PoolOptions
---@field targets (string|table)[]   URLs, "unix:/path", or { url =, weight =, unix =, ca =, … }
---@field balance? "round_robin"|"least_connections"|"hash"
---@field hash? fun(request: tidegate.Request): string?  the key for "hash": the client's address
---@field retries? integer           on other servers, where it is safe (1)
---@field max_fails? integer         in a row, before a server is left alone (3); 0: never
---@field fail_timeout? number       seconds, until it is tried again (10)
---@field fail_status? integer[]     answers that count as failures, and are asked for elsewhere
---@field slow_start? number         seconds, until one that came back has its full share (0)
---@field health? tidegate.HealthOptions  asks each of them now and then, from the start on

---@class tidegate.Pool
---@field targets tidegate.upstream.Target[]
---@field slow_start number
local Pool = {}
Pool.__index = Pool

local KNOWN = {
  targets = "table",
  balance = "string",
  hash = "function",
  retries = "an integer of zero or more",
  max_fails = "an integer of zero or more",
  fail_timeout = "a number of zero or more",
  fail_status = "a list of statuses",
  slow_start = "a number of zero or more",
  health = "table",
}

-- What has nothing to do with the server.
local NOT_ITS_FAULT = { url = true, redirects = true, memory = true, request_body = true }

-- RFC 9110, 9.2.2.
local IDEMPOTENT = {
  GET = true, HEAD = true, OPTIONS = true, TRACE = true, PUT = true, DELETE = true,
}

local function peer(request)
  return request.remote_addr
end

local function set_of(list)
  local set = {}
  for _, item in ipairs(list or {}) do
    set[item] = true
  end
  return set
end

---@param given tidegate.PoolOptions
---@return tidegate.Pool
local function new(given)
  options.check("tg.pool", given, KNOWN)
  local targets = {}
  for i, spec in ipairs(given.targets or {}) do
    targets[i] = Target.new(spec, "tg.pool")
  end
  if #targets == 0 then
    options.mistake("tg.pool: targets: expected a list of at least one")
  end
  local choose = balance[given.balance or "round_robin"]
  if not choose then
    options.mistake("tg.pool: balance: there are round_robin, least_connections and hash, not %s",
      given.balance)
  end
  if given.health then
    health.new(given.health):start(targets)
  end
  return setmetatable({
    targets = targets,
    choose = choose,
    key_of = choose == balance.hash and (given.hash or peer) or nil,
    retries = given.retries or 1,
    max_fails = given.max_fails or 3,
    fail_timeout = given.fail_timeout or 10,
    fail_status = set_of(given.fail_status),
    slow_start = given.slow_start or 0,
  }, Pool)
end

--- The server to ask next, or nil when there is none that may be asked.
---@param tried table<tidegate.upstream.Target, true> not these
---@param key? string for "hash"
---@return tidegate.upstream.Target?
function Pool:pick(tried, key)
  local now = core.monotonic()
  local available = {}
  for _, target in ipairs(self.targets) do
    if not tried[target] and target:is_available(now) then
      available[#available + 1] = target
    end
  end
  if #available == 0 then
    return nil
  end
  local target = self.choose(available, now, self, key)
  target:begin(now, self.fail_timeout)
  return target
end

--- What came of asking a server.
---@param target tidegate.upstream.Target
---@param response? tidegate.UpstreamResponse
---@param failure? tidegate.FetchFailure
---@return boolean well
function Pool:report(target, response, failure)
  local now = core.monotonic()
  local failed = failure and not NOT_ITS_FAULT[failure.kind]
    or response and self.fail_status[response.status]
  if not failed then
    target:succeeded(now)
    return true
  end
  if target:failed(now, self.max_fails, self.fail_timeout) then
    core.log.warn(("upstream %s: left alone for %g s after %d failures: %s"):format(target.name,
      self.fail_timeout, self.max_fails, failure and failure.message or response.status))
  end
  return false
end

local function has_body(request)
  local headers = request.headers
  return headers["transfer-encoding"] ~= nil or (headers["content-length"] or "0") ~= "0"
end

local function is_clients(body)
  local meta = type(body) == "userdata" and getmetatable(body)
  return meta and meta.__name == "tidegate.RequestBody"
end

--- Whether what was asked may be asked again: nothing of it was sent, or asking twice does no harm
--- and there is still all of it.
local function may_repeat(given, failure)
  local body = given.body
  if body ~= nil and type(body) ~= "string" and not is_clients(body) then
    return false -- it was produced for the first
  end
  if failure and not failure.sent then
    return true
  end
  local request = given.request
  local method = given.method or (request and request.method) or (body and "POST" or "GET")
  if not IDEMPOTENT[method] then
    return false
  end
  if body ~= nil then
    return type(body) == "string"
  end
  return not request or not has_body(request)
end

local function nobody()
  local message = "no server of the pool may be asked now"
  core._remember_failure(message, 503)
  return nil, message, { message = message, status = 503, kind = "unavailable", sent = false }
end

local function options_for(target, given)
  local merged = {}
  for name, value in pairs(given) do
    merged[name] = value
  end
  for name, value in pairs(target.fetch) do
    merged[name] = value
  end
  merged.key = nil
  merged.load = target.load
  return merged
end

--- tg.fetch of a path, from one of the servers: another is asked where the first fails and that is
--- safe. With the option `key` (a string) it is chosen by that, for "hash".
---@async
---@param path string begins with a slash; goes behind the server's own
---@param given? tidegate.FetchOptions
---@return tidegate.UpstreamResponse? response
---@return string? message
---@return tidegate.FetchFailure? failure
---@return tidegate.upstream.Target? target that was asked last
function Pool:fetch(path, given)
  given = given or {}
  local key = given.key or (self.key_of and given.request and self.key_of(given.request))
  local tried = {}
  local response, message, failure, last
  for attempt = 0, self.retries do
    local target = self:pick(tried, key)
    if not target then
      break
    end
    if response then
      response.body:close()
    end
    last = target
    tried[target] = true
    response, message, failure = core.fetch(target.origin .. target.base .. path,
      options_for(target, given))
    if self:report(target, response, failure) or attempt == self.retries
        or not may_repeat(given, failure) then
      break
    end
  end
  if not last then
    return nobody()
  end
  return response, message, failure, last
end

--- How each server does, for whoever wants to look.
---@return { name: string, state: string, load: integer, fails: integer }[]
function Pool:status()
  local now = core.monotonic()
  local list = {}
  for i, target in ipairs(self.targets) do
    list[i] = {
      name = target.name,
      state = target:state(now),
      load = target.load:count(),
      fails = target.fails,
    }
  end
  return list
end

return { new = new, Pool = Pool }
