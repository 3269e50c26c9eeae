--- One server behind the gateway: where it is, how it has done, and whether to ask it.
---
--- A circuit: closed while it does well, open for a while after several failures in a row, then
--- one request is let through as a trial, and what becomes of that decides.

local core = require("tidegate.core")
local options = require("tidegate.options")

local LEAST_SHARE = 0.1 -- of its weight, that a server begins again with

---@class tidegate.upstream.Target
---@field name string
---@field origin string              scheme and authority
---@field base string                a path without its last slash, or ""
---@field fetch table                options of tg.fetch that are its own
---@field weight number
---@field load tidegate.UpstreamLoad
---@field private fails integer      in a row
---@field private open_until number? asked again from then on
---@field private trial_until number?  nobody else until then
---@field private down boolean       by its health checks
---@field private back number?       since when it takes part again
local Target = {}
Target.__index = Target

local KNOWN = {
  url = "string",
  weight = "a number of more than zero",
  unix = "string",
  ca = "string",
  insecure = "boolean",
  version = "string",
  name = "string",
}

--- Scheme and authority, and the path behind them.
local function split(url, what)
  local origin, path = url:match("^(https?://[^/?#%s]+)(/?[^?#%s]*)$")
  if not origin then
    options.mistake("%s: expected the URL of a server and perhaps a path, got %q", what, url)
  end
  return origin, (path:gsub("/$", ""))
end

--- From "http://host:port/base", "unix:/path/of/socket", or a table with more to say.
---@param spec string|table
---@param what string for messages
---@return tidegate.upstream.Target
function Target.new(spec, what)
  if type(spec) == "string" then
    spec = { url = spec }
  end
  if type(spec) ~= "table" then
    options.mistake("%s: a target is a URL or a table, this is %s", what, options.kind_of(spec))
  end
  options.check(what .. ": a target", spec, KNOWN)
  if not spec.url then
    options.mistake("%s: a target has a url", what)
  end
  local url, unix = spec.url, spec.unix
  if url:find("^unix:/") then
    url, unix = "http://localhost", url:sub(6)
  end
  local origin, base = split(url, what)
  return setmetatable({
    name = spec.name or spec.url,
    origin = origin,
    base = base,
    fetch = { unix = unix, ca = spec.ca, insecure = spec.insecure, version = spec.version },
    weight = spec.weight or 1,
    load = core.fetch_load(),
    fails = 0,
    down = false,
  }, Target)
end

--- Whether a request may go to it now.
---@param now number
---@return boolean
function Target:is_available(now)
  if self.down then
    return false
  end
  if not self.open_until then
    return true
  end
  return now >= self.open_until and not (self.trial_until and now < self.trial_until)
end

--- A request is about to go to it: the trial, where it is one. Where nothing is ever heard of that
--- there is another after `patience` seconds.
---@param now number
---@param patience number
function Target:begin(now, patience)
  if self.open_until then
    self.trial_until = now + patience
  end
end

--- Its share of the requests: less than its weight for `slow_start` seconds after it came back.
---@param now number
---@param slow_start number
---@return number
function Target:share(now, slow_start)
  if not self.back or slow_start <= 0 then
    return self.weight
  end
  local part = (now - self.back) / slow_start
  if part >= 1 then
    self.back = nil
    return self.weight
  end
  return self.weight * math.max(part, LEAST_SHARE)
end

--- It answered.
---@param now number
function Target:succeeded(now)
  self.fails = 0
  if self.open_until then
    self.open_until, self.trial_until, self.back = nil, nil, now
  end
end

--- It did not. True when that opens its circuit.
---@param now number
---@param max_fails integer 0: it never opens
---@param fail_timeout number
---@return boolean
function Target:failed(now, max_fails, fail_timeout)
  self.fails = self.fails + 1
  if max_fails == 0 or self.fails < max_fails then
    return false
  end
  local opened = not self.open_until
  self.open_until, self.trial_until = now + fail_timeout, nil
  return opened
end

--- What its health checks have come to.
---@param now number
---@param down boolean
function Target:set_down(now, down)
  if self.down and not down then
    self.fails, self.open_until, self.trial_until, self.back = 0, nil, nil, now
  end
  self.down = down
end

---@param now number
---@return "up"|"down"|"open"|"trial"
function Target:state(now)
  if self.down then
    return "down"
  end
  if not self.open_until then
    return "up"
  end
  return now < self.open_until and "open" or "trial"
end

return Target
