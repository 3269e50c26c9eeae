--- tg.limit: an interceptor that answers 429 to whoever asks too often, counted across all workers.
---
--- The generic cell rate algorithm (ITU-T I.371): one number for each key, the time until which its
--- requests so far are paid for.

local core = require("tidegate.core")
local options = require("tidegate.options")

local TRIES = 100 -- another worker may take a turn between a look and its change

---@class tidegate.LimitOptions
---@field rate number                requests a second, on average
---@field burst? number              requests at once (1)
---@field key? fun(ctx: tidegate.Context): string?  whom to count; nil: nobody. Else the address
---@field store? string              the name of the tg.shared that counts ("tidegate.limit")
---@field status? integer            of the refusal (429)
---@field on_limited? fun(ctx: tidegate.Context, retry_after: integer): tidegate.Response?

local KNOWN = {
  rate = "a number of more than zero",
  burst = "a number of more than zero",
  key = "function",
  store = "string",
  status = "an integer of more than zero",
  on_limited = "function",
}

local function peer(ctx)
  return ctx.request.remote_addr
end

--- Seconds to wait, or nil when the request is within the limit (and counted).
local function take(store, key, interval, room)
  for _ = 1, TRIES do
    local now = core.monotonic()
    local stored = store:get(key)
    local paid = math.max(tonumber(stored) or now, now) + interval
    local wait = paid - now - room
    if wait > 1e-9 then
      return wait
    end
    if store:cas(key, stored, paid, paid - now + 1) then
      return nil
    end
  end
  return interval
end

--- Refuses with 429 and Retry-After (RFC 6585, section 4; RFC 9110, 10.2.3) what comes faster than
--- rate a second, bursts of `burst` allowed.
---@param given tidegate.LimitOptions
---@return tidegate.Interceptor
local function limit(given)
  options.check("tg.limit", given, KNOWN)
  if not given.rate then
    options.mistake("tg.limit: rate: expected a number of more than zero, got nothing")
  end
  local interval = 1 / given.rate
  local room = interval * (given.burst or 1)
  local key_of = given.key or peer
  local store = core.shared(given.store or "tidegate.limit")
  local status = given.status or 429
  return {
    name = "limit",
    enter = function(ctx)
      local key = key_of(ctx)
      local wait = key and take(store, key, interval, room)
      if not wait then
        return
      end
      local seconds = math.ceil(wait)
      local response = given.on_limited and given.on_limited(ctx, seconds)
        or { status = status, headers = {}, body = "Too Many Requests\n" }
      response.headers = response.headers or {}
      response.headers["Retry-After"] = response.headers["Retry-After"] or tostring(seconds)
      ctx.response = response
    end,
  }
end

return limit
