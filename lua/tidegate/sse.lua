--- sse: tg.sse, checked; what there is of it beyond that is C.

local core = require("tidegate.core")

local sse = {}

local HEARTBEAT = 15 -- seconds
local HEARTBEAT_MIN = 0.1
local DAY = 86400

--- Of the response. Others may be added, and the last two replaced.
local function default_headers()
  return {
    ["Content-Type"] = "text/event-stream; charset=utf-8",
    ["Cache-Control"] = "no-cache",
    ["X-Accel-Buffering"] = "no", -- nginx is not to gather it
  }
end

local function take_headers(given)
  local headers = default_headers()
  if type(given) ~= "table" then
    error(("tg.sse: headers is a table, this is a %s"):format(type(given)), 4)
  end
  for name, value in pairs(given) do
    local lower = tostring(name):lower()
    if lower == "content-type" or lower == "content-length" then
      error(("tg.sse: headers cannot have %s"):format(name), 4)
    end
    for default in pairs(headers) do
      if default:lower() == lower then
        headers[default] = nil
        break
      end
    end
    headers[name] = value
  end
  return headers
end

local function take_heartbeat(seconds)
  if seconds == false then
    return 0
  end
  local fits = type(seconds) == "number" and seconds <= DAY
  if not fits or not (seconds == 0 or seconds >= HEARTBEAT_MIN) then
    error(("tg.sse: heartbeat is seconds from %g to %d, or false"):format(HEARTBEAT_MIN, DAY), 4)
  end
  return math.ceil(seconds * 1000)
end

local function take_retry(milliseconds)
  local n = math.type(milliseconds) == "float" and math.tointeger(milliseconds) or milliseconds
  if math.type(n) ~= "integer" or n < 1 or n > DAY * 1000 then
    error(("tg.sse: retry is milliseconds from 1 to %d"):format(DAY * 1000), 4)
  end
  return n
end

local known = { heartbeat = true, retry = true, headers = true }

local function take_options(options)
  for name in pairs(options) do
    if not known[name] then
      error(("tg.sse: unknown option %s"):format(tostring(name)), 3)
    end
  end
  local heartbeat = options.heartbeat
  return {
    headers = take_headers(options.headers or {}),
    heartbeat = take_heartbeat(heartbeat == nil and HEARTBEAT or heartbeat),
    retry = options.retry and take_retry(options.retry) or 0,
  }
end

---@class tidegate.SseOptions
---@field heartbeat? number seconds of silence before a comment is sent: 15; false for none
---@field retry? integer milliseconds that clients are told to wait before they come back
---@field headers? table<string, string|number|(string|number)[]> beside those of an event stream

--- A handler that is a stream of events (text/event-stream): its head goes out at once, then `run`
--- is called, and when that returns the stream ends.
---@param run async fun(events: tidegate.Events, ctx: tidegate.Context)
---@param options? tidegate.SseOptions
---@return function handler
function sse.handler(run, options)
  if type(run) ~= "function" then
    error(("tg.sse: expected a function, this is a %s"):format(type(run)), 2)
  end
  if options ~= nil and type(options) ~= "table" then
    error(("tg.sse: options is a table, this is a %s"):format(type(options)), 2)
  end
  local o = take_options(options or {})
  local retry = o.retry > 0 and ("retry: %d\n\n"):format(o.retry) or nil
  local response = { status = 200, headers = o.headers, body = retry }
  return core._sse(run, response, o.heartbeat, o.retry)
end

return sse
