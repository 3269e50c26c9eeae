--- Active health checks: asks each server of a pool now and then, beside any request.
---
--- A pool that is made while the script loads is checked from the start of the worker on, by a task
--- of the script's for each server; they end with the script's generation.

local core = require("tidegate.core")
local options = require("tidegate.options")

---@class tidegate.HealthOptions
---@field path? string          what is asked for ("/")
---@field interval? number      seconds between two checks of a server (5)
---@field timeout? number       seconds for an answer (2)
---@field status? integer[]     the answers that are well (200 to 399)
---@field unhealthy? integer    bad ones in a row, until the server is left alone (2)
---@field healthy? integer      good ones in a row, until it is asked again (2)
---@field headers? table        of the request

---@class tidegate.upstream.Health
local Health = {}
Health.__index = Health

local KNOWN = {
  path = "string",
  interval = "a number of more than zero",
  timeout = "a number of more than zero",
  status = "a list of statuses",
  unhealthy = "an integer of more than zero",
  healthy = "an integer of more than zero",
  headers = "table",
}

local health = {}

---@param given tidegate.HealthOptions
---@return tidegate.upstream.Health
function health.new(given)
  options.check("tg.pool: health", given, KNOWN)
  local well
  for _, status in ipairs(given.status or {}) do
    well = well or {}
    well[status] = true
  end
  return setmetatable({
    path = given.path or "/",
    interval = given.interval or 5,
    timeout = given.timeout or 2,
    well = well,
    unhealthy = given.unhealthy or 2,
    healthy = given.healthy or 2,
    headers = given.headers,
  }, Health)
end

--- Whether the server answers well; else what is wrong.
---@param target tidegate.upstream.Target
---@return boolean ok
---@return string? why
function Health:ask(target)
  local asked = {
    headers = self.headers, timeout = self.timeout, connect_timeout = self.timeout,
    idle_timeout = self.timeout,
  }
  for name, value in pairs(target.fetch) do
    asked[name] = value
  end
  local response <close>, why = core.fetch(target.origin .. target.base .. self.path, asked)
  if not response then
    return false, why
  end
  local status = response.status
  local ok = self.well and self.well[status] or not self.well and status >= 200 and status < 400
  return ok or false, not ok and "status " .. status or nil
end

local function tell(target, down, why)
  if down then
    core.log.warn(("upstream %s: unhealthy: %s"):format(target.name, why))
  else
    core.log.info(("upstream %s: healthy again"):format(target.name))
  end
end

--- Goes on for ever: counts answers in a row that differ from what is believed.
function Health:watch(target)
  local down, differ = false, 0
  while true do
    local ok, why = self:ask(target)
    differ = ok == down and differ + 1 or 0
    if differ >= (down and self.healthy or self.unhealthy) then
      down, differ = not down, 0
      target:set_down(core.monotonic(), down)
      tell(target, down, why)
    end
    core.sleep(self.interval)
  end
end

---@param targets tidegate.upstream.Target[]
function Health:start(targets)
  for _, target in ipairs(targets) do
    core.spawn(self.watch, self, target)
  end
end

return health
